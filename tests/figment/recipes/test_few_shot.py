"""The few-shot report: its numbers, sections and verdict."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from figment.adaptation.textual_inversion import ConceptProbe, WordsFile
from figment.datasets.config import CROSS_VALIDATED
from figment.evaluation.few_shot_results import tabulate_few_shot
from figment.evaluation.report import Report, render
from figment.evaluation.verdict import strangers
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.planning.words import Words
from figment.recipes import few_shot
from figment.recipes.few_shot import filter_section, probed_section, verdict_of
from figment.recipes.made import Made
from tests.recipes import recipe_of

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
    assert results["all"].tests["same"].over_clip[0] == pytest.approx(1 / 2)
    assert results["standard"].tests["same"].gain is None
    assert results["CLIP zero-shot"].tests["same"].gain is None
    assert results["CLIP zero-shot"].tests["same"].over_clip is None
    assert (results["all"].made, results["all"].effective_size, results["CLIP zero-shot"].made) == (40, 9.1, None)
    assert results.deployed == "all"


def test_the_last_method_is_deployed_if_none_is_called_all():
    scores = {name: {"same": logits(0, 0, 0, 1)} for name in ("all of it", "standard")}
    found = tabulate_few_shot(SPACE, 2, {"same": TRUTH}, {"same": logits(0, 0, 0, 0)}, scores, {})
    assert found.deployed == "standard"


def test_the_verdict_has_each_test_set_beside_the_photos_alone_and_clip(results):
    found = verdict_of(results)
    assert [(one.text.partition(" (95")[0], one.outcome) for one in found] == [
        ("all: 100.0 % macro accuracy on 4 photos of same.", ""),
        ("all is 66.7 points over standard (the photos alone) on photos of same", "better"),
        ("all is 50.0 points over CLIP zero-shot on photos of same", "better"),
        ("all: 83.3 % macro accuracy", ""),
        ("all is 33.3 points over standard (the photos alone) on photos of other", "undecided"),
        ("all is 16.7 points under CLIP zero-shot on photos of other", "undecided"),
        (strangers(0.5, 0.5, 0.5)[0].text, "worse"),
    ]


def test_the_verdict_of_shots_that_measure_says_how():
    scores = {"standard": {CROSS_VALIDATED: logits(0, 0, 1, 0)}, "all": {CROSS_VALIDATED: logits(0, 0, 0, 1)}}
    truths = {CROSS_VALIDATED: TRUTH}
    found = verdict_of(tabulate_few_shot(SPACE, 2, truths, {CROSS_VALIDATED: logits(0, 0, 0, 1)}, scores, {}))
    assert found[0].text.startswith("all: 100.0 % macro accuracy on 4 cross-validated shots.")
    assert "over standard (the photos alone) on cross-validated shots (95" in found[1].text
    assert found[-1].text.startswith("There is no test set: classifiers that learned from neither a photo nor images")


@pytest.fixture(scope="module")
def made(tmp_path_factory, results) -> Made:
    """Of photos alone."""
    folder = tmp_path_factory.mktemp("out")
    weights = folder / "heads" / "all" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"x")
    write_json(weights.parent / "history.json", [[100, {"loss": 1.0}], [200, {"loss": 0.5}]])
    pq.write_table(pa.table({"label": ["cup"], "where": ["a"], "image": ["b"]}), folder / "photos.parquet")
    heads = Classifiers(items=(ClassifierRef(name="all", images=0, weights=FileRef.of(weights)),))
    write_json(folder / "few_shot.json", results.model_dump(mode="json"))
    files = [FileRef.of(folder / name) for name in ("photos.parquet", "few_shot.json")]
    return Made(folder, [SPACE, *files, heads, []])


def report_of(generator, made: Made) -> Report:
    recipe = recipe_of("few_shot", made.folder, generator=generator, methods={"standard": {}})
    return few_shot.report(recipe, made)


def test_a_report_of_photos_alone_has_no_empty_sections(made, pocket_config):
    report = report_of(pocket_config, made)
    assert [section.heading for section in report.sections] == ["Macro accuracy (%)", "Training"]
    assert report.model.endswith("heads/all")
    html = render(report)
    assert "<td>83.3 [" in html
    assert '<tr class="marked"><td>all</td><td>40</td>' in html.replace("\n", "")
    assert not re.search(r"""(src|href)=["']?http""", html)
    assert "all is 66.7 points over standard" in html


def test_learned_words_contexts_and_the_filter_are_said_and_escaped(made, pocket_config, tmp_path):
    probe = ConceptProbe(similarity=0.7, retrieval=0.4, usable=False, reason="3 of 8 images <i>")
    write_json(tmp_path / "words.json", WordsFile(words=Words(), probes={"cup": probe}).model_dump(mode="json"))
    report = report_of(pocket_config, Made(made.folder, [*made.items, FileRef.of(tmp_path / "words.json")]))
    assert [section.heading for section in report.sections] == [
        "Macro accuracy (%)",
        "Adaptation: learned words",
        "Training",
    ]
    assert "3 of 8 images &lt;i&gt;" in render(report)
    numbers = {
        "temperature": 1.5,
        "calibration_error": 0.05,
        "calibration_error_before": 0.1,
        "agreement": 0.9,
        "mean_weight": 0.8,
    }
    (text,) = filter_section(numbers).blocks
    assert text.text.startswith("Temperature 1.50; calibration error 10.0 % before, 5.0 % after. It calls 90 %")
    section = probed_section("Adaptation: learned LoRAs", "LoRA", {"cup": probe})
    assert section.heading == "Adaptation: learned LoRAs"
    assert section.blocks[0].rows[0][:3] == ("cup", "0.70", "no")
