"""The table and the report of a few-shot run."""

import re

import pytest
import torch
from PIL import Image

from figment.evaluation.few_shot_report import Shown, render_few_shot_report, results_table, thumbnail
from figment.evaluation.few_shot_results import tabulate_few_shot
from figment.labels import LabelSpace

SPACE = LabelSpace.of(["cup", "car"])
TRUTH = torch.tensor([0, 0, 0, 1])


def logits(*predicted: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), 2).float()


@pytest.fixture(scope="module")
def results():
    scores = {
        "standard": {"same": logits(0, 0, 1, 0), "other": logits(1, 1, 1, 1)},
        "all": {"same": logits(0, 0, 0, 1), "other": logits(0, 0, 1, 1)},
    }
    truths = {"same": TRUTH, "other": TRUTH}
    clip = {"same": logits(0, 0, 0, 0), "other": logits(0, 0, 0, 1)}
    return tabulate_few_shot(SPACE, 2, truths, clip, scores, {"standard": (0, 0.0), "all": (40, 9.1)})


def test_accuracies_are_macro_and_gains_over_the_photos_alone(results):
    assert [row.name for row in results.rows] == ["CLIP zero-shot", "standard", "all"]
    assert results["standard"].tests["same"].value == pytest.approx(1 / 3)  # 2 of 3 cups, no car
    assert results["all"].tests["other"].value == pytest.approx((2 / 3 + 1) / 2)
    assert results["all"].tests["same"].gain[0] == pytest.approx(2 / 3)
    assert results["standard"].tests["same"].gain is None
    assert results["CLIP zero-shot"].tests["same"].gain is None
    assert (results["all"].made, results["all"].effective_size, results["CLIP zero-shot"].made) == (40, 9.1, None)
    assert results.deployed == "all"


def test_the_last_method_is_deployed_if_none_is_called_all():
    scores = {name: {"same": logits(0, 0, 0, 1)} for name in ("all of it", "standard")}
    found = tabulate_few_shot(SPACE, 2, {"same": TRUTH}, {"same": logits(0, 0, 0, 0)}, scores, {})
    assert found.deployed == "standard"


def test_the_terminal_table_has_a_row_a_method(results):
    table = results_table(results)
    assert table.row_count == 3
    assert [str(column.header) for column in table.columns[2::2]] == ["same (4), %", "other (4), %"]


def test_the_report_is_self_contained_and_escapes_what_models_wrote(results):
    photo = Shown(thumbnail(Image.new("RGB", (4000, 3000), "red")), "photo")
    made = Shown(thumbnail(Image.new("RGB", (32, 32))), "0.93 cup", "a {name} <script>alert(1)</script>")
    probes = {"cup": {"similarity": 0.7, "usable": False, "reason": "3 of 8 pictures <i>"}}
    numbers = {
        "temperature": 1.5,
        "calibration_error": 0.05,
        "calibration_error_before": 0.1,
        "agreement": 0.9,
        "mean_weight": 0.8,
    }
    html = render_few_shot_report(
        results, {"cup": [[photo, made]]}, {"cup": ["a <b>{name}</b>"]}, probes, numbers,
        {"all": [(100, {"loss": 1.0}), (200, {"loss": 0.5})]}, {"weights": "sha256 abc"}, ["Twemoji"],
    )  # fmt: skip
    assert "<script>alert" not in html
    assert "a &lt;b&gt;{name}&lt;/b&gt;" in html
    assert "3 of 8 pictures &lt;i&gt;" in html
    assert not re.search(r"""(src|href)=["']?http""", html)
    assert "<td>83.3 [" in html
    assert len(photo.uri) < 2000


def test_a_report_of_photos_alone_has_no_empty_chapters(results):
    html = render_few_shot_report(results, {}, {}, {}, {}, {"all": [(100, {"loss": 1.0})]}, {})
    for chapter in ("Learnt words", "Contexts", "The filter", "Diversity", "what all made"):
        assert chapter not in html
