import os
from pathlib import Path

import pytest

from figment.cli import main
from figment.files import write_text

OLD = 1_000_000_000  # a time
REST = {
    ".figment/uv/a",
    ".figment/zenml/zenml.db.1",
    "artifacts/a/images/.x.1.partial",
    "artifacts/a/images/y.damaged-12345678",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A clone with caches, leftovers and two runs, of which one is under DVC."""
    monkeypatch.chdir(tmp_path)
    others = {".figment/mlflow.db", "artifacts/a/plan.parquet", "artifacts/b/plan.parquet", "artifacts/b/dataset.dvc"}
    for name in REST | others:
        write_text(Path(name), "x" * 1000)
        os.utime(name, (OLD, OLD))
    write_text(Path("artifacts/a/images/.now.1.partial"), "of a run under way")
    os.link("artifacts/b/plan.parquet", "cached")
    return tmp_path


def files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


def test_nothing_goes_before_it_was_shown_and_then_only_that(folder, capsys):
    before = files()
    assert main(["clean"]) == 0
    said = capsys.readouterr().out
    assert all(name.removesuffix("/a") in said for name in REST)
    assert "0.0 MB in 4 places; nothing is deleted yet" in said
    assert files() == before
    assert main(["clean", "--yes"]) == 0
    assert "deleted" in capsys.readouterr().out
    assert before - files() == REST
    assert main(["clean"]) == 0
    assert "0.0 MB in 0 places" in capsys.readouterr().out


@pytest.mark.parametrize(("run", "what"), [("a", "gone then"), ("artifacts/b", "DVC keeps")], ids=["lost", "kept"])
def test_a_run_is_said_to_be_lost_or_kept(folder, capsys, run, what):
    assert main(["clean", run]) == 0
    assert what in capsys.readouterr().out
    assert main(["clean", run, "--yes"]) == 0
    assert not Path("artifacts", Path(run).name).exists()
    assert Path("cached").is_file()


@pytest.mark.parametrize("run", ["none", "artifacts/../.figment", "artifacts/", "/", "artifacts/link"])
def test_only_runs_are_deleted(folder, capsys, tmp_path_factory, run):
    Path("artifacts/link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    before = files()
    assert main(["clean", run, "--yes"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: run ")
    assert said.count("\n") == 1
    assert files() == before
