import json

import pytest

from figment.cli import main
from figment.planning.plan import write_plan
from figment.synthesis.pool import Pool


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
