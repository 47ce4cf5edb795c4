"""``figment export RUN``: what passed, and nothing else, as our readers and each format's own library read it."""

import contextlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from figment.cli import main
from figment.datasets import folders, hub_parquet
from figment.datasets.coco import read_coco
from figment.exports import hf, webdataset
from figment.exports.run_images import RunImages, Summary
from figment.files import canonical_json
from figment.labels import LabelSpace
from figment.names import file_names
from figment.planning.few_shot import RECIPE as FEW_SHOT
from figment.planning.plan import write_plan
from figment.planning.row import SCHEMA as PLAN
from figment.planning.row import Row, record_of
from figment.synthesis.pool import Pool
from figment.validation import verdicts

FORMATS = ("PNG", "JPEG", "WEBP")
HOSTILE = (
    "../x",
    "a/b",
    "CON",
    "x" * 300,
    "自転車",
    "Car",
    "car",
    " .hidden",
    "dot.",
    "line\nbreak",
    "|`<b>",
    "no",
    "train",
)
SCENES = "configs/labels/coco_48_17.yaml"
Shown = Mapping[str, set[str]]  # by image id


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8 + number % 3, 8), (number * 7 % 256, 0, 0)).save(buffer, FORMATS[number % 3])
    return buffer.getvalue()


def make_run(
    folder: Path,
    labels: Sequence[Sequence[str]],
    rejected: Sequence[int] = (),
    kind: str = "single",
    config: Mapping | None = None,
    shard: int = 4,
) -> Shown:
    """A run's folder as a pipeline leaves it, an image for each of ``labels``; returns what the accepted ones show."""
    recipe = FEW_SHOT if kind == "few_shot" else "bag_of_tricks"
    rows = [
        Row(
            prompt=f"a photo of {' and '.join(names)}, {i % 2}", labels=tuple(names), recipe=recipe, trick="base_class",
            model="models/pocket/diffusion", revision="r" * 40, width=8, height=8, guidance_scale=1, num_inference_steps=1,
            scheduler="ddim", stream=0, replicate=i,
        )
        for i, names in enumerate(labels)
    ]  # fmt: skip
    write_plan(rows, folder / "plan.parquet")
    made = sorted(((row.image_id, i) for i, row in enumerate(rows)))
    pool = Pool(folder / "images")
    for start in range(0, len(made), shard):
        part = [i for _, i in made[start : start + shard]]
        images = {
            "image": [{"bytes": encoded(i), "path": "x"} for i in part],
            "contrast": [0.0 if kind == "few_shot" and i in rejected else 0.5 for i in part],
            "unsafe": [False] * len(part),
        }
        pool.add(pa.Table.from_pylist([record_of(rows[i]) for i in part], PLAN), images)
    pool.seal()
    found = [
        {
            "image_id": image_id,
            "accepted": i not in rejected,
            "reason": "",
            "contrast": 0.5,
            "labels": list(labels[i]),
            "predicted": list(labels[i]),
        }
        for image_id, i in made
    ]
    if kind != "few_shot":
        pq.write_table(pa.Table.from_pylist(found, verdicts.SCHEMA), folder / "verdicts.parquet")
    if config:
        (folder / "config.yaml").write_text(yaml.safe_dump({"parameters": dict(config)}), encoding="utf-8")
    return {rows[i].image_id: set(names) for i, names in enumerate(labels) if i not in rejected}


def export(run: Path, layout: str, *more: str) -> Path:
    out = run.parent / "out" / layout
    assert main(["export", str(run), "--format", layout, "--out", str(out), *more]) == 0
    return out


def by_folder(out: Path) -> Shown:
    names = {folder: name for name, folder in file_names(HOSTILE).items()} | {"car": "car"}
    shown: dict[str, set[str]] = {}
    for chunk in folders.chunks(out, None):
        for file, name in zip(chunk.files, chunk.names, strict=True):
            shown.setdefault(file.stem, set()).add(names.get(name, name))
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert {Path(line["file_name"]).stem: set(line["labels"]) for line in lines} == shown
    assert all((out / line["file_name"]).is_file() for line in lines)
    return shown


