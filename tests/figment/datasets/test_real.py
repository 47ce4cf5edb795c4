"""Images without labels, and a few shots: what is read, and what is left out."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.datasets.config import RealConfig
from figment.datasets.real import NO_LABEL, open_shots, open_unlabelled
from figment.images import encode
from figment.labels import LabelSpace

SPACE = LabelSpace.model_validate({"labels": [{"name": "cat"}, {"name": "dog"}], "others": ["frog"]})


def png(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 0, 0)).save(path)


def parquet(path, labels, column="label"):
    import numpy as np

    images = [{"bytes": encode(np.full((8, 8, 3), i, np.uint8), "png"), "path": f"{i}.png"} for i in range(len(labels))]
    pq.write_table(pa.table({"image": images, **({column: labels} if column else {})}), path)
    return path


def shades(images):
    return images.load().pixels[:, 0, 0, 0].tolist()


def test_any_images_below_a_folder_have_no_label(tmp_path):
    for value, name in enumerate(("a.png", "deep/b.png", "deep/er/c.png")):
        png(tmp_path / name, value)
    found = open_unlabelled(str(tmp_path), SPACE, 8)
    assert shades(found) == [0, 1, 2]
    assert set(found.labels.tolist()) == {NO_LABEL}


def test_images_of_known_classes_that_were_not_chosen_are_left_out(tmp_path):
    png(tmp_path / "cat/1.png", 1)
    png(tmp_path / "frog/2.png", 2)
    png(tmp_path / "anything/3.png", 3)
    assert shades(open_unlabelled(str(tmp_path), SPACE, 8)) == [3, 1]
    file = parquet(tmp_path / "images.parquet", ["frog", "dog", "who knows"])
    assert shades(open_unlabelled(str(file), SPACE, 8)) == [1, 2]


@pytest.mark.parametrize(("labels", "column"), [(["a", "b"], None), ([7, -1], "label"), ([None, "dog"], "label")])
def test_a_table_needs_no_label_that_means_anything(tmp_path, labels, column):
    file = parquet(tmp_path / "images.parquet", labels, column)
    assert shades(open_unlabelled(str(file), SPACE, 8)) == [0, 1]


def test_fewer_shots_are_the_first_of_more(tmp_path):
    parquet(tmp_path / "train.parquet", ["cat", "dog"] * 6)
    drawn = {
        (shots, seed): open_shots(RealConfig(path=str(tmp_path), shots=shots, seed=seed), SPACE, 8)
        for shots in (1, 3)
        for seed in (0, 1)
    }
    assert torch.bincount(drawn[3, 0].labels).tolist() == [3, 3]
    assert set(shades(drawn[1, 0])) < set(shades(drawn[3, 0]))
    assert shades(drawn[3, 0]) != shades(drawn[3, 1])
