import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.images import decode
from figment.planning.plan import make_plan, union
from figment.planning.row import row_of
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool, Shard


def content(pool: Pool, plan) -> dict[str, bytes]:
    batches = pool.read(plan["image_id"].to_pylist(), ["image_id", "image"])
    return {row["image_id"]: row["image"]["bytes"] for batch in batches for row in batch.to_pylist()}


def test_every_planned_image_is_in_the_pool_once(plan, pool):
    assert sorted(content(pool, plan)) == plan["image_id"].to_pylist()
    assert json.loads(pool.manifest_file.read_text())["rows"] == len(plan) == len(pool)


def test_a_shard_is_a_range_of_the_sorted_plan(plan, pool):
    ids = plan["image_id"].to_pylist()
    ranges = sorted((s.first, s.last, s.rows) for s in pool.shards.values())
    assert ranges == [(ids[0], ids[6], 7), (ids[7], ids[13], 7), (ids[14], ids[17], 4)]


def test_shards_read_as_the_hub_reads_them(pool):
    table = pq.read_table(next(pool.folder.glob("*.parquet")))
    image = table.slice(0, 1).to_pylist()[0]["image"]
    assert set(image) == {"bytes", "path"}
    assert np.asarray(decode(image["bytes"], "x")).shape == (32, 32, 3)


def test_only_what_is_wanted_is_read(plan, pool):
    wanted = plan["image_id"].to_pylist()[3:12:4]
    batches = list(pool.read([*wanted, "0" * 64, wanted[0]], ["image_id"], batch_rows=1))
    assert [len(batch) for batch in batches] == [1] * len(wanted)
    assert sorted(row["image_id"] for batch in batches for row in batch.to_pylist()) == wanted
    assert list(pool.read([], ["image_id"])) == []


def test_a_finished_plan_renders_nothing(plan, pool, synthesis):
    assert synthesise(plan, Pool(pool.folder), synthesis).rendered == 0


def test_a_shard_may_come_while_others_are_gone_through(plan, pool, tmp_path):
    ids = plan["image_id"].to_pylist()
    table = pq.read_table(pool.folder / min(pool.shards))
    grows = Pool(shutil.copytree(pool.folder, tmp_path / "images"))
    reading = grows.read(ids, ["image_id"])
    seen = next(reading)["image_id"].to_pylist()
    rows = table.drop_columns(["image", "contrast", "unsafe"]).slice(0, 1)
    grows.add(rows, {name: table[name].to_pylist()[:1] for name in ("image", "contrast", "unsafe")})
    seen += [image_id for batch in reading for image_id in batch["image_id"].to_pylist()]
    assert sorted(seen) == ids


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "delete"])
def test_a_damaged_shard_is_set_aside_and_redone(plan, pool, synthesis, tmp_path, damage):
    folder = shutil.copytree(pool.folder, tmp_path / "images")
    before = {s.file: s.sha256 for s in pool.shards.values()}
    victim = folder / min(before)
    data = victim.read_bytes()
    if damage == "delete":
        victim.unlink()
    else:
        flipped = data[:100] + bytes([data[100] ^ 1]) + data[101:]
        victim.write_bytes({"truncate": data[:-50], "flip": flipped, "empty": b""}[damage])
    again = Pool(folder)
    assert synthesise(plan, again, synthesis).rendered == pool.shards[victim.name].rows
    assert {s.file: s.sha256 for s in again.shards.values()} == before
    aside = list(folder.glob("*.damaged-*"))
    assert len(aside) == (damage != "delete")
    assert all(path.read_bytes() != data for path in aside)


def test_shards_of_many_writers_are_seen_before_and_after_they_are_sealed(plan, pool, tmp_path):
    """Single records, as writers leave them, count as the manifest does; sealing twice changes nothing."""
    folder = shutil.copytree(pool.folder, tmp_path / "images")
    manifest = (folder / "MANIFEST.json").read_text()
    for item in json.loads(manifest)["shards"]:
        (folder / f"{item['file'].split('.')[0]}.shard.json").write_text(json.dumps(item))
    (folder / "MANIFEST.json").unlink()
    unsealed = Pool(folder)
    assert len(unsealed) == len(plan)
    assert len(unsealed.missing(plan)) == 0
    for _ in range(2):
        unsealed.seal()
        assert (folder / "MANIFEST.json").read_text() == manifest
        assert not list(folder.glob("*.shard.json"))


@pytest.mark.parametrize("text", ["{broken", "[]", '{"shards": [{"file": 3}]}', '{"rows": 1}'])
def test_a_manifest_that_is_none_is_named_and_kept(tmp_path, text):
    (tmp_path / "MANIFEST.json").write_text(text)
    with pytest.raises(InputError, match=r"MANIFEST\.json: not readable .*expected a manifest"):
        Pool(tmp_path)
    assert (tmp_path / "MANIFEST.json").read_text() == text


def test_editing_the_prompts_of_one_class_renders_only_its_rows(plan, pool, synthesis, tmp_path):
    folder = shutil.copytree(pool.folder, tmp_path / "images")
    rows = [row_of(record) for record in plan.to_pylist()]
    edited = make_plan(r.model_copy(update={"prompt": "one frog"}) if r.labels == ("frog",) else r for r in rows)
    known = set(plan["image_id"].to_pylist())
    new = [row for row in edited.to_pylist() if row["image_id"] not in known]
    assert {row["labels"][0] for row in new} == {"frog"}
    assert synthesise(edited, Pool(folder), synthesis).rendered == len(new) == 6
    assert sorted(content(Pool(folder), union(plan, edited))) == union(plan, edited)["image_id"].to_pylist()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=12), st.integers(0, 30))
def test_shards_near_an_id_are_found_though_they_overlap(tmp_path_factory, bounds, at):
    pool = Pool(tmp_path_factory.getbasetemp() / "none")
    spans = {
        f"{i}": Shard(file=f"{i}", rows=1, sha256="", first=f"{a:02}", last=f"{b:02}")
        for i, (a, b) in enumerate(bounds)
    }
    pool.shards = spans
    near = {f for f, s in spans.items() if s.first <= f"{at + 2:02}" and s.last >= f"{at:02}"}
    assert set(pool.near(pa.table({"image_id": [f"{at:02}", f"{at + 2:02}"]}))) == near


def test_one_of_several_processes_reads_again_only_what_holds_its_own_images(plan, pool, synthesis, tmp_path):
    folder = shutil.copytree(pool.folder, tmp_path / "images")
    second = sorted(pool.shards.values(), key=lambda shard: shard.first)[1]
    (folder / second.file).write_bytes(b"")
    assert synthesise(plan, Pool(folder), synthesis, part=(0, 2)).rendered == 0
    assert not list(folder.glob("*.damaged-*"))
    assert synthesise(plan, Pool(folder), synthesis, part=(1, 2)).rendered == second.rows