def by_pycocotools(out: Path) -> Shown:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(out / "annotations.json"))
    assert sorted(coco.imgs) == list(range(1, len(coco.imgs) + 1))
    shown = {}
    for image in coco.loadImgs(coco.getImgIds()):
        with Image.open(out / "images" / image["file_name"]) as opened:
            assert (image["width"], image["height"]) == opened.size
        marks = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert all(
            mark["bbox"] == [0, 0, *opened.size] and mark["area"] == opened.size[0] * opened.size[1] for mark in marks
        )
        shown[Path(image["file_name"]).stem] = {coco.cats[mark["category_id"]]["name"] for mark in marks}
    return shown


def by_our_coco(out: Path) -> Shown:
    names = [category["name"] for category in json.loads((out / "annotations.json").read_text())["categories"]]
    space = LabelSpace.of(names)
    found = read_coco(out / "annotations.json", out / "images", space)
    rows = zip(found.files, found.targets, strict=True)
    return {file.stem: {space.names[c] for c in row.nonzero()[:, 0].tolist()} for file, row in rows}


def by_our_parquet(out: Path) -> Shown:
    ids = [row for file in hub_parquet.files(out, "train") for row in pq.read_table(file)["image_id"].to_pylist()]
    if "labels" in pq.read_schema(hub_parquet.files(out, "train")[0]).names:
        found = [set(names) for _, tags in hub_parquet.tagged(out, "train") for names in tags]
    else:
        found = [{name} for group in hub_parquet.chunks(out, "train") for name in group.names]
    return dict(zip(ids, found, strict=True))


def by_features(out: Path) -> Shown:
    """By pyarrow and the schema that ``datasets`` reads from Parquet's metadata."""
    shown = {}
    files = sorted((out / "data").iterdir())
    assert [file.name for file in files] == [f"train-{i:05}-of-{len(files):05}.parquet" for i in range(len(files))]
    for file in files:
        table = pq.read_table(file)
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert list(features) == table.schema.names
        assert features["image"] == {"_type": "Image"}
        assert table.schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        for row in table.to_pylist():
            feature = features.get("label") or features["labels"]["feature"]
            assert feature["_type"] == "ClassLabel"
            labels = [row["label"]] if "label" in row else row["labels"]
            assert len(labels) == len(set(labels))
            shown[row["image_id"]] = {feature["names"][label] for label in labels}
            assert Image.open(io.BytesIO(row["image"]["bytes"])).format in FORMATS
    return shown


def by_tar(out: Path) -> Shown:
    """Grouped as WebDataset documents it: files that follow each other and have the same name up to the first dot."""
    samples: list[dict[str, bytes]] = []
    for file in sorted(out.glob("train-*.tar")):
        with tarfile.open(file) as tar:
            for member in tar:
                stem, _, suffix = member.name.partition(".")
                if not samples or samples[-1]["__key__"] != stem.encode():
                    samples.append({"__key__": stem.encode()})
                assert suffix not in samples[-1]
                samples[-1][suffix] = tar.extractfile(member).read()
    names = [json.loads(f'"{line}"') for line in (out / "classnames.txt").read_text(encoding="utf-8").split("\n")[:-1]]
    for sample in samples:
        said = json.loads(sample["json"])
        assert [names[i] for i in said["positions"]] == said["labels"]
        assert said["caption"] == sample["txt"].decode()
        assert "cls" not in sample or [int(sample["cls"])] == said["positions"]
        assert sum(suffix in sample for suffix in ("jpg", "png", "webp")) == 1
    return {sample["__key__"].decode(): set(json.loads(sample["json"])["labels"]) for sample in samples}


