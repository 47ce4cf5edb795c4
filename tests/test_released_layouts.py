"""What the papers' authors released, by its file names and types: configs/paper/ reads each whole, with no change but of paths.

The layouts are made here, with a few images; what is synthetic of a release is brought in by ``figment import``.
"""

import importlib
import json
import pickle
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from figment.adaptation.textual_inversion import imported_words
from figment.cli import main
from figment.clip.label_vectors import make_label_vectors
from figment.datasets.few_shot import read_splits
from figment.datasets.labelled import open_labelled
from figment.datasets.tagged import read_tagged
from figment.datasets.zero_shot import write_splits, zero_shot_space
from figment.imports.images import bring_in
from figment.labels import LabelSpace
from figment.ops.pipelines import check_config
from figment.prompts.contexts import make_contexts
from figment.prompts.kinds import PairPrompts
from figment.synthesis.pool import Pool

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def picture(file: Path, number: int = 0, size: tuple[int, int] = (24, 16)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number * 37 % 256, number % 256, 90)).save(file)
    return file


def config_of(name: str, root: Path, **changes) -> dict:
    """The parameters of configs/paper/NAME.yaml with datasets/ at ``root``, checked as the pipeline checks them. ``changes`` are
    of entries that name paths."""
    text = Path(f"configs/paper/{name}.yaml").read_text()
    module, pipeline = re.match(r"# zenml pipeline run (\S+)\.(\w+) ", text).groups()
    config = yaml.safe_load(text.replace("datasets/", f"{root}/"))
    config["parameters"].update(changes, output=str(root / "out"))
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    return check_config(file, getattr(importlib.import_module(module), pipeline).entrypoint)


def imported(kind: str, source: Path, out: Path, *options: str) -> str:
    assert main(["import", kind, str(source), "--out", str(out), *options]) == 0
    return str(out)


def taken(folder: str, space: LabelSpace, run: Path) -> list[tuple[str, ...]]:
    """The labels of imported images in a run."""
    pool = Pool(run / "images")
    rows = list(bring_in([folder], space, pool))
    assert len(pool) == len(rows)
    return [row.labels for row in rows]


def coco(root: Path, files: dict[str, str], shown: dict[str, list[list[str]]], names: list[str]) -> None:
    """Annotation files of MS-COCO, and the images that they name."""
    ids = {name: 3 * i + 1 for i, name in enumerate(names)}  # with gaps, as COCO's own
    for (annotations, folder), labels in zip(files.items(), shown.values(), strict=True):
        images, found = [], []
        for i, own in enumerate(labels):
            name = f"COCO_{folder}_{i:012d}.jpg"
            picture(root / folder / name, i)
            images.append({"id": 100 + i, "file_name": name, "height": 16, "width": 24})
            for label in own:
                found.append(
                    {
                        "id": len(found) + 1, "image_id": 100 + i, "category_id": ids[label], "bbox": [1, 1, 9, 9],
                        "area": 81.0 + len(found), "iscrowd": 0, "segmentation": [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]],
                    }
                )  # fmt: skip
        body = {"images": images, "annotations": found, "categories": [{"id": ids[n], "name": n} for n in names]}
        (root / annotations).parent.mkdir(parents=True, exist_ok=True)
        (root / annotations).write_text(json.dumps(body))


SPLITS = {
    "seen": [["bird", "person"], ["car"], ["bird"], ["zebra"], ["person"]] * 4,
    "unseen": [["cat"], ["dog", "cat"]],
    "both": [["cat", "person"], ["dog"], ["bird"]],
}


@pytest.fixture
def coco_space(tmp_path) -> LabelSpace:
    return LabelSpace.load(Path("configs/labels/coco_48_17.yaml"))


