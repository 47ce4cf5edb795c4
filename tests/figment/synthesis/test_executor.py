import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import UNet2DConditionModel

from figment.errors import InputError
from figment.images import decode
from figment.planning.plan import make_plan, write_plan
from figment.prompts.tricks import build_tricks, write_prompts
from figment.synthesis import executor
from figment.synthesis.budget import Budget
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Generator
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.weights import model_revision
from tests.plans import plan_bag_of_tricks

SCRIPT = """
import sys
from pathlib import Path
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
config = SynthesisConfig.model_validate_json(sys.argv[1])
print("ready", flush=True)
synthesise(Path(sys.argv[2]), Pool(Path(sys.argv[3])), config)
print("done", flush=True)
"""


def images(pool: Pool, plan) -> dict[str, np.ndarray]:
    batches = pool.read(plan["image_id"].to_pylist(), ["image_id", "image"])
    rows = [row for batch in batches for row in batch.to_pylist()]
    return {row["image_id"]: np.asarray(decode(row["image"]["bytes"], "x"), float) for row in rows}


def assert_same(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """The same ids, and images that differ by at most 45 dB of noise."""
    assert mine.keys() == theirs.keys()
    for image_id, image in mine.items():
        assert np.mean((image - theirs[image_id]) ** 2) < 255**2 / 10**4.5


@pytest.fixture(scope="module")
def long_plan(labels, pocket_config):
    tricks = build_tricks(["base_class", "random_guidance"], ["photo"], 4.0)
    config = pocket_config.model_copy(update={"num_inference_steps": 8})
    book = write_prompts(labels, tricks)
    return make_plan(plan_bag_of_tricks(book, tricks, config, model_revision(config), 20, 0))


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
import torch
from figment.planning.plan import read_plan
from figment.synthesis.renderers import Renderers
torch.set_num_threads(1)  # a child has no others
config = SynthesisConfig.model_validate_json(sys.argv[1])
folder, dice, loaded = Path(sys.argv[3]), random.Random(0), Renderers(config)
loaded.load(*(read_plan(Path(sys.argv[2]))[name][0].as_py() for name in ("model", "revision")))
for _ in range(20):
    before, wanted = len(Pool(folder).shards), dice.randint(0, 2)
    child = os.fork()
    if not child:
        synthesise(Path(sys.argv[2]), Pool(folder), config, renderers=loaded)
        os._exit(0)
    while len(list(folder.glob("*.parquet"))) < before + wanted and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.005)
    time.sleep(dice.uniform(0, 0.3))
    try:
        os.kill(child, signal.SIGKILL)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
    except (ProcessLookupError, ChildProcessError):
        killed = False
    print(int(killed), len(Pool(folder).shards), flush=True)
"""


@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_manifest_ends_as_if_never_interrupted(long_plan, synthesis, tmp_path):
    config = synthesis.model_copy(update={"shard_size": 4})
    write_plan(long_plan, tmp_path / "plan.parquet")
    uninterrupted = Pool(tmp_path / "uninterrupted")
    synthesise(long_plan, uninterrupted, config)

    folder = tmp_path / "pool"
    command = [sys.executable, "-c", KILLER, config.model_dump_json(), str(tmp_path / "plan.parquet"), str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    killed, shards = list(map(int, said[::2])), list(map(int, said[1::2]))
    assert len(killed) == 20
    assert sum(killed) > 10
    assert shards == sorted(shards)
    assert len(set(shards)) > 3
    synthesise(long_plan, Pool(folder), config)
    assert (folder / "MANIFEST.json").read_bytes() == uninterrupted.manifest_file.read_bytes()


def test_a_full_disk_loses_only_the_shard_under_way(plan, synthesis, tmp_path):
    """A limit on file size stands for the full disk: the shards' files do not fit."""
    write_plan(plan, tmp_path / "plan.parquet")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    limited += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    files = [str(tmp_path / "plan.parquet"), str(tmp_path / "pool")]
    command = [sys.executable, "-c", limited + SCRIPT, synthesis.model_dump_json(), *files]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode != 0
    assert "cannot write" in run.stderr
    left = Pool(tmp_path / "pool")
    kept = len(left)
    assert kept in (0, 4)  # the last, smaller shard may just have fitted
    assert not list(left.folder.glob(".*.partial"))
    assert synthesise(plan, left, synthesis).rendered == len(plan) - kept