def by_txt(out: Path) -> Shown:
    data = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert list(data["names"]) == list(range(len(data["names"])))
    shown = {}
    for image in (out / data["train"]).iterdir():
        lines = (out / data["train"].replace("images", "labels") / f"{image.stem}.txt").read_text().splitlines()
        assert all(line.split(" ")[1:] == ["0.5", "0.5", "1", "1"] for line in lines)
        shown[image.stem] = {data["names"][int(line.split(" ")[0])] for line in lines}
        assert len(shown[image.stem]) == len(lines)
    assert len(list((out / "labels/train").iterdir())) == len(shown)
    return shown


READERS: dict[str, tuple[str, Callable[[Path], Shown]]] = {
    "folder by ours": ("folder", by_folder),
    "coco by pycocotools": ("coco", by_pycocotools),
    "coco by ours": ("coco", by_our_coco),
    "hf by ours": ("hf", by_our_parquet),
    "hf by its features": ("hf", by_features),
    "webdataset by tarfile": ("webdataset", by_tar),
    "yolo by its txt": ("yolo", by_txt),
}
SINGLE = [["car"], ["frog"], ["car"], ["banana"], ["car"], ["frog"], ["banana"]]
MULTI = [["car", "frog"], ["frog"], ["banana", "car", "frog"], ["banana"], ["car"], ["frog", "car"], ["car"]]
RUNS = {"single": SINGLE, "multi": MULTI, "few_shot": SINGLE}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(("layout", "read"), READERS.values(), ids=READERS)
def test_what_was_accepted_is_read_back_with_its_labels(tmp_path, monkeypatch, layout, read, kind):
    monkeypatch.setattr(hf, "FILE_BYTES", 1)
    monkeypatch.setattr(hf, "ROW_GROUP", 2)
    monkeypatch.setattr(webdataset, "SHARD_BYTES", 200)
    expected = make_run(tmp_path / "run", RUNS[kind], rejected=[1, 4], kind=kind)
    out = export(tmp_path / "run", layout)
    assert read(out) == expected
    assert not [path for path in out.parent.iterdir() if path != out]


@pytest.mark.parametrize("layout", ["folder", "coco", "yolo"])
def test_bytes_are_written_as_they_are(tmp_path, layout):
    expected = make_run(tmp_path / "run", SINGLE, rejected=[0])
    pool = Pool(tmp_path / "run/images").read(expected, ["image_id", "image"])
    kept = {row["image_id"]: row["image"]["bytes"] for part in pool for row in part.to_pylist()}
    out = export(tmp_path / "run", layout)
    assert {p.stem: p.read_bytes() for p in out.rglob("*") if p.suffix in (".png", ".jpg", ".webp")} == kept


@pytest.mark.parametrize("kind", RUNS)
def test_all_are_exported_where_all_are_asked_for(tmp_path, kind):
    rejected = make_run(tmp_path / "run", RUNS[kind], rejected=[1, 4], kind=kind)
    out = export(tmp_path / "run", "coco", "--all")
    shown = by_pycocotools(out)
    assert len(shown) == 7 > len(rejected)
    assert Counter(map(frozenset, shown.values())) == Counter(map(frozenset, RUNS[kind]))
    assert "--format coco --all" in (out / "README.md").read_text()


ANY_NAME = {
    name: reader for name, reader in READERS.items() if name != "coco by ours"
}  # our label spaces refuse such names


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize(("layout", "read"), ANY_NAME.values(), ids=ANY_NAME)
def test_hostile_names_are_kept_and_lead_nowhere(tmp_path, layout, read, kind):
    labels = [[name] for name in HOSTILE] if kind == "single" else [[name, "car"] for name in HOSTILE if name != "car"]
    expected = make_run(tmp_path / "run", labels, kind=kind)
    out = export(tmp_path / "run", layout)
    assert read(out) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
    card = (out / "README.md").read_text()
    if layout == "folder":
        assert '"%2E.%2Fx": "../x"' in card
        assert '"%43ON": "CON"' in card
        assert "自転車" in {path.name for path in out.iterdir()}
        assert not any(path.is_dir() and len(path.name.encode()) > 200 for path in out.iterdir())


