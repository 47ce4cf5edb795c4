"""``figment export-coco`` on a run's folder: what passed, and nothing else, as others read it."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from figment.cli import main
from figment.datasets.coco import read_coco
from figment.datasets.zero_shot import ZeroShotConfig, zero_shot_space
from figment.validation.policies import SCHEMA

DATA = {"source": "parquet", "root": "data/scenes", "labels": "configs/labels/pocket_24_8.yaml"}


def verdict(image_id: str, predicted: list[str], accepted: bool) -> dict:
    return {"image_id": image_id, "accepted": accepted, "reason": "", "labels": ["car"], "predicted": predicted}


@pytest.fixture
def run(plan, pool, tmp_path) -> Path:
    """A config whose run accepted four pictures of the pool, one of them as two classes, and rejected the others."""
    out = tmp_path / "out"
    shutil.copytree(pool.folder, out / "images")
    ids = sorted(plan["image_id"].to_pylist())
    rows = [verdict(i, ["dog", "banana"] if n == 0 else ["car"], n % 5 == 0) for n, i in enumerate(ids)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out / "verdicts.parquet")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"parameters": {"data": DATA, "output": str(out)}}))
    return config


def refused(config: Path, capsys, *sentence: str) -> None:
    folder = config.parent / "refused"
    assert main(["export-coco", str(folder), "-c", str(config)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(part in said for part in sentence)
    assert not (folder / "annotations.json").exists()


def test_the_accepted_pictures_of_a_run_are_read_back_with_their_labels_and_bytes(run, plan, pool, tmp_path, capsys):
    folder = tmp_path / "coco"
    assert main(["export-coco", str(folder), "-c", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "annotations.json")
    space = zero_shot_space(ZeroShotConfig(**DATA))
    found = read_coco(folder / "annotations.json", folder / "images", space)
    rows = zip(found.files, found.targets, strict=True)
    shown = {file.stem: {space.names[c] for c in row.nonzero()[:, 0].tolist()} for file, row in rows}
    ids = sorted(plan["image_id"].to_pylist())
    assert shown == {ids[0]: {"dog", "banana"}, ids[5]: {"car"}, ids[10]: {"car"}, ids[15]: {"car"}}
    batches = pool.read(shown, ["image_id", "image"])
    kept = {row["image_id"]: row["image"]["bytes"] for batch in batches for row in batch.to_pylist()}
    assert {file.stem: file.read_bytes() for file in (folder / "images").iterdir()} == kept


def test_what_cannot_be_exported_is_one_sentence(run, plan, capsys):
    verdicts = run.parent / "out" / "verdicts.parquet"
    table = pq.read_table(verdicts)
    lost = pa.Table.from_pylist([verdict("f" * 64, ["car"], True)], schema=SCHEMA)
    pq.write_table(pa.concat_tables([table, lost]), verdicts)
    refused(run, capsys, "1 accepted pictures are not there, such as ffffffffffff; run the pipeline again")
    pq.write_table(lost.slice(0, 0), verdicts)
    refused(run, capsys, "no picture passed")
    pq.write_table(table.drop_columns("labels"), verdicts)
    refused(run, capsys, "holds no verdicts on pictures with several labels; run the config's pipeline")
    verdicts.unlink()
    refused(run, capsys, "holds no verdicts")
    run.write_text(yaml.safe_dump({"parameters": {"output": "artifacts/bag_of_tricks"}}))
    refused(run, capsys, "config.yaml: has no parameters.data; give the config of a tailored or semantic_diversity run")