def test_tailored_on_coco(tmp_path, coco_space):
    files = {
        "annotations/instances_train2014_seen_48_17.json": "train2014",
        "annotations/instances_val2014_unseen_48_17.json": "val2014",
        "annotations/instances_val2014_gzsi_48_17.json": "val2014",
    }
    root = tmp_path / "coco"
    coco(root, files, SPLITS, list(coco_space.names))
    synthetic = {"syn_annotation/train_instances_only_synthetic.json": "syn_image"}
    coco(root, synthetic, {"made": [["dog", "cat"], ["cow", "couch"], ["cat"]]}, list(coco_space.names))
    (root / "syn_annotation/cls_ids.pickle").write_bytes(pickle.dumps({"train": {0, 1}, "test": {4, 5}, "val": set()}))
    prompts = tmp_path / "prompt_coco"
    prompts.mkdir()
    (prompts / "dog_cat.txt").write_text("\n".join(f"A dog looks at a cat, picture {i}." for i in range(10)))
    (prompts / "cup_cup.txt").write_text("\n".join(f"A cup on shelf {i}." for i in range(10)))
    made = imported("coco", root / next(iter(synthetic)), tmp_path / "made", "--images", str(root / "syn_image"))
    config = config_of("tailored_coco", tmp_path, imported=[made], prompts={"file": str(prompts), "per_pair": 10})
    space = zero_shot_space(config["data"])
    assert (len(space.seen_ids), len(space.unseen_ids)) == (48, 17)
    counts = write_splits(config["data"], space, config["training"].image_size, tmp_path / "splits")
    assert counts == {"train": 19, "validation": 1, "zsl": 2, "gzsl": 3}
    assert sorted(map(sorted, taken(made, space, tmp_path / "run"))) == [["cat"], ["cat", "dog"], ["couch", "cow"]]
    unseen = space.choose([space.names[i] for i in space.unseen_ids])
    book = PairPrompts(**config["prompts"].model_dump(exclude_unset=True)).write(unseen, 7.5, tmp_path)
    texts = [prompt.text for prompt in book.prompts if set(prompt.labels) == {"dog", "cat"}]
    assert sorted(texts) == sorted(f"A dog looks at a cat, picture {i}." for i in range(10))
    assert len([prompt for prompt in book.prompts if prompt.labels == ("cup",)]) == 10


def nus_release(root: Path) -> list[str]:
    """The zero-shot release of NUS-WIDE as tailored's readme asks for it: 925 tags and 81 concepts, matrices of 0 and 1."""
    concepts = list(LabelSpace.load(Path("configs/labels/nus_wide_81.yaml")).names)
    names = [f"tag{i}" for i in range(925)]
    for place, name in enumerate(concepts):
        names.insert(12 * place, name)
    (root / "annotations/Tag_all").mkdir(parents=True)
    (root / "annotations/zsl").mkdir()
    (root / "annotations/Tag_all/all_labels.txt").write_text("\n".join(names) + "\n")
    seen = [i for i, name in enumerate(names) if name not in concepts]
    unseen = [names.index(name) for name in concepts]
    (root / "annotations/zsl/cls_id.pickle").write_bytes(pickle.dumps({"seen": seen, "unseen": unseen}))
    for part, columns in (("train", seen), ("val", unseen), ("val_gzsl", seen[:2] + unseen[:2])):
        rows = np.zeros((20, len(names)), np.int64)
        files = np.array([f"{part}_{i:04d}_{100 + i}.jpg" for i in range(20)])
        for i, file in enumerate(files):
            rows[i, columns[i % len(columns)]] = 1
            picture(root / "images" / str(file), i)
        labels = part if part == "val_gzsl" else f"{part}_all"
        np.save(root / f"annotations/zsl/formatted_{labels}_labels_filtered.npy", rows)
        np.save(root / f"annotations/zsl/formatted_{part}_images_filtered.npy", files)
    return names


