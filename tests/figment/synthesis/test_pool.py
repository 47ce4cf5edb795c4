import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from figment.errors import InputError
from figment.images import decode
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool


def content(pool: Pool) -> dict[str, bytes]:
    batches = pool.read(pool.image_ids, ["image_id", "image"])
    return {row["image_id"]: row["image"]["bytes"] for batch in batches for row in batch.to_pylist()}


def test_every_planned_image_is_in_the_pool_once(plan, pool):
    assert sorted(content(pool)) == plan["image_id"].to_pylist()
    assert json.loads(pool.manifest_file.read_text())["rows"] == len(plan)


def test_shards_read_as_the_hub_reads_them(pool):
    table = pq.read_table(next(pool.folder.glob("*.parquet")))
    image = table.slice(0, 1).to_pylist()[0]["image"]
    assert set(image) == {"bytes", "path"}
    assert np.asarray(decode(image["bytes"], "x")).shape == (32, 32, 3)


def test_a_finished_plan_renders_nothing(plan, pool, pocket_config):
    assert synthesise(plan, Pool(pool.folder), pocket_config).rendered == 0


def test_another_batch_size_gives_the_same_shards(plan, pool, pocket_config, tmp_path):
    other = Pool(tmp_path)
    synthesise(plan, other, pocket_config.model_copy(update={"batch_size": 3}))
    assert {(s.file, s.rows) for s in other.shards.values()} == {(s.file, s.rows) for s in pool.shards.values()}
    mine, theirs = content(pool), content(other)
    for image_id, data in mine.items():
        a, b = (np.asarray(decode(d, "x"), float) for d in (data, theirs[image_id]))
        assert np.abs(a - b).max() <= 2


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "delete"])
def test_a_damaged_shard_is_set_aside_and_redone(plan, pocket_config, tmp_path, damage):
    pool = Pool(tmp_path)
    synthesise(plan.slice(0, 14), pool, pocket_config)
    before = {s.file: s.sha256 for s in pool.shards.values()}
    victim = tmp_path / sorted(before)[0]
    data = victim.read_bytes()
    if damage == "delete":
        victim.unlink()
    else:
        flipped = data[:100] + bytes([data[100] ^ 1]) + data[101:]
        victim.write_bytes({"truncate": data[:-50], "flip": flipped, "empty": b""}[damage])
    again = Pool(tmp_path)
    assert len(again.missing(plan.slice(0, 14))) == 7
    assert synthesise(plan.slice(0, 14), again, pocket_config).rendered == 7
    assert {s.file: s.sha256 for s in again.shards.values()} == before
    assert len(list(tmp_path.glob("*.damaged-*"))) == (damage != "delete")


def test_a_manifest_that_is_none_is_named_and_kept(tmp_path):
    (tmp_path / "MANIFEST.json").write_text("{broken")
    with pytest.raises(InputError, match=r"MANIFEST\.json: not a manifest"):
        Pool(tmp_path)
    assert (tmp_path / "MANIFEST.json").read_text() == "{broken"


def test_editing_the_prompts_of_one_class_renders_only_its_rows(plan, pool):
    rows = plan.to_pylist()
    edited = [i for i, row in enumerate(rows) if row["labels"] == ["frog"]]
    ids = plan["image_id"].to_pylist()
    changed = plan.set_column(0, "image_id", [[f"new{i}" if i in edited else ids[i] for i in range(len(ids))]])
    assert {row["labels"][0] for row in Pool(pool.folder).missing(changed).to_pylist()} == {"frog"}