def test_coco_ids_are_the_data_sets_own(tmp_path):
    data = {"source": "coco", "root": "nowhere", "labels": SCENES}
    expected = make_run(
        tmp_path / "run", [["cat", "dog"], ["toothbrush"], ["dog"]], kind="multi", config={"data": data}
    )
    out = export(tmp_path / "run", "coco")
    assert by_pycocotools(out) == by_our_coco(out) == expected
    categories = {c["name"]: c["id"] for c in json.loads((out / "annotations.json").read_text())["categories"]}
    assert len(categories) == 65
    assert (categories["cat"], categories["dog"], categories["toothbrush"]) == (17, 18, 90)


@pytest.mark.parametrize("name", ["coco", "coco_48_17"])
def test_the_label_files_of_coco_have_its_80_category_ids(name):
    space = LabelSpace.load(Path(f"configs/labels/{name}.yaml"))
    ids = dict(zip(space.names, space.data_set_ids, strict=True))
    gaps = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert len(ids) == (80 if name == "coco" else 65)
    assert set(ids.values()) <= set(range(1, 91)) - gaps
    known = {
        "person": 1,
        "bird": 16,
        "cat": 17,
        "backpack": 27,
        "bottle": 44,
        "cup": 47,
        "bed": 65,
        "tv": 72,
        "book": 84,
    }
    assert {name: ids[name] for name in known} == known
    assert list(ids.values()) == sorted(ids.values())


@pytest.mark.parametrize("custom", [False, True])
def test_classes_are_those_of_the_config_in_its_order(tmp_path, custom):
    config = {"classes": ["frog", "car", "dog"], "labels": "configs/labels/pocket.yaml"}
    config = {"data": {"kind": "labelled", **config}} if custom else config
    expected = make_run(tmp_path / "run", [["car"], ["frog"]], config=config)
    out = export(tmp_path / "run", "yolo")
    assert by_txt(out) == expected
    assert yaml.safe_load((out / "data.yaml").read_text())["names"] == {0: "frog", 1: "car", 2: "dog"}


def test_the_card_says_what_is_there_and_its_digest_is_that_of_the_images(tmp_path):
    make_run(tmp_path / "run", SINGLE, rejected=[3, 6])
    out = export(tmp_path / "run", "webdataset")
    card = (out / "README.md").read_text()
    assert "5 synthetic images of 2 classes" in card
    assert "| 0 | 1 | `car` | 3 |" in card
    assert "`models/pocket/diffusion` at `" + "r" * 40 + "`: 5 images" in card
    assert "a photo of car, 0" in card
    assert f"figment export {tmp_path / 'run'} --format webdataset" in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"
    content = sha256()
    with tarfile.open(out / "train-000000.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    for name, data in files.items():
        if name.endswith(("jpg", "png", "webp")):
            said = json.loads(files[f"{name.partition('.')[0]}.json"])
            line = [said["image_id"], sha256(data).hexdigest(), said["positions"]]
            content.update(f"{canonical_json(line)}\n".encode())
    assert content.hexdigest() in card


def test_one_batch_of_images_is_in_memory_at_a_time(tmp_path):
    make_run(tmp_path / "run", [["car"], ["frog"]] * 20, shard=4)
    summary = Summary()
    samples = RunImages(tmp_path / "run").samples(summary)
    next(samples)
    assert summary.images == 1
    assert sum(1 for _ in samples) == 39


def test_the_folder_beside_the_run_is_the_default(tmp_path):
    make_run(tmp_path / "run", SINGLE)
    assert main(["export", str(tmp_path / "run"), "--format", "yolo"]) == 0
    assert (tmp_path / "run_yolo/data.yaml").is_file()