def test_tailored_on_nus_wide(tmp_path):
    root = tmp_path / "nus_wide"
    names = nus_release(root)
    folder = root / "syn_annotation"
    folder.mkdir()
    rows = np.zeros((2, len(names)), np.int64)
    rows[0, [names.index("dog"), names.index("animal"), names.index("sky")]] = 1
    rows[1, names.index("zebra")] = 1
    np.save(folder / "formatted_syn_labels_filtered.npy", rows)
    np.save(folder / "formatted_syn_images_filtered.npy", np.array(["100000.jpg", "100001.jpg"]))
    (folder / "cls_ids.pickle").write_bytes(pickle.dumps({"train": {1}, "test": {0}}))
    for i in range(2):
        picture(root / f"syn_image/{100_000 + i}.jpg", i)
    prompts = tmp_path / "prompt_nus"
    prompts.mkdir()
    raw = ["Sure! Here are ten phrases:", "", *(f"{i}. A dog runs below the sky number {i}." for i in range(1, 11))]
    (prompts / "dog_sky.txt").write_bytes("\r\n".join(raw).encode())
    labels = str(root / "annotations/Tag_all/all_labels.txt")
    options = ("--images", str(root / "syn_image"), "--labels", labels)
    made = imported("nus", folder, tmp_path / "made", *options)
    config = config_of("tailored_nus", tmp_path, imported=[made], prompts={"file": str(prompts), "per_pair": 10})
    space = zero_shot_space(config["data"])
    assert (len(space.seen_ids), len(space.unseen_ids)) == (925, 81)
    counts = write_splits(config["data"], space, config["training"].image_size, tmp_path / "splits")
    assert counts == {"train": 19, "validation": 1, "zsl": 20, "gzsl": 20}
    assert sorted(map(sorted, taken(made, space, tmp_path / "run"))) == [["animal", "dog", "sky"], ["zebra"]]
    unseen = space.choose([space.names[i] for i in space.unseen_ids])
    book = PairPrompts(**config["prompts"].model_dump(exclude_unset=True)).write(unseen, 7.5, tmp_path)
    texts = [prompt.text for prompt in book.prompts if set(prompt.labels) == {"dog", "sky"}]
    assert sorted(texts) == sorted(f"A dog runs below the sky number {i}." for i in range(1, 11))


def test_semantic_diversity_on_coco(tmp_path, coco_space):
    files = {
        "zs_split/train_17_48.json": "train2014",
        "zs_split/val_unseen.json": "val2014",
        "zs_split/val_17_48.json": "val2014",
    }
    coco(tmp_path / "coco", files, SPLITS, list(coco_space.names))
    columns = np.random.default_rng(0).normal(size=(300, 80)).astype(np.float32)
    (tmp_path / "coco/wordvec_array.pickle").write_bytes(pickle.dumps({"wordvec_array": columns}))
    (tmp_path / "coco/cls_ids.pickle").write_bytes(pickle.dumps({"train": {0}, "test": {4}, "val": set()}))
    config = config_of("semantic_diversity_coco", tmp_path)
    space = zero_shot_space(config["data"])
    vectors = make_label_vectors(space, config["training"].vectors)
    names = Path("configs/labels/coco_names.txt").read_text().split("\n")
    own = torch.from_numpy(columns[:, names.index("zebra")])
    assert torch.allclose(vectors.vectors[vectors.names.index("zebra")], own / own.norm(), atol=1e-6)
    counts = write_splits(config["data"], space, 64, tmp_path / "splits")
    assert counts == {"train": 19, "validation": 1, "zsl": 2, "gzsl": 3}
    targets = read_tagged(tmp_path / "splits/zsl").targets
    assert {space.names[i] for i in (targets > 0).nonzero()[:, 1].tolist()} == {"cat", "dog"}


def test_semantic_diversity_on_nus_wide(tmp_path):
    names = nus_release(tmp_path / "nus_wide")
    columns = np.random.default_rng(0).normal(size=(300, len(names))).astype(np.float32)
    (tmp_path / "nus_wide/wordvec_array.pickle").write_bytes(pickle.dumps(columns))
    (tmp_path / "nus_wide/classes.pickle").write_bytes(pickle.dumps(dict(enumerate(names))))
    (tmp_path / "nus_wide/unseen_classes.pickle").write_bytes(pickle.dumps(["dog", "sky"]))
    config = config_of("semantic_diversity_nus", tmp_path)
    space = zero_shot_space(config["data"])
    assert make_label_vectors(space, config["training"].vectors).vectors.shape == (1006, 300)
    assert write_splits(config["data"], space, config["training"].image_size, tmp_path / "splits")["zsl"] == 20


