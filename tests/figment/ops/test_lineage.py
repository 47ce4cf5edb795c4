"""What a run says of its code."""

import subprocess
from pathlib import Path

import pytest

from figment.ops.lineage import DIRTY, is_bookkeeping, revision


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


def test_what_other_seeds_left_beside_a_run_is_none_of_its_products():
    others = ["seed_0", "seed_12", "seed_0.yaml", "seeds.json", ".results.json.key", "images.dvc"]
    own = ["images", "plan.parquet", "results.json", "seed_words", "seeds"]
    assert [name for name in (*others, *own) if is_bookkeeping(Path("artifacts/run", name))] == others
