"""``figment import``: images made elsewhere are a pool like our own, whatever layout they came in."""

import io
import json
import os
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from figment.cli import main
from figment.errors import InputError
from figment.imports.contract import Options, check_imported, read_record
from figment.imports.images import bring_in
from figment.imports.registry import import_source
from figment.labels import LabelSpace
from figment.ops.config_check import checked
from figment.planning.plan import read_plan, write_plan
from figment.planning.planners import Planning
from figment.synthesis.pool import Pool
from figment.synthesis.replay import replay

SHOWN = [("cat",), ("dog",), ("cat", "dog"), ("dog",)]  # of the images that every layout holds
SPACE = LabelSpace.of(["dog", "cat"])


def encoded(number: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9 + number, 7), (40 * number, 99, 7)).save(buffer, form)
    return buffer.getvalue()


def as_folder(root: Path) -> tuple[Path, Options]:
    for number, (first, *_) in enumerate(SHOWN):
        file = root / "made" / first / "samples" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(number, "BMP" if number == 3 else "PNG"))
    return root / "made", Options()


def as_parquet(root: Path) -> tuple[Path, Options]:
    rows = [
        {"image": {"bytes": encoded(i), "path": None}, "labels": list(shown), "caption": f"scene {i}"}
        for i, shown in enumerate(SHOWN)
    ]
    (root / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), root / "data/train-00000-of-00001.parquet", row_group_size=3)
    return root / "data", Options()


def as_parquet_of_one(root: Path) -> tuple[Path, Options]:
    rows = [{"img": encoded(i), "label": shown[0]} for i, shown in enumerate(SHOWN)]
    pq.write_table(pa.Table.from_pylist(rows), root / "made.parquet")
    return root / "made.parquet", Options()


def as_synthetic_coco(root: Path) -> tuple[Path, Options]:
    """As the released code writes it: beside syn_images/, ids of its own, an empty box, the confidence as text."""
    (root / "syn_images").mkdir()
    (root / "syn_annotation").mkdir()
    images, annotations = [], []
    for i, shown in enumerate(SHOWN):
        number = 600_000 + i
        (root / f"syn_images/{number}_{'_'.join(shown)}.jpg").write_bytes(encoded(i, "JPEG"))
        images.append({"id": number, "file_name": f"{number}_{'_'.join(shown)}.jpg"})
        for place, name in enumerate(shown):
            annotations.append(
                {
                    "id": number * 10**place,
                    "image_id": number,
                    "category_id": {"cat": 17, "dog": 18}[name],
                    "area": 100,
                    "bbox": [],
                    "confidence": "0.93",
                }
            )
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    file = root / "syn_annotation/train_instances_only_synthetic.json"
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return file, Options()


def as_nus(root: Path) -> tuple[Path, Options]:
    (root / "annotations/Tag_all").mkdir(parents=True)
    (root / "annotations/syn_annotation").mkdir()
    (root / "syn_images").mkdir()
    names = ["abbey", "cat", "dog"]
    (root / "annotations/Tag_all/all_labels.txt").write_text("\n".join(names) + "\n")
    for i in range(len(SHOWN)):
        (root / f"syn_images/{100_000 + i}.jpg").write_bytes(encoded(i, "JPEG"))
    targets = np.array([[name in shown for name in names] for shown in SHOWN], np.int64)
    folder = root / "annotations/syn_annotation"
    np.save(folder / "formatted_syn_labels_filtered.npy", targets)
    np.save(folder / "formatted_syn_images_filtered.npy", np.array([f"{100_000 + i}.jpg" for i in range(len(SHOWN))]))
    return folder, Options(images=root / "syn_images")


LAYOUTS = {
    "folder": ("folder", as_folder, [shown[:1] for shown in SHOWN]),
    "parquet": ("parquet", as_parquet, SHOWN),
    "parquet of one label": ("parquet", as_parquet_of_one, [shown[:1] for shown in SHOWN]),
    "coco as tailored writes it": ("coco", as_synthetic_coco, SHOWN),
    "nus as tailored writes it": ("nus", as_nus, SHOWN),
}


