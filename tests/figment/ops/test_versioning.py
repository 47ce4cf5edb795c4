import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.cli import main as dvc
from dvc.repo import Repo

from figment.ops import versioning
from figment.ops.environment import ROOT

OUTPUT = Path("artifacts/bag_of_tricks")


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with this one's rules for git and DVC, as the working folder."""
    shutil.copy(ROOT / ".gitignore", tmp_path)
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    content["stages"] = {"bag_of_tricks": content["stages"]["bag_of_tricks"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert dvc(["init", "-q"]) == 0
    return tmp_path


def documented(command: str) -> list[str]:
    """The files that docs/operating.md names in a command."""
    found = re.search(rf"cd artifacts/bag_of_tricks && {command}", (ROOT / "docs/operating.md").read_text())
    assert found
    return found[1].split()


def made_by_a_run(top1: float, loss: str) -> None:
    (OUTPUT / "images").mkdir(parents=True, exist_ok=True)
    (OUTPUT / "metrics.json").write_text(json.dumps({"combined": top1}))
    (OUTPUT / "loss.csv").write_text(f"step,loss\n0,2.3\n1,{loss}\n")
    (OUTPUT / "confusion.csv").write_text("actual,predicted\ncar,car\n")
    for name in ("lineage.json", "config.yaml", "report.html", "images/0.parquet"):
        (OUTPUT / name).write_text(str(top1))


def test_what_two_runs_measured_is_compared_once_the_first_is_committed(clone):
    made_by_a_run(0.25, "2.0")
    git("add", ".")
    assert not git("ls-files", "artifacts"), "what was only tried leaves git alone"
    git("add", "-f", *(str(OUTPUT / name) for name in documented("git add -f (.+) && cd -\n")))
    git("commit", "-q", "-m", "first")

    made_by_a_run(0.5, "1.0")
    with Repo() as repo:  # what `dvc metrics diff` shows; an "errors" beside "diff" if a revision lacks the file
        assert repo.metrics.diff() == {
            "diff": {str(OUTPUT / "metrics.json"): {"combined": {"old": 0.25, "new": 0.5, "diff": 0.25}}}
        }
    assert dvc(["plots", "diff", "--targets", str(OUTPUT / "loss.csv"), "--out", "dvc_plots"]) == 0
    page = (clone / "dvc_plots" / "index.html").read_text()
    assert all(f'"loss": "{loss}"' in page for loss in ("2.0", "1.0"))
    assert "dvc_plots" not in git("status", "--porcelain", "--untracked-files=all")


def test_the_config_of_a_kept_pool_is_still_there_when_the_runs_revision_is_checked_out(clone):
    """What ``figment why`` says at its end: check the run's revision out, then run config.yaml. Kept is what the docs say."""
    git("add", ".")
    git("commit", "-q", "-m", "the code that ran")
    made_by_a_run(0.25, "2.0")
    there = [str(OUTPUT / name) for name in documented("dvc add (.+) && cd -") if (OUTPUT / name).exists()]
    assert dvc(["add", "-q", *there]) == 0
    git("add", "artifacts")
    git("commit", "-q", "-m", "Keep the pool")
    assert str(OUTPUT / "config.yaml.dvc") in git("ls-files")
    git("checkout", "-q", "HEAD~1")
    assert (OUTPUT / "config.yaml").read_text() == "0.25"
    assert (OUTPUT / "images" / "0.parquet").is_file()


def test_the_hash_is_the_one_dvc_writes():
    assert versioning.dvc_md5(Path("data"))["data"] == yaml.safe_load(Path("data.dvc").read_text())["outs"][0]["md5"]


def test_outside_of_git_too_and_of_what_nobody_added(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    monkeypatch.chdir(tmp_path)
    found = versioning.dvc_md5(tmp_path / "out", tmp_path / "b")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "out", "b"], cwd=tmp_path, check=True)
    for name in ("out", "b"):
        assert found[str(tmp_path / name)] == yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"][0]["md5"]


def test_exporting_a_classifier_leaves_the_hash_of_its_folder_as_it_was(clone, monkeypatch):
    shutil.copy(ROOT / ".dvcignore", clone)
    monkeypatch.chdir(clone)
    folder = OUTPUT / "classifiers" / "combined"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    before = versioning.dvc_md5(folder.parent)
    (folder / "model.onnx").write_text("the same once more")
    assert versioning.dvc_md5(folder.parent) == before
    assert dvc(["add", "-q", str(folder.parent)]) == 0
    noted = yaml.safe_load((OUTPUT / "classifiers.dvc").read_text())["outs"][0]["md5"]
    assert {folder.parent.as_posix(): noted} == before