def test_another_batch_size_or_number_of_lanes_gives_the_same_shards(plan, pool, synthesis, tmp_path):
    for name, change in {"batches": {"batch_size": 3, "lanes": 1}, "lanes": {"lanes": 3}}.items():
        other = Pool(tmp_path / name)
        synthesise(plan, other, synthesis.model_copy(update=change))
        assert {(s.file, s.rows) for s in other.shards.values()} == {(s.file, s.rows) for s in pool.shards.values()}
        assert_same(images(pool, plan), images(other, plan))


@pytest.mark.parametrize("count", [2, 3])
def test_shares_of_the_work_add_up_to_all_of_it(plan, pool, synthesis, tmp_path, count):
    rendered = [synthesise(plan, Pool(tmp_path), synthesis, part=(i, count)).rendered for i in range(count)]
    assert sum(rendered) == len(plan)
    together = Pool(tmp_path)
    assert {(s.file, s.rows) for s in together.shards.values()} == {(s.file, s.rows) for s in pool.shards.values()}
    assert_same(images(pool, plan), images(together, plan))


def test_a_plan_on_disk_renders_as_one_in_memory(plan, pool, synthesis, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    other = Pool(tmp_path / "images")
    assert synthesise(tmp_path / "plan.parquet", other, synthesis).rendered == len(plan)
    assert {s.file for s in other.shards.values()} == {s.file for s in pool.shards.values()}


def test_the_log_sees_every_shard(plan, synthesis, tmp_path):
    seen = []
    report = synthesise(plan, Pool(tmp_path), synthesis, log=lambda metrics, done: seen.append((done, metrics)))
    assert len(seen) == 3
    assert seen[-1][0] == report.rendered == report.planned == 18
    assert all(m["images_per_second"] > 0 and m["hours_left"] >= 0 for _, m in seen)


def test_out_of_memory_halves_the_batch_and_remembers(plan, synthesis, tmp_path, monkeypatch):
    """A device with room for three images: a batch of 7 fails, its halves fit, and no more than 3 are asked for again."""
    asked = []
    render = Generator._render

    def small_device(self, rows):
        asked.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return render(self, rows)

    monkeypatch.setattr(Generator, "_render", small_device)
    renderers = Renderers(synthesis.model_copy(update={"lanes": 1}))
    report = synthesise(plan, Pool(tmp_path), synthesis.model_copy(update={"lanes": 1}), renderers=renderers)
    assert report.rendered == 18
    assert report.batch_size == 3
    assert asked == [7, 3, 3, 1, 3, 3, 1, 3, 1]
    assert len(Pool(tmp_path)) == 18


def test_one_image_too_large_for_the_device_is_a_sentence(plan, synthesis, tmp_path, monkeypatch):
    def no_room(self, rows):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Generator, "_render", no_room)
    with pytest.raises(InputError, match="one image of 32 x 32 does not fit in memory"):
        synthesise(plan, Pool(tmp_path), synthesis)


def test_a_real_allocator_that_refuses_is_recognised():
    from figment.synthesis.renderers import is_out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_a_budget_of_images_stops_on_a_shard_boundary_and_the_next_run_goes_on(plan, pool, synthesis, tmp_path):
    limited = synthesis.model_copy(update={"max_images": 10})
    report = synthesise(plan, Pool(tmp_path), limited)
    assert report.rendered == 7
    assert "max_images 10" in report.stopped
    assert [s.rows for s in Pool(tmp_path).shards.values()] == [7]
    assert synthesise(plan, Pool(tmp_path), limited).rendered == 7
    last = synthesise(plan, Pool(tmp_path), limited)
    assert (last.rendered, last.stopped) == (4, "")
    assert {s.file for s in Pool(tmp_path).shards.values()} == {s.file for s in pool.shards.values()}


def test_a_budget_of_time_stops_on_a_shard_boundary(long_plan, synthesis, tmp_path):
    limited = synthesis.model_copy(update={"max_hours": 0.5 / 3600, "shard_size": 4})
    report = synthesise(long_plan, Pool(tmp_path), limited)
    assert "max_hours" in report.stopped
    assert 0 < report.rendered < len(long_plan)
    assert report.rendered % 4 == 0
    assert len(Pool(tmp_path)) == report.rendered


def test_a_budget_below_one_shard_is_a_sentence(plan, synthesis, tmp_path):
    with pytest.raises(InputError, match=r"max_images: 3 is less than one shard of 7 images"):
        synthesise(plan, Pool(tmp_path), synthesis.model_copy(update={"max_images": 3}))


