import json
import os

import pytest
import torch

from figment.cli import main
from figment.errors import InputError
from figment.planning.plan import write_plan
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.workers import environment, run_workers
from figment.validation.clip import ClipConfig, ClipScorer
from figment.validation.features import FeatureStore
from tests.figment.synthesis.test_executor import assert_same, pictures


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_make_what_one_makes(plan, pool, synthesis, tmp_path, count):
    write_plan(plan, tmp_path / "plan.parquet")
    together = Pool(tmp_path / "images")
    clip = {"model": "local-dir:models/pocket/clip"}
    run_workers(tmp_path / "plan.parquet", together, {"synthesis": synthesis.model_dump(), "clip": clip}, count)
    assert {(s.file, s.rows) for s in together.shards.values()} == {(s.file, s.rows) for s in pool.shards.values()}
    assert_same(pictures(pool, plan), pictures(together, plan))
    assert synthesise(tmp_path / "plan.parquet", together, synthesis).rendered == 0
    (features,) = (tmp_path / "features").iterdir()
    assert {path.name for path in features.iterdir()} == set(together.shards)

    alone = FeatureStore(Pool(tmp_path / "alone/images"), ClipScorer(ClipConfig(**clip)))
    synthesise(plan, alone.pool, synthesis, observer=alone)
    mine, theirs = (features_of(FeatureStore(p, alone.scorer), plan) for p in (alone.pool, together))
    assert mine.keys() == theirs.keys() == set(plan["image_id"].to_pylist())
    assert all(torch.allclose(mine[i], theirs[i], atol=1e-5) for i in mine)


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


def test_a_worker_that_fails_is_quoted(plan, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    with pytest.raises(
        InputError, match=r"synthesis worker \(its log: .*0\.log\): .*parameters\.synthesis\.batch_size"
    ):
        run_workers(tmp_path / "plan.parquet", Pool(tmp_path / "images"), {"synthesis": {"batch_size": 0}}, 1)


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
