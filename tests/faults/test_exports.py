"""``figment export``: what cannot be exported is one sentence, and no folder is left."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from figment.cli import main
from figment.synthesis.pool import Pool
from tests.figment.exports.test_exports import SINGLE, make_run


def rewritten(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        file = run / name
        pq.write_table(change(pq.read_table(file)), file)

    return harm


def config(text: object) -> Callable[[Path], None]:
    return lambda run: (
        (run / "config.yaml").write_text(text if isinstance(text, str) else yaml.safe_dump(text)) and None
    )


def column(name: str, value: object) -> Callable[[Path], None]:
    """The first row's value in a column of the verdicts."""

    def change(table: pa.Table) -> pa.Table:
        values = [value, *table[name].to_pylist()[1:]]
        return table.set_column(table.schema.names.index(name), name, pa.array(values))

    return rewritten("verdicts.parquet", change)


def damaged_shard(run: Path) -> None:
    file = next((run / "images").glob("*.parquet"))
    file.write_bytes(file.read_bytes().replace(b"a photo of", b"a photo_of"))


def no_image(run: Path) -> None:
    """A shard that is what its record says, and holds what is no image."""
    pool = Pool(run / "images")
    for file in (run / "images").glob("*"):
        file.unlink()
    rows = pq.read_table(run / "plan.parquet")
    images = {
        "image": [{"bytes": b"junk", "path": ""}] * len(rows),
        "contrast": [1.0] * len(rows),
        "unsafe": [False] * len(rows),
    }
    pool.add(rows, images)
    pool.seal()


HARM = {
    "no plan": (lambda run: (run / "plan.parquet").unlink(), "holds no plan.parquet; give the folder of a run"),
    "no verdicts": (lambda run: (run / "verdicts.parquet").unlink(), "holds no verdicts.parquet, so its images"),
    "nothing accepted": (
        rewritten("verdicts.parquet", lambda t: t.set_column(1, "accepted", pa.array([False] * len(t)))), "none of its images was"
    ),
    "no verdict": (rewritten("verdicts.parquet", lambda t: t.slice(0, 0)), "none of its images was accepted"),
    "verdicts without a column": (rewritten("verdicts.parquet", lambda t: t.drop_columns("accepted")), "expected verdicts"),
    "verdicts that are text": (lambda run: (run / "verdicts.parquet").write_text("x"), "verdicts.parquet: not readable verdicts"),
    "an id that leads elsewhere": (column("image_id", "../../x"), "image_id '../../x' names a file"),
    "an id that is not ASCII": (column("image_id", "é" * 64), "names a file; expected letters and digits"),
    "an id that is nothing": (column("image_id", None), "image_id None names a file"),
    "an image that is not there": (column("image_id", "f" * 64), "1 of 7 images are not there; run the pipeline again"),
    "a label that is nothing": (column("predicted", None), "an image shows no class"),
    "an id twice": (rewritten("verdicts.parquet", lambda t: pa.concat_tables([t, t.slice(0, 1)])), "is there twice"),
    "a damaged shard": (damaged_shard, "images are not there; run the pipeline again"),
    "bytes that are no image": (no_image, "not a readable image; expected one of JPEG, PNG, WEBP"),
    "a config that is text": (config("parameters: ["), "config.yaml: not readable YAML"),
    "a config without classes": (config({"parameters": {}}), "config.yaml: parameters.data"),
    "a label file that is gone": (
        config({"parameters": {"classes": ["car", "frog"], "labels": "gone.yaml"}}), "gone.yaml: not readable YAML"
    ),
    "classes of another run": (
        config({"parameters": {"classes": ["car", "frog"], "labels": "configs/labels/pocket.yaml"}}), "do not include 'banana'"
    ),
}  # fmt: skip


def refused(capsys, *arguments: str) -> str:
    assert main(["export", *arguments]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize("layout", ["folder", "hf"])
@pytest.mark.parametrize(("harm", "sentence"), HARM.values(), ids=HARM)
def test_a_run_that_cannot_be_exported(tmp_path, capsys, harm, sentence, layout):
    make_run(tmp_path / "run", SINGLE)
    harm(tmp_path / "run")
    assert sentence in refused(capsys, str(tmp_path / "run"), "--format", layout, "--out", str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_where_it_cannot_be_written(tmp_path, capsys):
    run = tmp_path / "run"
    make_run(run, SINGLE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept").write_text("x")
    for name in ("full", "full/kept"):
        said = refused(capsys, str(run), "--format", "coco", "--out", str(tmp_path / name))
        assert "is there already and is not an empty folder; give a new name" in said
    assert "cannot write" in refused(capsys, str(run), "--format", "coco", "--out", str(tmp_path / "full/kept/in"))
    assert {path.name for path in tmp_path.rglob("*") if run not in (path, *path.parents)} == {"full", "kept"}
    (tmp_path / "empty").mkdir()
    assert main(["export", str(run), "--format", "coco", "--out", str(tmp_path / "empty")]) == 0
    assert (tmp_path / "empty/annotations.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{run}"], "is the folder of a run; give --format, one of folder, coco, hf, webdataset, yolo"),
        (["{run}", "--format", "zip"], "--format 'zip': is not known; take one of folder, coco"),
        (["{model}", "--format", "coco"], "holds no plan.parquet, it is that of a model; give the folder of a run"),
        (["{model}", "--all"], "--out and --all are for the images of a run; give --format, too"),
        (["{run}/gone", "--format", "coco"], "gone: holds no plan.parquet"),
    ],
    ids=["no format", "unknown format", "a model", "options without a format", "no folder"],
)
def test_arguments_that_do_not_fit(tmp_path, capsys, arguments, sentence):
    make_run(tmp_path / "run", SINGLE)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").touch()
    places = {"run": tmp_path / "run", "model": tmp_path / "model"}
    assert sentence in refused(capsys, *(text.format(**places) for text in arguments))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "model"}
