import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.datasets.labelled import StreamedImages, open_synthetic_folders
from figment.labels import LabelSpace
from figment.training.config import TrainingConfig
from figment.training.kinds.timm_classifier import TIMM
from figment.training.saved import load_model
from figment.training.sets import train_on

SPACE = LabelSpace.of(["cat", "dog"])
CONFIG = TrainingConfig(model="test_resnet", image_size=16, epochs=2, batch_size=4, learning_rate=1e-3)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> StreamedImages:
    root = tmp_path_factory.mktemp("set")
    for label, name in enumerate(SPACE.names):
        (root / name).mkdir()
        for number in range(6):
            Image.new("RGB", (16, 16), (200 * label, 9 * number, 0)).save(root / name / f"{number}.png")
    return open_synthetic_folders(root, SPACE, 16)


def run(images: StreamedImages, folder: Path, key: str) -> tuple[list, int]:
    """The log, and how often the images were asked for."""
    asked: list[int] = []
    entries: list[tuple[int, dict[str, float]]] = []

    def get() -> StreamedImages:
        asked.append(1)
        return images

    def log(step: int, metrics: dict[str, float]) -> None:
        entries.append((step, metrics))

    train_on("set", key, get, SPACE, CONFIG, Checkpoint(folder / CHECKPOINT, key), log)
    return entries, len(asked)


def test_what_is_trained_already_is_not_trained_again_but_shows_its_curve(images, tmp_path):
    first, asked = run(images, tmp_path, "key")
    assert asked == 1
    assert [step for step, _ in first][-1] == 6
    again, asked = run(images, tmp_path, "key")
    assert asked == 0
    assert again == [(step, metrics) for step, metrics in first]
    _, asked = run(images, tmp_path, "another key")
    assert asked == 1


def test_nothing_is_left_over_beside_a_finished_classifier(images, tmp_path):
    run(images, tmp_path, "key")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.json", "model.json", "model.safetensors"]
    assert json.loads((tmp_path / "history.json").read_text())
    model = load_model(tmp_path, TIMM)
    assert model.saved.images == 12
    assert not model.network.training
    assert torch.isfinite(model.network(torch.zeros(1, 3, 16, 16))).all()
