"""Reality as a population: a drawing is in one split, and one drawing in two colours is one drawing."""

import random
from collections import Counter

import pyarrow.parquet as pq
import pytest
import torch

from pocket.artwork import OBJECTS, REALITY
from pocket.data_sets import artwork
from pocket.real_set import FILLING, PER_CLASS, SAME_SHAPE, allot, difference, populations, write_real_set
from pocket.world import World


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"test": 1}),
        (2, {"test": 1, "train": 1}),
        (3, {"test": 1, "train": 1, "unlabelled": 1}),
        (4, {"test": 1, "train": 1, "unlabelled": 1, "validation": 1}),
        (20, {"test": 8, "train": 5, "unlabelled": 4, "validation": 3}),
    ],
)
def test_few_drawings_serve_the_test_first_and_many_are_shared_out(count, expected):
    assert Counter(allot(count, random.Random(0))) == expected


@pytest.mark.parametrize("count", range(1, 60))
def test_every_drawing_is_in_one_split(count):
    assert len(allot(count, random.Random(count))) == count


def shape(square: bool) -> torch.Tensor:
    """A shaded square or disc on nothing."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    alpha = ((x.abs().maximum(y.abs()) if square else x.hypot(y)) < 0.9).float()
    return torch.cat([(0.5 + 0.4 * x).expand(3, -1, -1) * alpha, alpha[None]])


def test_a_colour_is_no_other_drawing_and_a_shape_is():
    square, disc = shape(square=True), shape(square=False)
    tinted = square * torch.tensor([1.0, 0.3, 0.1, 1.0])[:, None, None]
    assert difference(square, tinted) < SAME_SHAPE
    assert difference(square, tinted.flip(-1)) < SAME_SHAPE
    striped = torch.cat([square[:3] * (torch.arange(32) // 4 % 2), square[3:]])
    assert difference(square, striped) > SAME_SHAPE
    assert difference(square, torch.cat([disc[:3], disc[3:] * (torch.arange(32) < 20)])) > SAME_SHAPE


@pytest.fixture(scope="module")
def world() -> tuple[World, list[str]]:
    files = artwork(list(REALITY))
    return World(files, list(OBJECTS)), [file.stem for file in files for _ in range(pq.read_metadata(file).num_rows)]


def test_the_populations_of_the_artwork_do_not_overlap_and_leave_nothing_out(world):
    world, artists = world
    found = populations(world, artists, seed=1)
    rows = [row for objects in found.values() for own in objects.values() for row in own]
    assert len(rows) == len(set(rows))
    filling = {row for row in range(len(artists)) if artists[row] in FILLING}
    assert set(range(len(artists))) - set(rows) <= filling
    assert not filling & {row for own in found["test"].values() for row in own}
    for i in range(len(OBJECTS)):
        assert all(world.sprite_object[row] == i for split in PER_CLASS for row in found[split].get(i, []))
        assert i in found["test"]
    for name in ("airplane", "bird", "car", "cat", "deer", "dog", "frog", "horse", "ship", "truck"):
        assert all(list(OBJECTS).index(name) in found[split] for split in PER_CLASS), name


def test_a_set_shows_every_class_that_has_a_drawing_for_it(tmp_path, capsys):
    per_class = dict.fromkeys(PER_CLASS, 2)
    write_real_set(artwork(["twemoji", "noto_v1"]), tmp_path, per_class, seed=0)
    labels = {split: pq.read_table(tmp_path / f"{split}.parquet")["label"].to_pylist() for split in PER_CLASS}
    assert Counter(labels["test"]) == dict.fromkeys(OBJECTS, 2)
    assert "giraffe" not in labels["train"]
    assert "giraffe: TOO FEW DRAWINGS, none in train, unlabelled, validation" in capsys.readouterr().out