@pytest.mark.parametrize(("kind", "make", "shown"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout(tmp_path, kind, make, shown):
    source, options = make(tmp_path)
    said = import_source(kind, source, options, tmp_path / "out")
    assert f"{len(SHOWN)} images" in said
    record, plan, pool = (
        read_record(tmp_path / "out", "images", "x"),
        read_plan(tmp_path / "out/plan.parquet"),
        Pool(tmp_path / "out/images"),
    )
    assert Counter(map(tuple, plan["labels"].to_pylist())) == Counter(shown)
    assert set(plan["revision"].to_pylist()) == {record.sha256}
    assert set(plan["model"].to_pylist()) == {f"imported:{kind}"}
    rows = [
        row
        for batch in pool.read(plan["image_id"].to_pylist(), ["image", "width", "height"])
        for row in batch.to_pylist()
    ]
    assert len(rows) == len(SHOWN)
    for row in rows:
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.size == (row["width"], row["height"])
            assert image.format in ("PNG", "JPEG")


def test_ids_follow_the_content_not_the_place(tmp_path):
    ids = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        source, options = as_parquet(tmp_path / place)
        import_source("parquet", source, options, tmp_path / place / "out")
        plan = read_plan(tmp_path / place / "out/plan.parquet")
        ids.append(plan.filter(pa.array([True] * len(plan)))["revision"].to_pylist())
    assert ids[0] == ids[1]


def test_a_run_takes_them_under_its_own_names(tmp_path):
    source, options = as_parquet(tmp_path)
    import_source("parquet", source, options, tmp_path / "mine")
    space = LabelSpace.model_validate(
        {"labels": [{"name": "hound", "synonyms": ["dog"]}, {"name": "fish"}], "others": ["cat"]}
    )
    run = tmp_path / "run"
    pool = Pool(run / "images")
    assert write_plan(bring_in([str(tmp_path / "mine")], space, pool), run / "plan.parquet") == 3
    plan = read_plan(run / "plan.parquet")
    assert {tuple(shown) for shown in plan["labels"].to_pylist()} == {("hound",)}
    assert set(plan["trick"].to_pylist()) == {"mine"}
    assert not len(Pool(run / "images").missing(plan))
    shards = sorted((run / "images").glob("*.parquet"))
    write_plan(bring_in([str(tmp_path / "mine")], space, Pool(run / "images")), run / "plan.parquet")
    assert sorted((run / "images").glob("*.parquet")) == shards  # nothing is written twice
    with pytest.raises(InputError, match="was imported, not rendered"):
        replay(run / "plan.parquet", plan["image_id"][0].as_py())


def test_a_class_may_be_called_as_prompts_call_it(tmp_path):
    source, options = as_folder(tmp_path)
    import_source("folder", source, options, tmp_path / "mine")
    labels = [{"name": "tom", "prompt_name": "cat"}, {"name": "rex", "prompt_name": "a hound", "clip_name": "dog"}]
    rows = list(bring_in([str(tmp_path / "mine")], LabelSpace(labels=labels), Pool(tmp_path / "run/images")))
    assert Counter(row.labels for row in rows) == {("tom",): 2, ("rex",): 2}


@pytest.mark.parametrize("harm", ["record", "shard", "class"])
def test_what_a_run_refuses(tmp_path, harm):
    source, options = as_folder(tmp_path)
    import_source("folder", source, options, tmp_path / "mine")
    space, said = SPACE, "holds no import.json"
    if harm == "record":
        (tmp_path / "mine/import.json").unlink()
    if harm == "shard":
        shard = next((tmp_path / "mine/images").glob("*.parquet"))
        shard.write_bytes(shard.read_bytes()[:-9])
        said = "holds 0 of its 4 images"
    if harm == "class":
        space, said = LabelSpace.of(["cat", "doge"]), "shows 'dog', which is no known class .nearest: doge."
    with pytest.raises(InputError, match=rf"imported\[0\].*{said}"):
        list(bring_in([str(tmp_path / "mine")], space, Pool(tmp_path / "run/images")))


class Planted:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


FAULTS = {
    "no such kind": ("folders", lambda root: root, "is not a kind; take one of folder, parquet, coco, nus"),
    "no source": ("folder", lambda root: root / "gone", "no such file or folder"),
    "an option of another kind": (
        "parquet",
        lambda root: as_parquet(root)[0],
        "--images is not for it; it takes --name",
    ),
    "a file as folder": ("folder", lambda root: as_parquet_of_one(root)[0], "is no folder"),
    "an empty folder": ("folder", lambda root: root, "holds no image"),
    "a folder without parquet": ("parquet", lambda root: root, "holds no .parquet file"),
    "a broken image": ("folder", lambda root: broken(root), "0.png: not a readable image"),
    "an image of coco that is gone": ("coco", lambda root: without_image(root), "600001_dog.jpg"),
    "a json of nothing": ("coco", lambda root: written(root / "a.json", "[]"), "has no list 'images'"),
    "arrays of different length": ("nus", lambda root: shortened(root), r"has shape \(3, 3\)"),
    "a planted npy": ("nus", lambda root: planted(root), "holds pickled objects, which are never loaded"),
    "names that lead elsewhere": ("nus", lambda root: renamed(root), "leads out of the images' folder"),
}


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def broken(root: Path) -> Path:
    source, _ = as_folder(root)
    (source / "cat/samples/0.png").write_bytes(encoded(0)[:40])
    return source


def without_image(root: Path) -> Path:
    source, _ = as_synthetic_coco(root)
    (root / "syn_images/600001_dog.jpg").unlink()
    return source


def shortened(root: Path) -> Path:
    folder, _ = as_nus(root)
    np.save(folder / "formatted_syn_labels_filtered.npy", np.zeros((3, 3)))
    return folder


def planted(root: Path) -> Path:
    folder, _ = as_nus(root)
    np.save(
        folder / "formatted_syn_labels_filtered.npy", np.array([[Planted(root / "ran")]], object), allow_pickle=True
    )
    return folder


def renamed(root: Path) -> Path:
    folder, _ = as_nus(root)
    np.save(folder / "formatted_syn_images_filtered.npy", np.array(["../../etc/passwd"] * len(SHOWN)))
    return folder


@pytest.mark.parametrize(("kind", "make", "said"), FAULTS.values(), ids=FAULTS)
def test_fault_is_one_sentence_and_nothing_is_left(tmp_path, capsys, kind, make, said):
    source, out = make(tmp_path), tmp_path / "out"
    options = ["--images", str(tmp_path)] if "option" in said or "--images" in said else []
    assert main(["import", kind, str(source), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))
    assert not (tmp_path / "ran").exists()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200), st.sampled_from(["npy", "pickle"]))
