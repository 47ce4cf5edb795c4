"""NaN is never good, and an artifact that was edited by hand is refused by name with what to remove."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from figment.errors import InputError
from figment.evaluation.fonts import drawable
from figment.evaluation.results import Results, tabulate
from figment.files import write_json
from figment.labels import LabelSpace
from figment.ops import registry
from figment.ops.lineage import LINEAGE
from figment.ops.quality import DataQualityError, check, picture_suite, verdict_suite, weight_suite
from figment.ops.run import print_results
from figment.ops.trace import read_lineage
from figment.validation.policies import CalibratedPolicy, CocoPolicy, NusPolicy, make_multilabel_verdicts
from figment.validation.review import read_review
from figment.validation.verdicts import AcceptanceConfig, judge, make_verdicts

NAN = float("nan")
SPACE = LabelSpace.of(["car", "frog", "banana"])
LAX = AcceptanceConfig(min_probability=0, require_top1=False, min_contrast=0)


@pytest.mark.parametrize("config", [LAX, AcceptanceConfig()])
@pytest.mark.parametrize(("probability", "contrast"), [(NAN, 0.2), (1.0, NAN), (NAN, NAN)])
def test_nan_is_never_accepted(config, probability, contrast):
    assert judge(probability, True, contrast, False, config) != "accepted"


def test_an_image_whose_every_score_is_nan_has_a_verdict_with_a_reason():
    row = {"image_id": "a", "labels": ["car"], "trick": "t", "contrast": NAN, "unsafe": False}
    assert make_verdicts([row], np.full((1, 3), NAN), SPACE, LAX)["reason"].to_pylist() == ["blank"]


THRESHOLD = {"value": 0, "precision": 1, "low": 1, "high": 1, "accepted": 1, "negatives": 1, "reached": True}
POLICIES = [
    CocoPolicy(min_probability=0, min_contrast=0),
    NusPolicy(top_k=7, extra_probability=0, min_contrast=0),
    CalibratedPolicy(thresholds=dict.fromkeys(SPACE.names, THRESHOLD), min_contrast=0),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.policy)
@pytest.mark.parametrize(("score", "contrast"), [(NAN, 0.2), (0.9, NAN), (float("inf"), 0.2)])
def test_nan_passes_no_policy(policy, score, contrast):
    scores = np.array([[score, 0.05, 0.05]])
    verdicts = make_multilabel_verdicts(["a"], [["car"]], scores, np.array([contrast]), SPACE, policy)
    assert verdicts["accepted"].to_pylist() == [False]


VERDICT = {
    "image_id": "a",
    "accepted": True,
    "reason": "accepted",
    "label": "car",
    "predicted": "car",
    "probability": 1.0,
}
IMAGE = {"image_id": "a", "label": "car", "contrast": 0.2, "unsafe": False, "duplicate_of": None, "test_twin": None}
WEIGHT = {"image_id": "a", "label": "car", "probability": 0.5, "weight": 1.0}
GAPS = [
    (VERDICT, "reason", verdict_suite(SPACE, 1)),
    (VERDICT, "label", verdict_suite(SPACE, 1)),
    (IMAGE, "contrast", picture_suite(SPACE, 1, 1)),
    (IMAGE, "label", picture_suite(SPACE, 1, 1)),
    (IMAGE, "unsafe", picture_suite(SPACE, 1, 1)),
    (WEIGHT, "weight", weight_suite(SPACE, 1)),
    (WEIGHT, "probability", weight_suite(SPACE, 1)),
]


@pytest.mark.parametrize(("row", "column", "suite"), GAPS, ids=[f"{gap[1]}-{i}" for i, gap in enumerate(GAPS)])
def test_a_gate_does_not_pass_over_what_is_missing(row, column, suite):
    check(pd.DataFrame([row]), "gate", suite)
    with pytest.raises(DataQualityError, match=column):
        check(pd.DataFrame([row | {column: None}]), "gate", suite)


def test_scores_of_a_model_that_diverged_are_not_tabulated():
    good = torch.eye(3)
    for bad in (torch.full((3, 3), NAN), torch.tensor([[float("inf"), 0, 0]] * 3)):
        with pytest.raises(InputError, match="base_class: its scores on the test images are not finite"):
            tabulate(SPACE, torch.arange(3), good, {"base_class": bad}, {})


@pytest.mark.parametrize("value", [NAN, float("inf"), [1, NAN], {"a": {"b": -float("inf")}}], ids=repr)
def test_no_json_with_nan_is_written(tmp_path, value):
    with pytest.raises(InputError, match=r"x\.json: a result is infinite or NaN"):
        write_json(tmp_path / "x.json", value)
    assert not list(tmp_path.iterdir())


GOOD = {"labels": ["a", "b"], "test_images": 2, "rows": [], "confusion": [[1, 0], [0, 1]], "confusion_of": "x"}
ROW = {"name": "x", "images": 1, "top1": 0.5, "low": 0.5, "high": 0.5}
EDITED = {
    "NaN": json.dumps(GOOD | {"rows": [ROW | {"top1": NAN}]}),
    "infinity": json.dumps(GOOD | {"rows": [ROW | {"gain": [0, 0, float("inf")]}]}),
    "garbage": "garbage",
    "nothing": "",
    "half": json.dumps(GOOD)[:40],
    "a list": "[]",
    "a number": "5",
    "a missing field": json.dumps({"labels": []}),
    "an unknown field": json.dumps(GOOD | {"more": 1}),
    "a wrong type": json.dumps(GOOD | {"rows": 5}),
    "deep": "[" * 100_000,
    "NUL": "\0",
}


@pytest.mark.parametrize("text", EDITED.values(), ids=EDITED)
def test_edited_results_are_refused_with_what_to_remove(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(
        InputError, match=r"results\.json: .*; expected what Figment wrote; remove .*results\.json"
    ) as caught:
        print_results(tmp_path)
    assert "\n" not in str(caught.value)


def test_results_as_they_were_written_are_read(tmp_path, capsys):
    write_json(tmp_path / "results.json", Results.model_validate(GOOD | {"rows": [ROW]}).model_dump(mode="json"))
    print_results(tmp_path)
    assert "report:" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["garbage", "[]", "{}", '{"git_sha": NaN}'])
def test_an_edited_lineage_is_refused(tmp_path, text):
    (tmp_path / LINEAGE).write_text(text)
    with pytest.raises(InputError, match=rf"{LINEAGE}.*remove"):
        read_lineage(tmp_path)


@pytest.mark.parametrize(
    "row", ["abc,keep", f"{'a' * 63},keep", f"{'g' * 64},drop", f"{'a' * 64},maybe", "../../x,keep"]
)
def test_a_review_with_a_truncated_hash_is_refused_by_row(tmp_path, row):
    path = tmp_path / "review.csv"
    path.write_text(f"image_id,decision\n{row}\n")
    with pytest.raises(InputError, match=r"review\.csv row 2"):
        read_review(path)


@pytest.mark.parametrize("name", ["x' OR '1'='1", "x' OR name LIKE '%", '"', "`", "x@y' OR 1=1", "'/1"])
def test_a_quote_in_a_name_reaches_no_query(name):
    with pytest.raises(InputError, match="neither a folder nor a registered name"):
        registry.find_version(name)


def test_names_that_no_font_has_are_numbered_not_drawn_as_boxes():
    names, families = drawable(["car", "\u00fcber", "\u0436\u0443\u043a", "\U000f0000"])
    assert names == ["car", "\u00fcber", "\u0436\u0443\u043a", "#3"]
    assert families[0] == "DejaVu Sans"
    assert not any("Last Resort" in family for family in families)
    cjk, families = drawable(["\u732b", "dog"])
    assert cjk == (["\u732b", "dog"] if len(families) > 1 else ["#0", "dog"])
