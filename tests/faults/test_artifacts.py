"""NaN is never good, and an artifact that was edited by hand is refused by name with what to remove."""

import json
from dataclasses import asdict
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.adaptation.textual_inversion import WordsFile
from figment.clip.label_vectors import LabelVectors
from figment.errors import InputError
from figment.evaluation.fonts import drawable, font_file
from figment.evaluation.results import Results, tabulate
from figment.evaluation.tagging import Tagger, predict_tags, render_lines
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.metrics.calibration import threshold_from_negatives
from figment.ops import gates, registry
from figment.ops.lineage_file import LINEAGE
from figment.ops.quality import DataQualityError, check, image_suite, verdict_suite
from figment.ops.summary import print_results
from figment.ops.trace import read_lineage
from figment.prompts.chat import KeptAnswer, Question
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.training.config import SemanticConfig
from figment.training.histories import ComparedEpochs, Curve, Epochs
from figment.training.semantic import build_semantic_matrix
from figment.validation.policies import CalibratedPolicy, CocoPolicy, NusPolicy, Top1Policy
from figment.validation.review import read_review
from figment.validation.verdicts import make_verdicts
from steps import validation
from tests.recipes import recipe_of

NAN = float("nan")
QUESTION = asdict(Question("q", 0, "m", "r", 1.0, 1.0, 10, 0))
SPACE = LabelSpace.of(["car", "frog", "banana"])
LAX = Top1Policy(min_probability=0, require_top1=False, min_contrast=0)


def test_an_image_whose_every_score_is_nan_has_a_verdict_with_a_reason():
    row = {"image_id": "a", "labels": ["car"], "trick": "t", "contrast": NAN, "unsafe": False}
    assert make_verdicts([row], np.full((1, 3), NAN), SPACE, LAX)["reason"].to_pylist() == ["blank"]


