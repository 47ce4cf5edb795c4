"""The semantic matrix's report: measures, tagged images, and the verdict."""

import numpy as np
import pytest
import torch

from figment.clip.label_vectors import LabelVectors
from figment.clip.scorer import ClipConfig
from figment.datasets.tagged import TaggedImages
from figment.evaluation.report import render
from figment.files import write_json
from figment.manifests import ClassifierRef, Classifiers, FileRef, Prepared
from figment.recipes import semantic_diversity
from figment.recipes.made import Made
from figment.recipes.semantic_diversity import verdict_of
from figment.training.config import SemanticConfig
from figment.training.histories import Epochs
from figment.training.protocols import ranking_gains
from tests.recipes import recipe_of
from tests.saved_models import save_matrix

NAMES = ("car", "dog & cub", "elk", "red")
CONFIG = SemanticConfig(model="test_resnet", image_size=32, rows=3)
ROW = {f"{p}/{m}": 0.25 for p in ("validation", "zsl", "gzsl") for m in ("mAP", "P@3", "R@3", "F1@3")} | {"loss": 0.5}
HISTORY = {
    "kept": 1,
    "gains": {"zsl": [0.1, 0.05, 0.2], "gzsl": [-0.1, -0.2, -0.05]},
    "epochs": [ROW | {"zsl/mAP": 0.611}, ROW],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("out")
    labels = LabelVectors.of(NAMES, torch.randn(4, 6), "test")
    save_matrix(folder / "model", labels, CONFIG, unseen=("elk", "red"))
    write_json(folder / "model" / "history.json", HISTORY)
    test = folder / "splits" / "gzsl"
    test.mkdir(parents=True)
    dice = np.random.default_rng(0)
    np.save(test / "pixels.npy", dice.integers(0, 256, (30, 3, 32, 32), np.uint8))
    np.save(test / "targets.npy", dice.integers(0, 2, (30, 4)).astype(np.int8))
    write_json(folder / "splits" / "splits.json", {"images": {"train": 3, "gzsl": 30}, "made": 0})
    data = Prepared(splits=FileRef.of(folder / "splits" / "splits.json"), checked=("zsl images",))
    weights = FileRef.of(folder / "model" / "model.safetensors")
    classifiers = Classifiers(items=(ClassifierRef(name="semantic_matrix", images=3, weights=weights),))
    return Made(folder, [data, classifiers])


def test_the_sections_and_what_they_say(made, pocket_config):
    clip = ClipConfig(model="local-dir:models/pocket/clip")
    recipe = recipe_of("semantic_diversity", made.folder, generator=pocket_config, clip=clip)
    report = semantic_diversity.report(recipe, made)
    assert [section.heading for section in report.sections] == [
        "Measures of epoch 1, the one that validates best (%)",
        "Test images and their best tags",
        "Training",
    ]
    html = render(report)
    assert html.count("<figure") == 12
    assert "<td>61.1</td>" in html
    assert "dog &amp; cub" in html
    assert "dog & cub" not in html
    assert '<tr class="marked"><td>1</td><td>0.5000</td>' in html.replace("\n", "")
    assert report.metrics["zsl/mAP"] == 0.611
    assert "loss" not in report.metrics


def test_the_verdict_is_beside_a_ranking_by_chance():
    assert [(one.text.partition(" (95")[0], one.outcome) for one in verdict_of(Epochs.model_validate(HISTORY))] == [
        ("The matrix: 61.1 % mAP on unseen labels alone (ZSL).", ""),
        ("It is 10.0 points of mAP over a ranking by chance", "better"),
        ("The matrix: 25.0 % mAP on all labels together (GZSL).", ""),
        ("It is 10.0 points of mAP under a ranking by chance", "worse"),
    ]


def test_a_ranking_gains_over_chance_and_nothing_over_itself():
    targets = (torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.int8)
    pixels = torch.arange(200 * 12, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(200, 3, 2, 2)
    images = TaggedImages(pixels, targets)
    scores = targets.float()
    gains = ranking_gains(lambda _: scores, None, images, images, [2, 3])
    assert set(gains) == {"zsl", "gzsl"}
    assert all(0.4 < low <= value <= high <= 1 for value, low, high in gains.values())
    assert ranking_gains(lambda _: scores, lambda _: scores, images, images, [2, 3])["zsl"] == (0, 0, 0)