def test_bag_of_tricks_on_cifar(tmp_path):
    """The python batches to test on, and an unpacked archive of Zenodo to train on."""
    folder = tmp_path / "cifar10/cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = np.random.default_rng(1).integers(0, 256, (20, 3072), np.uint8)
        batch = {
            b"data": data,
            b"labels": [i % 10 for i in range(20)],
            b"batch_label": b"",
            b"filenames": [b"a.png"] * 20,
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [n.encode() for n in CIFAR10]}))
    for place, name in enumerate(CIFAR10):
        for i in range(3):
            picture(tmp_path / f"cifar10_generated_random_scale_32A/{name}/{i:05d}.png", 10 * place + i, (32, 32))
    made = imported("folder", tmp_path / "cifar10_generated_random_scale_32A", tmp_path / "random_scale")
    config = config_of("cifar10", tmp_path, imported=[made], tricks=[], unions={"released": {"random_scale": 1}})
    space = LabelSpace.chosen(config["classes"], config["labels"])
    assert sorted(taken(made, space, tmp_path / "run")) == sorted((name,) for name in CIFAR10 for _ in range(3))
    real, training = config["real"], config["training"]
    for split, images in (("test", 20), ("train", 100)):
        found = open_labelled(Path(real.path), split, space, training.image_size, None, training.resize)
        assert len(found) == images
        assert torch.bincount(found.labels).tolist() == [images // 10] * 10


def words_and_prompts(root: Path, space: LabelSpace, config: dict) -> None:
    """DIAGen's gathered tokens and its CSV of prompts, brought in and taken by the config's stages."""
    tokens = {f"<{name}>": torch.rand(768) for name in space.names}
    torch.save(tokens | {f"<{space.names[0]}_0.005>": torch.rand(768)}, root / "tokens-0-2.pt")
    words = imported("words", root / "tokens-0-2.pt", root / "words")
    assert imported_words(space, Path(words), root / "out/adapters").is_file()
    lines = [
        f"{name};{i + 1};a photo of a {{name}} in the snow, view {k}"
        for i, name in enumerate(space.names)
        for k in range(10)
    ]
    (root / "prompts.csv").write_text("class_name;class_idx;prompt\n" + "\n".join(lines) + "\n")
    settings = config["prompts"].model_copy(update={"chat": None, "file": str(root / "prompts.csv")})
    assert all(len(found) == 10 for found in make_contexts(space, settings, root / "answers").values())


def test_few_shot_on_custom_coco(tmp_path):
    config = config_of("few_shot_custom_coco", tmp_path)
    for split, count in (("train-val", 10), ("test", 2), ("test_uncommon_context", 1)):
        for place, name in enumerate(config["classes"]):
            for i in range(count):
                picture(tmp_path / f"custom_coco/{split}/{name}/{name}_{i}.jpg", place * 11 + i)
    space = LabelSpace.chosen(config["classes"], config["labels"])
    splits = read_splits(config["data"], space, config["shots"], config["seed"])
    assert (len(splits.shots), len(splits.held_out)) == (2 * 23, 2 * 23)
    assert {name: len(found) for name, found in splits.tests.items()} == {"test": 46, "uncommon": 23}
    words_and_prompts(tmp_path, space, config)


def test_few_shot_on_coco(tmp_path):
    config = config_of("few_shot_coco", tmp_path)
    files = {f"annotations/instances_{part}.json": part for part in ("train2017", "val2017")}
    classes = list(config["classes"])
    coco(
        tmp_path / "coco",
        files,
        {"train": [[name] for name in classes] * 10, "val": [[name] for name in classes]},
        classes,
    )
    space = LabelSpace.chosen(config["classes"], config["labels"])
    splits = read_splits(config["data"], space, config["shots"], config["seed"])
    assert (len(splits.shots), len(splits.tests["val"])) == (2 * 80, 80)


def test_few_shot_on_focus(tmp_path):
    config = config_of("few_shot_focus", tmp_path)
    root = tmp_path / "focus"
    for place, name in enumerate(config["classes"]):
        for setting, count in (("grass", 60), ("snow", 50)):
            for i in range(count):
                picture(root / f"{name}-{setting}/{place}{setting}{i}.jpg", i, (4, 4))
    with sqlite3.connect(root / "annotations.db") as database:
        database.execute("CREATE TABLE annotations (file_name TEXT, category TEXT, humans TEXT)")
    space = LabelSpace.chosen(config["classes"], config["labels"])
    splits = read_splits(config["data"], space, config["shots"], config["seed"])
    assert (len(splits.shots), len(splits.tests["test"])) == (2 * 10, 10 * (110 - 108))


def test_every_released_layout_has_its_test():
    done = {"tailored_coco", "tailored_nus", "semantic_diversity_coco", "semantic_diversity_nus", "cifar10"}
    done |= {f"few_shot_{name}" for name in ("custom_coco", "coco", "focus")}
    others = {"cifar100", "eurosat", "semantic_diversity_open_images"}  # as cifar10; no annotations were released
    assert done | others == {path.stem for path in Path("configs/paper").glob("*.yaml")}
