from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from figment.datasets.labelled import LabelledImages, open_labelled
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.training.classifier import predict, predict_all
from figment.training.config import TrainingConfig
from figment.training.loader import Resident, Streamed
from figment.training.train import train_classifier

CPU = torch.device("cpu")
SPACE = LabelSpace.of(["cat", "dog"])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """600 images of two classes; the red of each is its number modulo 256, the green its class."""
    root = tmp_path_factory.mktemp("set")
    for label, name in enumerate(SPACE.names):
        (root / name / "samples").mkdir(parents=True)
        for number in range(300):
            Image.new("RGB", (8, 8), (number % 256, label * 99, number // 256)).save(
                root / name / "samples" / f"{number:05}.png"
            )
    return root


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(2, 40), st.integers(0, 5))
def test_in_memory_every_batch_is_full_and_every_image_comes(count, batch_size, seed):
    images = LabelledImages(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), torch.arange(count))
    batches = [labels for _, labels in Resident(images, CPU).batches(batch_size, rng(seed))]
    assert {len(labels) for labels in batches} == {batch_size}
    assert len(batches) == -(-count // batch_size)
    assert set(torch.cat(batches).tolist()) == set(range(count))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_every_batch_is_full_and_every_image_comes(folder, workers):
    images = open_labelled(folder, "test", SPACE, 8)
    streamed = Streamed(images.__class__(images.listing, 8, workers=workers), CPU, mixed=2)
    batches = list(streamed.batches(64, rng()))
    assert {len(labels) for _, labels in batches} == {64}
    assert len(batches) == 10
    seen = torch.cat(
        [torch.stack([p[:, 0, 0, 0].int() + 256 * p[:, 2, 0, 0].int(), labels], 1) for p, labels in batches]
    )
    assert len(seen.unique(dim=0)) == 600
    assert all(
        ((p[:, 1, 0, 0] == 99) == (labels == 1)).all() for p, labels in batches
    )  # label and image belong together
    assert {len(labels.unique()) for _, labels in batches[1:-1]} == {2}  # shuffled across chunks


def test_the_order_of_a_stream_depends_on_the_seed_and_not_on_the_workers(folder):
    images = open_labelled(folder, "test", SPACE, 8)

    def order(seed, workers):
        source = Streamed(images.__class__(images.listing, 8, workers=workers), CPU, mixed=2)
        return torch.cat([pixels[:, 0, 0, 0] for pixels, _ in source.batches(64, rng(seed))])

    assert torch.equal(order(1, 0), order(1, 2))
    assert not torch.equal(order(1, 0), order(2, 0))


def test_loaded_it_is_in_its_own_order_whatever_the_chunks(folder):
    images = open_labelled(folder, "test", SPACE, 8)
    mixed = images.subset(torch.randperm(600, generator=rng()))
    loaded = mixed.load()
    assert torch.equal(loaded.labels, mixed.labels)
    assert torch.equal(loaded.pixels, images.load().pixels[torch.randperm(600, generator=rng())])


def test_what_does_not_fit_is_streamed_and_trains(folder):
    images = open_labelled(folder, "test", SPACE, 8)
    assert isinstance(images.load_if_it_fits(), LabelledImages)
    streamed = images.load_if_it_fits(budget=1000)
    assert streamed is images
    config = TrainingConfig(
        model="test_resnet", image_size=8, epochs=3, batch_size=64, learning_rate=3e-3, weight_decay=0.01, holdout=0.2
    )
    entries: list = []
    model = train_classifier(streamed, 2, config, lambda step, m: entries.append(m))
    assert entries[-1]["validation_top1"] > 0.9
    assert torch.equal(predict_all(model, streamed), predict(model, images.load().pixels, 256))


def test_an_error_on_a_worker_is_the_same_one_sentence(folder, tmp_path):
    for name in SPACE.names:
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    (tmp_path / "dog" / "2.png").write_bytes(b"no image")
    images = open_labelled(tmp_path, "test", SPACE, 8)
    with pytest.raises(InputError, match=r"^\S+dog/2\.png: not a readable image; expected one of [\w, ]+$"):
        images.__class__(images.listing, 8, workers=2).load()
