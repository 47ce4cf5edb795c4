"""What a run says of its code."""

import subprocess
from pathlib import Path

import pytest

from figment.ops.lineage import DIRTY, revision


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("code.py", "dvc.lock", "artifacts/run/metrics.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("committed")
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", *command], check=True)


@pytest.mark.parametrize(
    ("changed", "dirty"), [("code.py", "true"), ("dvc.lock", "false"), ("artifacts/run/metrics.json", "false")]
)
def test_a_runs_own_products_are_no_change_of_its_code(repository, changed, dirty):
    assert revision()[DIRTY] == "false"
    Path(changed).write_text("changed")
    assert revision()[DIRTY] == dirty
