from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from figment.datasets.labelled import open_labelled
from figment.ops.quality import DataQualityError, check, class_suite, image_suite
from figment.synthesis.pool import Pool
from figment.training.lists import open_training_list, training_list
from figment.validation import gates
from figment.validation.config import GateConfig
from figment.validation.duplicates import SIDE, distances
from figment.validation.gates import class_table, real_table, training_tables, twins
from figment.validation.hashes import HashStore, hash_set


@pytest.fixture(scope="module")
def chosen(plan) -> pa.Table:
    """All images of the plan, as if all had been accepted."""
    verdicts = pa.table(
        {"image_id": plan["image_id"], "accepted": [True] * len(plan), "trick": plan["trick"], "labels": plan["labels"]}
    )
    return training_list(verdicts, set(plan["trick"].to_pylist()))


@pytest.fixture(scope="module")
def synthetic(chosen, pool, labels):
    return open_training_list(chosen, pool, labels, SIDE, "all", "bicubic")


def test_hashes_beside_the_pool_are_those_of_the_decoded_images(chosen, pool, synthetic):
    store = HashStore(pool)
    ids = chosen["image_id"].to_pylist()
    codes = store.codes(ids)
    assert distances(codes, hash_set(synthetic).codes).max() <= 8
    assert (store.codes(ids[::-1]) == codes[::-1]).all()
    before = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    assert len(before) == len(pool.shards)
    HashStore(Pool(pool.folder)).codes(ids)
    assert before == {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}


def test_real_images_have_no_twin_among_generated_ones_but_those_put_there_have(chosen, pool, labels, synthetic):
    test = open_labelled(Path("data/real"), "test", labels, SIDE, 20)
    [table] = training_tables(chosen, pool, hash_set(test), near=10)
    assert table["test_twin"].isna().all()
    assert table["duplicate_of"].isna().all()
    assert table["contrast"].min() > 0.01

    leaked = synthetic.subset(np.array([4, 7]))
    [table] = training_tables(chosen, pool, hash_set(leaked), near=10)
    assert np.flatnonzero(table["test_twin"].notna()).tolist() == [4, 7]
    assert table["test_twin"][4].endswith(f"row {leaked.listing.places[0, 1]}")


def test_a_long_list_is_looked_at_in_parts(chosen, pool, synthetic, monkeypatch):
    test = hash_set(synthetic.subset(np.array([4, 7])))
    [whole] = training_tables(chosen, pool, test, near=10)
    monkeypatch.setattr(gates, "LOOKED_AT", 5)
    parts = list(training_tables(chosen, pool, test, near=10))
    assert [len(part) for part in parts] == [5] * (len(chosen) // 5) + [len(chosen) % 5]
    assert pd.concat(parts).fillna("").to_dict("list") == whole.fillna("").to_dict("list")


def test_a_list_of_nothing_is_a_table_that_its_gate_can_look_at(chosen, pool, labels, synthetic):
    """It fails there for want of images, in a sentence."""
    [table] = training_tables(chosen.slice(0, 0), pool, hash_set(synthetic), near=10)
    assert len(table) == 0
    assert all(finding.passed for finding in check(table, "nothing", image_suite(labels, 0.1, 0.0)))
    with pytest.raises(DataQualityError, match="between failed for images: car has 0"):
        check(class_table(Counter(table["label"]), labels.names, 5), "nothing", class_suite(GateConfig()), "label")


def test_a_mirrored_test_image_is_a_leak_too(synthetic):
    hashed = hash_set(synthetic)
    found = twins(hashed.mirrored, hashed, near=10)
    assert all(found)


def test_a_image_that_is_there_twice_is_named(labels, synthetic):
    twice = synthetic.subset(np.array([3, 5, 3]))
    table = real_table(hash_set(twice), labels.names, 10)
    assert table["duplicate_of"].notna().tolist() == [False, False, True]
    assert table["duplicate_of"][2] == twice.listing.where(0) == table["image_id"][0]
    assert table["image_id"][1] == "image 1"


def test_classes_are_counted_against_their_share():
    table = class_table(Counter(["car", "car", "frog"]), ["car", "frog", "cat"], 2)
    assert table.to_dict("list") == {"label": ["car", "frog", "cat"], "images": [2, 1, 0], "share": [2, 2, 2]}
    assert class_table(Counter(["car", "car", "frog"]), ["car", "frog"], None)["share"].tolist() == [2, 2]