def test_any_bytes_as_npy_are_an_input_error(tmp_path_factory, data, cut, how):
    folder, options = as_nus(tmp_path_factory.mktemp("fuzz"))
    file = folder / "formatted_syn_labels_filtered.npy"
    whole = file.read_bytes() if how == "npy" else pickle.dumps([1, "a"])
    file.write_bytes(whole[:cut] + data + whole[cut + len(data) :])
    try:
        import_source("nus", folder, options, folder / "out")
    except InputError:
        assert not (folder / "out").exists()


def test_a_plan_of_nothing_is_refused_and_a_name_is_there_once(tmp_path):
    generator = {"model": "models/pocket/diffusion"}
    with pytest.raises(ValueError, match="renders nothing, and no folder is imported"):
        Planning(recipe="x", planner={"kind": "imported"}, generator=generator)
    source, options = as_parquet(tmp_path)
    import_source("parquet", source, options, tmp_path / "mine")
    folders = [str(tmp_path / "mine")]
    Planning(recipe="x", planner={"kind": "imported"}, generator=generator, imported=folders)
    assert check_imported(folders) == {"mine": 4}
    with pytest.raises(InputError, match=r"imported\[1\].*'mine' is there twice"):
        check_imported(folders * 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tricks": []}, "tricks: none is named, and no images are imported"),
        ({"imported": ["artifacts/imported/gone"]}, r"imported\[0\]: artifacts/imported/gone holds no import.json"),
        ({"imported": ["data"], "tricks": []}, r"imported\[0\]: data holds no import.json"),
    ],
)
def test_figment_check_tells_of_an_import_that_is_none(tmp_path, changes, said):
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    config["parameters"].update(changes, output=str(tmp_path / "out"))
    file = tmp_path / "c.yaml"
    file.write_text("# zenml pipeline run pipelines.bag_of_tricks.bag_of_tricks -c c.yaml\n" + yaml.safe_dump(config))
    (fault,) = checked(file).faults
    assert re.search(said, fault), fault
