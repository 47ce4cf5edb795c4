"""What travels between folders that share nothing but a store, here a folder too: fsspec opens it as it opens S3."""

from pathlib import Path

import fsspec
import pytest

from figment import store
from figment.errors import InputError
from figment.files import atomic, write_text
from figment.manifests import FileRef
from figment.synthesis.pool import Pool

RUN = Path("artifacts/run")
HASHED = f"answers/ab/{'ab' * 32}.json"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A call makes the next folder the working one, as a new process in a new pod would find it."""
    monkeypatch.setenv(store.VARIABLE, f"file://{tmp_path}/store")
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})  # object stores need no folders
    count = iter(range(100))

    def start() -> None:
        folder = tmp_path / f"pod{next(count)}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        for state in (store._there, store._listed, store._held):
            state.clear()

    start()
    return start


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_finished_is_there_at_once_and_what_failed_is_not(machine, tmp_path):
    write_text(RUN / "plan.txt", "plan")
    write_text(Path("elsewhere/note.txt"), "not below artifacts/")
    with pytest.raises(ZeroDivisionError), atomic(RUN / "broken.txt") as partial:
        partial.write_text(str(1 / 0))
    assert files(tmp_path / "store") == {"artifacts/run/plan.txt"}


def test_a_step_finds_the_small_and_opens_the_large(machine):
    write_text(RUN / "plan.txt", "plan")
    write_text(RUN / "splits/train/pixels.npy", "many")
    write_text(RUN / HASHED, "answer")
    reference = FileRef.of(RUN / "plan.txt")
    machine()
    with store.mirrored([RUN]):
        assert files(RUN) == {"plan.txt"}
        assert store.exists(RUN / HASHED)
        store.fetch(RUN / HASHED, RUN / "no such file")
        assert files(RUN) == {"plan.txt", HASHED}
    machine()
    assert reference.open().read_text() == "plan"


def test_a_step_leaves_what_it_wrote_and_what_it_removed(machine, tmp_path):
    for name in ("kept.txt", "changed.txt", "checkpoint.pt", HASHED):
        write_text(RUN / name, name)
    machine()
    with store.mirrored([RUN, RUN / "plots"]):
        (RUN / "changed.txt").write_text("another")
        (RUN / "checkpoint.pt").unlink()
        (RUN / "plots").mkdir()
        (RUN / "plots" / "loss.csv").write_text("1")
    mirror = tmp_path / "store" / RUN
    assert files(mirror) == {"kept.txt", "changed.txt", "plots/loss.csv", HASHED}
    assert (mirror / "changed.txt").read_text() == "another"


def test_the_next_step_of_a_process_gets_what_another_has_changed(machine, tmp_path):
    write_text(RUN / "verdicts.txt", "1")
    with store.mirrored([RUN]):
        pass
    (tmp_path / "store" / RUN / "verdicts.txt").write_text("22")
    with store.mirrored([RUN]):
        assert (RUN / "verdicts.txt").read_text() == "22"


def test_a_step_that_fails_sends_nothing_more(machine, tmp_path):
    def step() -> None:
        with store.mirrored([RUN]):
            RUN.mkdir(parents=True)
            (RUN / "half.txt").write_text("half")
            raise InputError("stopped")

    with pytest.raises(InputError):
        step()
    assert files(tmp_path / "store") == set()


def part_of_pool(plan, pool: Pool, first: int, count: int) -> None:
    rows = plan.slice(first, count)
    images = [{"bytes": image_id.encode(), "path": "p.png"} for image_id in rows["image_id"].to_pylist()]
    pool.add(rows, {"image": images, "contrast": [0.5] * count, "unsafe": [False] * count})


def test_steps_side_by_side_fill_one_pool_and_the_next_goes_on(machine, plan, tmp_path):
    shards = tmp_path / "store" / RUN / "images"
    part_of_pool(plan, Pool(RUN / "images"), 0, 6)  # killed: never sealed
    machine()
    one = Pool(RUN / "images")
    assert len(one.missing(plan)) == len(plan) - 6
    machine()
    other = Pool(RUN / "images")  # neither knows of the other's shard
    part_of_pool(plan, other, 6, 6)
    other.seal()
    machine()
    write_text(RUN / "images" / "MANIFEST.json", '{"rows": 0, "shards": []}')  # one that sealed first and came last
    pool = Pool(RUN / "images")
    assert len(pool) == 12
    assert pool.missing(plan)["image_id"].to_pylist() == plan["image_id"].to_pylist()[12:]
    assert pool.verify() == []
    assert not list((RUN / "images").glob("*.parquet")), "ids are read where they are"
    assert [len(batch) for batch in pool.read(plan["image_id"].to_pylist(), ["image_id", "contrast"])] == [6, 6]
    assert not list((RUN / "images").glob("*.parquet")), "and so are columns"
    pool.seal()
    wanted = plan["image_id"].to_pylist()[:2]
    images = [row["image"]["bytes"].decode() for batch in pool.read(wanted, ["image"]) for row in batch.to_pylist()]
    assert images == wanted
    assert len(list((RUN / "images").glob("*.parquet"))) == 1 < len(list(shards.glob("*.parquet"))) == 2


def test_a_shard_that_is_not_what_its_record_says_is_named(machine, plan, tmp_path):
    part_of_pool(plan, Pool(RUN / "images"), 0, 6)
    (shard,) = (tmp_path / "store" / RUN / "images").glob("*.parquet")
    shard.write_bytes(shard.read_bytes().replace(b"p.png", b"q.png"))
    machine()
    with pytest.raises(InputError, match=f"{shard.name}: its content is not what its record says"):
        list(Pool(RUN / "images").read(plan["image_id"].to_pylist(), ["image"]))
    shard.unlink()
    machine()
    assert len(Pool(RUN / "images")) == 0


def test_a_store_that_does_not_answer_is_named(machine, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, "nosuch://bucket/figment")
    with pytest.raises(InputError, match=r"nosuch://bucket/figment.*FIGMENT_STORE names a bucket"):
        write_text(RUN / "plan.txt", "plan")


def test_all_of_a_run_but_what_can_be_made_anew(machine):
    for name in ("plan.txt", HASHED, "features/x.txt", f"images/{'a' * 24}.parquet", f"images/{'a' * 24}.shard.json"):
        write_text(RUN / name, name)
    machine()
    store.complete(RUN, without=["features"])
    assert files(RUN) == {"plan.txt", HASHED, f"images/{'a' * 24}.parquet"}
