import gc
import json
import os
import shutil
import weakref

import pytest
import torch

from figment.cli import main
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.planning.plan import write_plan
from figment.synthesis import workers
from figment.synthesis.budget import Budget
from figment.synthesis.estimate import estimate
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.workers import busiest_share, environment, synthesise_by_workers
from figment.validation.features import FeatureStore
from tests.figment.synthesis.test_executor import assert_same, images

CLIP = {"model": "local-dir:models/pocket/clip"}


class Idle(Renderers):
    """Renders nothing: all is done by others."""

    def load(self, model, revision):
        raise AssertionError("rendered in this process")


@pytest.mark.slow
def test_several_processes_make_what_one_makes(plan, pool, synthesis, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    together = Pool(tmp_path / "images")
    config = synthesis.model_copy(update={"workers": 3})
    report = synthesise_by_workers(tmp_path / "plan.parquet", together, config, clip=CLIP, renderers=Idle(config))
    assert (report.planned, report.rendered, report.stopped) == (18, 18, "")
    assert {(s.file, s.rows) for s in together.shards.values()} == {(s.file, s.rows) for s in pool.shards.values()}
    assert_same(images(pool, plan), images(together, plan))
    assert synthesise(tmp_path / "plan.parquet", together, synthesis).rendered == 0
    (features,) = (tmp_path / "features").iterdir()
    assert {path.name for path in features.iterdir()} == set(together.shards)

    alone = FeatureStore(Pool(tmp_path / "alone/images"), ClipScorer(ClipConfig(**CLIP)))
    synthesise(plan, alone.pool, synthesis, observer=alone)
    mine, theirs = (features_of(FeatureStore(p, alone.scorer), plan) for p in (alone.pool, together))
    assert mine.keys() == theirs.keys() == set(plan["image_id"].to_pylist())
    assert all(torch.allclose(mine[i], theirs[i], atol=1e-5) for i in mine)


def test_a_part_is_divided_again_and_the_images_of_other_parts_are_not_counted(plan, synthesis, tmp_path, shares):
    """Six shards of three: of the second half, shards 1, 3 and 5, one worker has two and one has one. While they work the
    first half comes from elsewhere."""
    write_plan(plan, file := tmp_path / "plan.parquet")
    config, logged = synthesis.model_copy(update={"workers": 2, "shard_size": 3}), []
    elsewhere, started = config.model_copy(update={"workers": 1}), workers.start

    def meanwhile(*job):
        synthesise(file, Pool(tmp_path / "images"), elsewhere, part=(0, 2))
        return started(*job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "start", meanwhile)
        report = synthesise_by_workers(
            file,
            pool := Pool(tmp_path / "images"),
            config,
            part=(1, 2),
            renderers=Idle(config),
            log=lambda numbers, done: logged.append((numbers, done)),
        )
    assert shares == ["1/4", "3/4"]
    assert (report.planned, report.rendered, len(pool)) == (9, 9, 18)
    numbers, done = logged[-1]
    assert (done, numbers["hours_left"]) == (9, 0)
    assert numbers["images_per_second"] > 0


def test_workers_share_a_budget_and_what_is_left_of_it_is_spent_here(plan, synthesis, tmp_path, shares):
    """13 images: four shards of three, of which each of three workers may begin one."""
    write_plan(plan, file := tmp_path / "plan.parquet")
    config = synthesis.model_copy(update={"workers": 3, "shard_size": 3, "max_images": 13})
    budget = Budget(config)
    report = synthesise_by_workers(
        file, pool := Pool(tmp_path / "images"), config, renderers=Renderers(config), budget=budget
    )
    assert shares == ["0/3", "1/3", "2/3"]
    assert (report.rendered, len(pool), budget.done) == (12, 12, 12)
    assert report.stopped == "max_images 13 would be exceeded"


def test_no_more_processes_start_than_there_is_work_and_budget_for(plan, synthesis, tmp_path, shares):
    write_plan(plan, file := tmp_path / "plan.parquet")
    config = synthesis.model_copy(update={"workers": 8, "max_images": 13})  # one shard of seven
    report = synthesise_by_workers(file, pool := Pool(tmp_path / "images"), config, renderers=Renderers(config))
    assert (report.rendered, report.stopped, shares) == (7, "max_images 13 would be exceeded", [])
    config = synthesis.model_copy(update={"workers": 8})
    assert synthesise_by_workers(file, pool, config, renderers=Idle(config)).rendered == 11
    assert shares == ["0/2", "1/2"]
    assert synthesise_by_workers(file, pool, config, renderers=Idle(config)).rendered == 0
    assert len(shares) == 2


def test_a_generator_leaves_the_memory_before_processes_start(plan, synthesis, tmp_path, shares, monkeypatch):
    write_plan(plan, file := tmp_path / "plan.parquet")
    config, started, seen = synthesis.model_copy(update={"workers": 2}), workers.start, []
    renderers = Renderers(config)
    estimate(file, Pool(tmp_path / "images"), config, renderers)
    (loaded,) = map(weakref.ref, renderers._generators.values())
    monkeypatch.setattr(workers, "start", lambda *job: (gc.collect(), seen.append(loaded()), started(*job))[-1])
    assert synthesise_by_workers(file, Pool(tmp_path / "images"), config, renderers=renderers).rendered == 18
    assert seen == [None, None]


def test_a_pool_of_another_format_is_refused_before_a_process_starts(plan, pool, synthesis, tmp_path, shares):
    shutil.copytree(pool.folder, tmp_path / "images")
    write_plan(plan, file := tmp_path / "plan.parquet")
    for shard in list(tmp_path.glob("images/*.parquet"))[:2]:
        shard.unlink()
    config = synthesis.model_copy(update={"workers": 2, "image_format": "jpeg"})
    with pytest.raises(InputError, match=r"^.*settings\.json: image_format was png, now jpeg"):
        synthesise_by_workers(file, Pool(tmp_path / "images"), config, renderers=Idle(config))
    assert not shares


@pytest.mark.parametrize(
    ("lacking", "count", "gpus", "share"),
    [
        ([512] * 8, 8, 8, 1 / 8),
        ([512] * 7, 8, 8, 1 / 7),  # a worker takes whole shards
        ([512] * 9, 8, 8, 2 / 9),
        ([512] * 8, 1, 8, 1),
        ([512] * 8, 8, 2, 1 / 2),  # workers in turns on fewer GPUs
        ([0, 100, 0, 300], 8, 8, 1),  # two processes, and both shards are the second's
        ([512] * 2, 2, 0, 1),
    ],
)
def test_the_device_with_the_most_to_render_says_how_long_it_takes(lacking, count, gpus, share):
    assert busiest_share(lacking, count, gpus) == pytest.approx(share)


def features_of(store: FeatureStore, plan) -> dict[str, torch.Tensor]:
    parts = store.read(plan["image_id"].to_pylist())
    return {image_id: vector for ids, found in parts for image_id, vector in zip(ids, found, strict=True)}


def test_each_worker_has_a_gpu_of_its_own_among_those_this_process_sees():
    def gpus(count, seen, visible=None):
        told = [environment(i, count, seen, visible) for i in range(count)]
        assert {t["OMP_NUM_THREADS"] for t in told} == {str(max(1, (os.cpu_count() or 1) // count))}
        return [t.get("CUDA_VISIBLE_DEVICES") for t in told]

    assert gpus(3, 0) == [None] * 3
    assert gpus(4, 4) == ["0", "1", "2", "3"]
    assert gpus(3, 2) == ["0", "1", "0"]
    assert gpus(2, 2, "5,7") == ["5", "7"]  # a scheduler's choice stands
    assert gpus(2, 2, "GPU-a, GPU-b") == ["GPU-a", "GPU-b"]


def test_a_worker_that_fails_is_quoted(plan, synthesis, tmp_path, shares):
    write_plan(plan, tmp_path / "plan.parquet")
    config = synthesis.model_copy(update={"workers": 2, "batch_size": 0})
    with pytest.raises(
        InputError, match=r"synthesis worker 1 of 2 \(its log: .*0\.log\): .*parameters\.synthesis\.batch_size"
    ):
        synthesise_by_workers(tmp_path / "plan.parquet", Pool(tmp_path / "images"), config, renderers=Idle(config))


def test_a_share_of_the_work_by_hand(plan, synthesis, tmp_path, capsys):
    write_plan(plan, tmp_path / "plan.parquet")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"parameters": {"synthesis": synthesis.model_dump()}}))
    assert main(["render", str(tmp_path / "plan.parquet"), "-c", str(config), "--shard", "1/3"]) == 0
    assert "7 images rendered" in capsys.readouterr().out
    assert len(Pool(tmp_path / "images")) == 7


def test_a_plan_that_is_none_is_a_sentence(synthesis, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"parameters": {"synthesis": synthesis.model_dump()}}))
    assert main(["render", "README.md", "-c", str(config)]) == 2
    assert "README.md" in (said := capsys.readouterr().err)
    assert "expected a Parquet plan" in said


@pytest.mark.parametrize("share", ["3/3", "a/2", "1", "-1/2"])
def test_a_share_that_is_none_is_a_sentence(plan, synthesis, tmp_path, share, capsys):
    write_plan(plan, tmp_path / "plan.parquet")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"parameters": {"synthesis": synthesis.model_dump()}}))
    assert main(["render", str(tmp_path / "plan.parquet"), "-c", str(config), f"--shard={share}"]) == 2
    assert "expected I/N" in capsys.readouterr().err
