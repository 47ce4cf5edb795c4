"""The science bench: its statistics, its page, and that nothing is measured twice."""

import json
import math

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tables import cells
from benchmarks.tables.recipes import ARCHITECTURES, sets, table2_training
from benchmarks.tables.report import write_results
from benchmarks.tables.statistics import Mean, difference, gap_closed, mean, rank_correlation, verdict
from benchmarks.tables.world import PER_CLASS, World
from figment.training.config import TrainingConfig


def table(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"recipe": name, "seed": seed, "top1": value, "vendi_equal": value**2, "images": 10}
            for name, values in columns.items()
            for seed, value in enumerate(values)
        ]
    )


def test_the_interval_is_students():
    found = mean(pd.Series([0.5, 0.6, 0.7]))
    assert found.value == pytest.approx(0.6)
    assert found.half == pytest.approx(4.30265 * 0.1 / math.sqrt(3), rel=1e-5)
    assert math.isnan(mean(pd.Series([0.5])).low)


def test_differences_are_paired_by_seed():
    noisy = table(a=[0.2, 0.5, 0.9], b=[0.1, 0.4, 0.8])
    assert difference(noisy, "a", "b").value == pytest.approx(0.1)
    assert difference(noisy, "a", "b").half == pytest.approx(0, abs=1e-9)


def test_the_gap_is_closed_by_each_seeds_own_bounds():
    found = gap_closed(table(base=[0.4, 0.2], real=[0.8, 1.0], trick=[0.6, 0.6]), "trick", "base", "real")
    assert found.value == pytest.approx(0.5)


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=8, unique=True))
@settings(max_examples=20, deadline=None)
def test_what_grows_with_accuracy_has_rank_correlation_one(values):
    recipes = {f"r{i}": [value, value] for i, value in enumerate(values)}
    over_means, each = rank_correlation(table(**recipes), list(recipes), "vendi_equal")
    assert over_means == pytest.approx(1)
    assert each.value == pytest.approx(1)


def test_an_order_holds_only_outside_the_interval():
    assert verdict(Mean(0.1, 0.05, 0.15), 1) == "holds"
    assert verdict(Mean(0.1, 0.05, 0.15), -1) == "reversed"
    assert verdict(Mean(0.1, -0.05, 0.25), 1) == "not decided"
    assert verdict(mean(pd.Series([0.3])), 1) == "not decided"


def test_sets_of_size_one_have_as_many_images_as_a_trick():
    sizes = {name: sum(shares.values()) for name, shares in sets().items()}
    assert sizes["combined"] == sizes["base class x4"] == 4 * PER_CLASS
    assert sizes["combined at fixed size"] == sizes["base_class"] == PER_CLASS


def test_the_training_of_a_table_is_frozen():
    assert len(ARCHITECTURES) == 5
    rest = {
        c.model_copy(update={"model": "", "steps": 1, "learning_rate": 1, "precision": "fp32"})
        for c in ARCHITECTURES.values()
    }
    assert len(rest) == 1
    assert table2_training(World()).model == "test_resnet"


@pytest.fixture(scope="module")
def small_world(tmp_path_factory) -> World:
    return World(folder=tmp_path_factory.mktemp("tables"))


def test_a_cell_is_measured_once(small_world, monkeypatch):
    training = TrainingConfig(model="test_resnet", steps=2, batch_size=8)
    images = small_world.train.subset(torch.arange(0, 600, 30))
    first = cells.cell(small_world, "x", 3, ["a", "b"], images, training)
    assert first["images"] == 20
    assert first["top1"] == pytest.approx(sum(first["per_class"]) / 10)  # 80 test images of each class

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(cells, "train_classifier", fail)
    assert cells.cell(small_world, "x", 3, ["b", "a"], images, training) == first
    with pytest.raises(AssertionError, match="trained again"):
        cells.cell(small_world, "x", 4, ["a", "b"], images, training)


def test_images_of_a_larger_set_hold_those_of_the_smaller(small_world):
    large = {"base_class": {"base_class": 2}, "random_guidance": {"random_guidance": 1}}
    tricks = ["base_class", "random_guidance"]
    made = small_world.rendered(tricks, large, 0)
    ids, images, features = made.of({"base_class": 2})
    assert len(ids) == len(images) == len(features) == 20
    assert torch.bincount(images.labels).tolist() == [2] * 10
    assert set(made.of({"base_class": 1})[0]) < set(ids)
    again = small_world.scorer.image_features(images.pixels).float().cpu()
    assert torch.allclose(again, features, atol=1e-4)  # features and images are of the same images


def test_the_page_says_what_the_tables_hold(tmp_path):
    lines = []
    for seed in range(3):
        for i, name in enumerate([*sets(), "real"]):
            values = {
                f"{m}{s}": i + 0.1 * seed for m in ("vendi", "distance", "recall", "coverage") for s in ("", "_equal")
            }
            lines.append({"recipe": name, "seed": seed, "images": 300, "top1": 0.4 + 0.05 * i + 0.001 * seed, **values})
        for name, top1 in (("perfect generator", 0.9), ("perfect generator + real", 0.95)):
            lines.append({"recipe": name, "seed": seed, "images": 1200, "top1": top1 + 0.001 * seed})
    for line in lines:
        line["per_class"] = json.dumps([line["top1"] + shift for shift in (0, 0, -0.2, 0, -0.3, 0, -0.1, 0, 0, 0)])
    lines.append({"recipe": "CLIP zero-shot", "seed": 0, "top1": 0.8})
    pd.DataFrame(lines).to_csv(tmp_path / "table2.csv", index=False)
    write_results(tmp_path, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert "| base class | 300 | 40.1 +- 0.2 |" in page
    assert "| class prompt | 300 | 45.1 +- 0.2 | +5.0 [+5.0, +5.0] | 10.0 +- 0.0 | 9.1 +- 0.0 |" in page
    assert "| perfect generator + real | 1200 | 95.1 +- 0.2 | +55.0 [+55.0, +55.0] | 110.0 +- 0.0 |  |" in page
    assert "| base class | 40 | 40 | 20 | 40 | 10 | 40 | 30 | 40 | 40 | 40 | deer, car, frog |" in page
    assert "CIFAR-10: holds, CIFAR-100: reversed" in page  # class prompt is above base class in this made-up table
    assert "| Vendi score | +1.00 | +1.00" in page
    assert "table 3" not in page
