import json

import pytest

from figment.cli import main
from figment.errors import InputError
from figment.planning.plan import write_plan
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.workers import run_workers
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
