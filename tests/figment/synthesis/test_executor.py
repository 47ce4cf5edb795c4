import random
import subprocess
import sys
import time

import pytest

from figment.planning.bag_of_tricks import plan_bag_of_tricks
from figment.planning.plan import write_plan
from figment.prompts.tricks import build_tricks, write_prompts
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import model_revision
from figment.synthesis.pool import Pool

SCRIPT = """
import sys
from pathlib import Path
from figment.planning.plan import read_plan
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
config = GeneratorConfig.model_validate_json(sys.argv[1])
print("ready", flush=True)
synthesise(read_plan(Path(sys.argv[2])), Pool(Path(sys.argv[3])), config)
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_at_random_moments_the_pool_ends_as_if_never_interrupted(labels, pocket_config, tmp_path):
    config = pocket_config.model_copy(update={"num_inference_steps": 20, "shard_size": 4})
    tricks = build_tricks(["base_class", "random_guidance"], ["photo"], 4.0)
    plan = plan_bag_of_tricks(write_prompts(labels, tricks), tricks, config, model_revision(config), 10, 0)
    write_plan(plan, tmp_path / "plan.parquet")
    uninterrupted = Pool(tmp_path / "uninterrupted")
    synthesise(plan, uninterrupted, config)

    plan_file, folder = str(tmp_path / "plan.parquet"), tmp_path / "pool"
    command = [sys.executable, "-c", SCRIPT, config.model_dump_json(), plan_file, str(folder)]
    dice = random.Random(0)
    killed, shards = 0, []
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(dice.uniform(0.8, 2.2))
        process.kill()
        killed += process.wait() == -9
        shards.append(len(Pool(folder).shards))
    assert killed
    assert shards == sorted(shards)
    synthesise(plan, Pool(folder), config)
    assert Pool(folder).shards.keys() == uninterrupted.shards.keys()
    assert Pool(folder).image_ids == uninterrupted.image_ids == set(plan["image_id"].to_pylist())


def test_a_full_disk_loses_only_the_shard_under_way(plan, pocket_config, tmp_path):
    """A limit on file size stands for the full disk: the first shard's file does not fit."""
    write_plan(plan, tmp_path / "plan.parquet")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    limited += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    config = pocket_config.model_dump_json()
    command = [sys.executable, "-c", limited + SCRIPT, config, str(tmp_path / "plan.parquet"), str(tmp_path / "pool")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode != 0
    assert "cannot write" in run.stderr
    assert Pool(tmp_path / "pool").image_ids == set()
    assert synthesise(plan, Pool(tmp_path / "pool"), pocket_config).rendered == len(plan)


def test_the_log_sees_every_shard(plan, pocket_config, tmp_path):
    seen = []
    report = synthesise(plan, Pool(tmp_path), pocket_config, log=lambda done, m: seen.append((done, m)))
    assert [done for done, _ in seen] == [7, 14, 18]
    assert all(m["images_per_second"] > 0 for _, m in seen)
    assert report.rendered == report.planned == 18