THRESHOLD = {"value": 0, "precision": 1, "low": 1, "high": 1, "accepted": 1, "negatives": 1, "reached": True}
POLICIES = [
    LAX,
    Top1Policy(),
    CocoPolicy(min_probability=0, min_contrast=0),
    NusPolicy(top_k=7, extra_probability=0, min_contrast=0),
    CalibratedPolicy(thresholds=dict.fromkeys(SPACE.names, THRESHOLD), min_contrast=0),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
@pytest.mark.parametrize(("score", "contrast"), [(NAN, 0.2), (0.9, NAN), (NAN, NAN), (float("inf"), 0.2)])
def test_nan_passes_no_policy(policy, score, contrast):
    scores = np.array([[score, 0.05, 0.05]])
    row = {"image_id": "a", "labels": ["car"], "trick": "t", "contrast": contrast, "unsafe": False}
    verdicts = make_verdicts([row], scores, SPACE, policy)
    assert verdicts["accepted"].to_pylist() == [False]


VERDICT = {
    "image_id": "a",
    "accepted": True,
    "reason": "accepted",
    "label": "car",
    "probability": 1.0,
}
IMAGE = {"image_id": "a", "label": "car", "contrast": 0.2, "unsafe": False, "duplicate_of": None, "test_twin": None}
GAPS = [
    (VERDICT, "reason", verdict_suite(SPACE, 1)),
    (VERDICT, "label", verdict_suite(SPACE, 1)),
    (IMAGE, "contrast", image_suite(SPACE, 1, 1)),
    (IMAGE, "label", image_suite(SPACE, 1, 1)),
    (IMAGE, "unsafe", image_suite(SPACE, 1, 1)),
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
        read_artifact(tmp_path / "results.json", Results)
    assert "\n" not in str(caught.value)


def test_results_as_they_were_written_are_read(tmp_path):
    found = Results.model_validate(GOOD | {"rows": [ROW]})
    write_json(tmp_path / "results.json", found.model_dump(mode="json"))
    assert read_artifact(tmp_path / "results.json", Results) == found


ENDED = {
    "title": "T", "heading": "top-1", "columns": ["trained on", "top-1"], "rows": [["a [bold]b", "50.0 %"]],
    "verdict": [{"text": "a is 1.0 points over b: decided.", "outcome": "better"}], "report": "r.html", "model": "m",
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "",
        "[]",
        "\0",
        json.dumps(ENDED | {"rows": 5}),
        json.dumps(ENDED | {"verdict": [{"outcome": "best"}]}),
    ],
    ids=["garbage", "nothing", "a list", "NUL", "a wrong type", "an unknown outcome"],
)
def test_an_edited_summary_is_refused_with_what_to_remove(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(InputError, match=r"summary\.json: .*; expected what Figment wrote; remove .*summary\.json"):
        print_results(tmp_path)


def test_a_run_ends_with_its_table_verdict_paths_and_next_command(tmp_path, capsys):
    print_results(tmp_path)
    assert capsys.readouterr().out == ""
    write_json(tmp_path / "summary.json", ENDED)
    print_results(tmp_path)
    said = capsys.readouterr().out
    assert "a [bold]b" in said, "names are text, not markup"
    ends = ["a is 1.0 points over b: decided.", "report: r.html", "model: m", "next: figment predict IMAGE --model m"]
    assert said.splitlines()[-4:] == ends


CURVE, EPOCHS = [[0, {"loss": 1.0}]], {"kept": 1, "epochs": [{"loss": 1.0}]}
WRITTEN = {
    "history.json": (Curve, CURVE),
    "history.json of a matrix": (Epochs, EPOCHS),
    "history.json of dual prompts": (ComparedEpochs, {**EPOCHS, "made": 1, "test": {}, "clip": {}}),
    "metrics.json": (dict[str, float], {"top1": 0.5}),
    "words.json": (WordsFile, {"words": {"adapter": "", "lengths": {"car": 1.0}}, "probes": {}}),
    "an answer": (KeptAnswer, {"question": QUESTION, "answer": "a", "finished": True}),
}
HARM = {
    "NaN": lambda text: text.replace("1.0", "NaN").replace("0.5", "NaN").replace("true", "NaN"),
    "infinity": lambda text: text.replace("1.0", "1e999").replace("0.5", "-Infinity").replace("true", "Infinity"),
    "half": lambda text: text[: len(text) // 2],
    "nothing": lambda text: "",
    "another shape": lambda text: json.dumps([[[text]]]),
    "text for a number": lambda text: text.replace("1.0", '"x"').replace("0.5", '"x"').replace("true", '"x"'),
    "deep": lambda text: "[" * 100_000,
    "NUL": lambda text: text + "\0",
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
@pytest.mark.parametrize(("kind", "value"), WRITTEN.values(), ids=WRITTEN)
def test_every_json_file_that_a_later_step_reads_is_refused_when_edited(tmp_path, kind, value, harm):
    path = tmp_path / "file.json"
    write_json(path, value)
    read_artifact(path, kind)
    path.write_text(harm(path.read_text()))
    with pytest.raises(InputError, match=r"file\.json.*; expected what Figment wrote; remove .*file\.json") as caught:
        read_artifact(path, kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 2, -1])
def test_a_kept_epoch_that_is_none_is_refused(tmp_path, kept):
    write_json(tmp_path / "history.json", EPOCHS | {"kept": kept})
    with pytest.raises(InputError, match=rf"history\.json.*kept is {kept}, of 1 epochs"):
        read_artifact(tmp_path / "history.json", Epochs)


@pytest.mark.parametrize("text", ["[]", "{", "5", '{"shards": 5}', '{"shards": [{}]}', "[" * 100_000, "\0"])
def test_an_edited_manifest_of_a_pool_is_refused(tmp_path, text):
    (tmp_path / "MANIFEST.json").write_text(text)
    with pytest.raises(InputError, match=r"MANIFEST\.json: .*; expected a manifest that Figment wrote"):
        Pool(tmp_path)


SCORES = [[0.5, NAN], [NAN], [0.5, 1.5], [-0.1], [float("inf")]]


@pytest.mark.parametrize("scores", SCORES, ids=repr)
def test_no_threshold_is_fitted_to_nan(scores):
    for fit in (
        lambda: threshold_from_negatives(scores, [0.1], 0.9),
        lambda: threshold_from_negatives([0.1], scores, 0.9),
    ):
        with pytest.raises(InputError, match="or NaN"):
            fit()


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_a_matrix_that_gives_nan_gives_no_tags(value):
    model = build_semantic_matrix(SemanticConfig(model="test_resnet", image_size=32, rows=2), 4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    tagger = Tagger(model.eval(), LabelVectors(SPACE.names, torch.eye(3, 4)), frozenset(), 32)
    with pytest.raises(InputError, match="scores of an image are not finite"):
        list(predict_tags(tagger, [Image.new("RGB", (32, 32), "red")]))


@pytest.mark.parametrize("stray", ["0" * 64, "../../x", None], ids=repr)
def test_a_verdict_for_an_image_outside_the_plan_is_refused(plan, pool, tmp_path, monkeypatch, stray):
    for module in (validation, gates):
        monkeypatch.setattr(module, "tracking", MagicMock())
    path = tmp_path / "plan.parquet"
    pq.write_table(plan, path)
    recipe = recipe_of("bag_of_tricks", tmp_path, acceptance=LAX)
    files = SPACE, FileRef.of(path), FileRef.of(pool.manifest_file)

    def run() -> FileRef:
        return validation.validate_images.entrypoint(recipe, *files)

    verdicts = pq.read_table(run().path).to_pylist()
    pq.write_table(
        pa.Table.from_pylist([*verdicts[1:], verdicts[0] | {"image_id": stray}]), tmp_path / "verdicts.parquet"
    )
    with pytest.raises(InputError, match=r"verdicts\.parquet: image_id .* is not in the plan; remove the file"):
        run()


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


@pytest.mark.parametrize("name", ["\u732b", "\U000f0000", "\u0436\u0443\u043a", "car"])
def test_a_name_is_drawn_on_an_image_by_a_font_that_has_it_or_numbered(name):
    image = Image.new("RGB", (160, 160))
    drawn = render_lines(image, [(name, "0.500")])
    numbered = render_lines(image, [("#0", "0.500")])
    assert (drawn.tobytes() == numbered.tobytes()) == (font_file(name) is None)
    assert font_file("\U000f0000") is None
    assert font_file("car \u0436") is not None
