"""The bag of tricks' report: which sections it has, and its verdict."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.evaluation.errors import Neighbour, WorstError
from figment.evaluation.report import Images, png_uri, render
from figment.evaluation.results import tabulate
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.planning.plan import write_plan
from figment.recipes import bag_of_tricks
from figment.recipes.bag_of_tricks import pick_thumbnails, verdict_of
from figment.recipes.made import Made
from figment.validation.policies import Top1Policy
from figment.validation.verdicts import SCHEMA
from tests.recipes import recipe_of

HOSTILE = "<img src=x onerror=alert(1)>"
SPACE = LabelSpace.of(["car", "frog"])
TRUTH = torch.arange(400) % 2


def logits(right: float) -> torch.Tensor:
    """Of a classifier that is right about this share of the images, the first of them."""
    predicted = torch.where(torch.arange(400) < round(400 * right), TRUTH, 1 - TRUTH)
    return torch.nn.functional.one_hot(predicted, 2).float()


def results(combined: float, base: float | None = 0.7, clip: float = 0.9):
    scores = {} if base is None else {"base_class": logits(base)}
    return tabulate(SPACE, TRUTH, logits(clip), scores | {"combined": logits(combined)}, {"combined": 10})


@pytest.mark.parametrize(
    ("combined", "over_base", "over_clip"),
    [
        (0.8, "combined is 10.0 points over base class", "combined is 10.0 points under CLIP zero-shot"),
        (0.7, "combined is level with base class", "combined is 20.0 points under CLIP zero-shot"),
        (0.6, "combined is 10.0 points under base class", "combined is 30.0 points under CLIP zero-shot"),
        (1.0, "combined is 30.0 points over base class", "combined is 10.0 points over CLIP zero-shot"),
    ],
)
def test_the_verdict_names_base_class_and_clip_with_paired_intervals(combined, over_base, over_clip):
    first, base, clip = verdict_of(results(combined))
    assert first.text.startswith(f"combined: {100 * combined:.1f} % top-1")
    assert first.text.endswith("on 400 real images.")
    assert base.text.startswith(over_base)
    assert clip.text.startswith(over_clip)
    assert base.outcome == ("undecided" if combined == 0.7 else "better" if combined > 0.7 else "worse")


def test_a_student_is_compared_with_clip_that_saw_the_same_unlabelled_images():
    rows = {"base_class": 0.6, "combined": 0.7, "CLIP with unlabelled": 0.8, "combined with unlabelled": 0.9}
    scores = {name: logits(right) for name, right in rows.items()}
    found = tabulate(SPACE, TRUTH, logits(0.75), scores, {}, deployed="combined with unlabelled")
    assert found.confusion_of == "combined with unlabelled"
    assert [sentence.text.partition(" (")[0] for sentence in verdict_of(found)[1:]] == [
        "combined with unlabelled is 30.0 points over base class",
        "combined with unlabelled is 15.0 points over CLIP zero-shot",
        "combined with unlabelled is 10.0 points over CLIP with unlabelled",
    ]
    assert tabulate(SPACE, TRUTH, logits(0.75), scores, {}).confusion_of == "combined"


@pytest.mark.parametrize(("clip", "warned"), [(0.5, True), (0.55, True), (0.62, False), (0.9, False)])
def test_images_that_clip_hardly_knows_are_warned_of(clip, warned):
    said = [one.text for one in verdict_of(results(0.8, clip=clip)) if one.text.startswith("Warning: ")]
    assert len(said) == warned
    assert all(f"{100 * clip:.1f} % of the real images" in text for text in said)


def test_a_gain_within_chance_is_undecided():
    assert verdict_of(results(0.7025))[1].outcome == "undecided"


def test_the_gains_are_those_of_the_table():
    found = results(0.8)
    assert found.gains["base_class"] == found["combined"].gain
    assert set(found.gains) == {"base_class", "CLIP zero-shot"}
    assert set(results(0.8, base=None).gains) == {"CLIP zero-shot"}


def judged(plan) -> list[dict]:
    """Of every three images one is rejected."""
    return [
        {
            "image_id": row["image_id"],
            "accepted": number % 3 > 0,
            "reason": "accepted" if number % 3 else "wrong_class",
            "labels": row["labels"],
            "trick": row["trick"],
            "predicted": ["frog"],
            "probability": 0.5,
            "contrast": 0.2,
        }
        for number, row in enumerate(plan.to_pylist())
    ]


@pytest.fixture(scope="module")
def verdicts(plan):
    return pa.Table.from_pylist(judged(plan), schema=SCHEMA)


def test_thumbnails_are_few_and_spread_over_the_tricks(plan, pool, verdicts):
    made = Made(pool.folder, [FileRef.of(pool.manifest_file)])
    chosen = pick_thumbnails(plan, verdicts, made, accepted=2, rejected=1)
    assert all(len(found) <= (2 if passed else 1) for (_, passed), found in chosen.items())
    assert any(len({one.caption for one in found}) == 2 for (_, passed), found in chosen.items() if passed)
    rejected = [one for (_, passed), found in chosen.items() if not passed for one in found]
    assert {(one.kind, one.caption) for one in rejected} == {("rejected", "wrong class: frog (0.50)")}


@pytest.fixture(scope="module")
def report(tmp_path_factory, plan, pool, verdicts, labels, pocket_config, synthesis):
    folder = tmp_path_factory.mktemp("out")
    write_plan(plan, folder / "plan.parquet")
    pq.write_table(verdicts, folder / "verdicts.parquet")
    Image.new("RGB", (4, 4)).save(folder / "feature_map.png")
    pixel = png_uri(Image.new("RGB", (4, 4)))
    neighbour = Neighbour(image_id="a" * 64, label=HOSTILE, trick="base_class", similarity=0.5, uri=pixel)
    error = WorstError(
        where=HOSTILE, truth="car", predicted=HOSTILE, probability=0.9, uri=pixel, neighbours=(neighbour,) * 4
    )
    write_json(folder / "errors.json", [error.model_dump()])
    names = {"base_class": 12, "combined": 12}
    for name in names:
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"x")
        write_json(folder / name / "history.json", [[1, {"loss": 2.0}], [2, {"loss": 1.0, "validation_top1": 0.5}]])
    refs = [
        ClassifierRef(name=name, images=count, weights=FileRef.of(folder / name / "model.safetensors"))
        for name, count in names.items()
    ]
    scores = torch.nn.functional.one_hot(torch.arange(30) % 3, 3).float()
    found = tabulate(labels, torch.arange(30) % 3, scores, {"base_class": scores.roll(1, 0), "combined": scores}, names)
    review = folder / "review.csv"
    review.write_text(f"image_id,decision\n{'f' * 64},drop\n")
    changes = {"generator": pocket_config, "synthesis": synthesis, "acceptance": Top1Policy(), "review": str(review)}
    recipe = recipe_of("bag_of_tricks", folder, **changes)
    write_json(folder / "results.json", found.model_dump(mode="json"))
    files = [folder / "plan.parquet", folder / "verdicts.parquet", folder / "results.json", pool.manifest_file]
    items = [*map(FileRef.of, files), ["training list combined"], Classifiers(items=tuple(refs))]
    made = Made(folder, items)
    assert made.gates == ["plan", "verdicts", "training list combined"]
    return bag_of_tricks.report(recipe, made)


def test_the_sections_in_their_order(report):
    assert [section.heading for section in report.sections] == [
        "Results",
        "Accepted images",
        "Rejected images, and why",
        "Worst errors of combined",
        "Top-1 by class (%)",
        "Confusion of combined",
        "Real and synthetic features (combined)",
        "Validation",
        "What was asked",
        "Training",
    ]
    assert report.model.endswith("/combined")
    assert set(report.logged) == {"accepted.png", "rejected.png"}


def test_the_page_has_what_a_reader_looks_for_and_nothing_hostile(report, plan):
    html = render(report)
    assert "<img src=x" not in html
    for found in (
        "combined: 100.0 % top-1",
        "9 images from",
        "12 accepted, 6 wrong class.",
        "taken for &lt;img src=x",
        "by a person, in",
        "the class has probability 0.5 or more, and more than any other",
        'alt="t-SNE of CLIP features"',
        'aria-label="validation top1 by step: base class, combined"',
        "figment why",
    ):
        assert found in html, found
    assert html.count("<svg") == 2


def test_every_class_has_a_row_of_images(report, labels):
    sheets = [block for section in report.sections[1:3] for block in section.blocks if isinstance(block, Images)]
    assert [[name for name, _ in sheet.groups] for sheet in sheets] == [list(labels.names)] * 2


def test_a_file_that_changed_since_its_step_is_refused(tmp_path):
    file = tmp_path / "errors.json"
    write_json(file, [])
    made = Made(tmp_path, [FileRef.of(file)])
    assert made.read("errors", list[int]) == []
    file.write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=r"errors\.json: it changed"):
        made.read("errors", list[int])