def test_what_an_observer_sees_is_kept_before_the_shard_is_there(plan, synthesis, tmp_path):
    class Means:
        def __init__(self):
            self.files = {}

        def look(self, rows, pixels):
            assert pixels.dtype == torch.uint8
            return pixels.float().mean((1, 2, 3)).tolist()

        def keep(self, file, kept):
            assert list(kept) == sorted(kept)
            assert not (tmp_path / file).exists(), "a kill after this moment leaves no shard without what was seen"
            self.files[file] = kept

        def progress(self):
            return {"accepted_share": 0.5}

    observer, logged = Means(), []
    pool = Pool(tmp_path)
    synthesise(plan, pool, synthesis, observer=observer, log=lambda metrics, done: logged.append(metrics))
    assert observer.files.keys() == pool.shards.keys()
    seen = {i: mean for kept in observer.files.values() for i, mean in kept.items()}
    stored = images(pool, plan)  # PNG: what is stored is what was seen
    assert seen == {i: pytest.approx(image.mean(), abs=1e-2) for i, image in stored.items()}
    assert logged[-1]["accepted_share"] == 0.5


def test_an_error_in_a_lane_ends_the_run_with_its_own_sentence(plan, synthesis, tmp_path, monkeypatch):
    calls = []
    render = Generator.render

    def fails_at_the_third(self, rows, full=None):
        calls.append(rows)
        if len(calls) == 3:
            raise InputError("the third batch is one too many")
        return render(self, rows, full)

    monkeypatch.setattr(Generator, "render", fails_at_the_third)
    with pytest.raises(InputError, match="one too many"):
        synthesise(plan, Pool(tmp_path), synthesis.model_copy(update={"lanes": 1}))
    assert len(Pool(tmp_path)) in (7, 14)  # what was complete is kept
    assert synthesise(plan, Pool(tmp_path), synthesis).rendered == 18 - len(Pool(tmp_path)) or len(Pool(tmp_path)) == 18


def test_a_plan_that_is_not_sorted_is_refused(plan, synthesis, tmp_path):
    swapped = pa.concat_tables([plan.slice(9), plan.slice(0, 9)])
    with pytest.raises(InputError, match="do not ascend by image_id"):
        synthesise(swapped, Pool(tmp_path), synthesis)


def test_gaps_here_and_there_are_rendered_together(plan, pool, synthesis, tmp_path):
    """Every fourth row is missing from a finished pool: one batch and one shard, not one for each range."""
    there = plan.filter(pa.array([i % 4 != 0 for i in range(len(plan))]))
    synthesise(there, Pool(tmp_path), synthesis)
    report = synthesise(plan, Pool(tmp_path), synthesis)
    assert report.rendered == 5
    assert sorted(s.rows for s in Pool(tmp_path).shards.values()) == [5, 6, 7]
    assert_same(images(pool, plan), images(Pool(tmp_path), plan))


def test_a_slow_disk_holds_the_renderers_back_instead_of_filling_the_memory(plan, synthesis, tmp_path, monkeypatch):
    waiting, most = [], []
    add = Pool.add

    def slow(self, rows, images):
        time.sleep(0.3)
        waiting.pop()
        return add(self, rows, images)

    write = executor.Run.write
    monkeypatch.setattr(Pool, "add", slow)
    submit = executor.Run.wait_for_writer
    monkeypatch.setattr(
        executor.Run, "wait_for_writer", lambda self, n: (most.append(len(self.writing)), submit(self, n))[1]
    )
    monkeypatch.setattr(executor.Run, "write", lambda self, shard: (waiting.append(1), write(self, shard))[1])
    synthesise(plan, Pool(tmp_path), synthesis.model_copy(update={"shard_size": 2}))
    assert max(most) <= executor.WAITING_SHARDS + 1


def test_a_shared_budget_counts_over_calls(plan, synthesis, tmp_path):
    config = synthesis.model_copy(update={"max_images": 10})
    budget = Budget(config)
    first = synthesise(plan, Pool(tmp_path), config, part=(0, 3), budget=budget)
    second = synthesise(plan, Pool(tmp_path), config, part=(1, 3), budget=budget)
    assert (first.rendered, first.stopped) == (7, "")
    assert (second.rendered, second.stopped) == (0, "max_images 10 would be exceeded")


def test_out_of_memory_shrinks_padded_batches_too(plan, synthesis, tmp_path, monkeypatch):
    render = Generator._render

    def small_device(self, rows):
        if len(rows) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return render(self, rows)

    monkeypatch.setattr(Generator, "_render", small_device)
    monkeypatch.setattr(UNet2DConditionModel, "compile_repeated_blocks", lambda self, fullgraph: None)
    config = synthesis.model_copy(update={"lanes": 1, "compile": True})
    assert synthesise(plan, Pool(tmp_path), config).rendered == 18
