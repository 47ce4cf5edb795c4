"""A run's folder under DVC, in a repository with this one's rules for git and DVC; the run is a few files as one leaves them."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from dvc.cli import main as dvc
from dvc.repo import Repo

from figment.cli import main as figment
from figment.errors import InputError
from figment.files import write_json, write_text
from figment.ops import versioning
from figment.ops.environment import ROOT
from figment.ops.versioning import version
from figment.recipes.base import VersioningConfig
from tests.figment.exports.test_exports import make_run

OUTPUT = Path("artifacts/bag_of_tricks")
ALL = VersioningConfig()
SHARD = 50_000  # bytes


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with this one's rules for git and DVC, as the working folder."""
    folder = tmp_path / "clone"
    (folder / ".dvc").mkdir(parents=True)
    for name in (".gitignore", ".dvcignore", ".dvc/.gitignore", ".dvc/config"):
        shutil.copy(ROOT / name, folder / name)
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    content["stages"] = {"bag_of_tricks": content["stages"]["bag_of_tricks"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(folder)
    git("init", "-q")
    return folder


def made_by_a_run(top1: float, shards: dict[str, str], loss: str = "2.0") -> None:
    """As ``figment.files.atomic`` writes, which replaces files; images of earlier runs stay in the pool."""
    for name, letter in shards.items():
        write_text(OUTPUT / "images" / f"{name}.parquet", letter * SHARD)
    write_text(OUTPUT / "classifiers/combined/classifier.safetensors", f"weights {top1}")
    write_json(OUTPUT / "metrics.json", {"combined": top1})
    write_text(OUTPUT / "loss.csv", f"step,loss\n0,2.3\n1,{loss}\n")
    write_text(OUTPUT / "confusion.csv", "actual,predicted\ncar,car\n")
    for name in ("lineage.json", "config.yaml", "report.html", "plan.parquet", "verdicts.parquet", ".plan.parquet.key"):
        write_text(OUTPUT / name, f"{name} {top1}")


def content(folder: Path) -> dict[str, bytes]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: (folder / name).read_bytes() for name in names if name != ".gitignore"}


def disk(*folders: Path) -> int:
    """Bytes that files take, each counted once however many names it has."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum({s.st_ino: s.st_size for s in (p.stat() for p in files)}.values())


def commit(message: str) -> str:
    git("add", ".dvc", ".gitignore", ".dvcignore", "dvc.yaml", "artifacts")
    git("commit", "-q", "-m", message)
    return git("rev-parse", "HEAD").strip()


def test_two_runs_and_another_clone(clone, tmp_path, monkeypatch):
    """What a user does: run, commit, push; run with another parameter, commit, push; and in another clone pull, go back,
    compare, get, import."""
    assert dvc(["remote", "add", "-q", "-d", "storage", str(tmp_path / "store")]) == 0
    runs = {}
    for top1, shards in ((0.25, {"a": "a", "b": "b"}), (0.5, {"c": "c"})):
        made_by_a_run(top1, shards)
        found = version(OUTPUT, ALL, clone)
        assert found.pointer == f"{OUTPUT}/dataset.dvc"
        revision = commit(f"run {top1}")
        assert versioning.push(root=clone) > 0
        runs[revision] = content(OUTPUT)
        assert git("status", "--porcelain", "--untracked-files=all") == ""
    first, second = runs
    assert len(runs[second]) == len(runs[first]) + 1  # its shard joined the pool
    tracked = git("ls-files", "artifacts").split()
    assert {Path(name).name for name in tracked} == {"dataset.dvc", *versioning.NUMBERS}

    git("clone", "-q", str(clone), str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path / "other")
    assert dvc(["pull", "-q"]) == 0
    assert content(OUTPUT) == runs[second]
    git("checkout", "-q", first)
    assert dvc(["fetch", "-q"]) == 0
    assert dvc(["checkout", "-q"]) == 0
    assert content(OUTPUT) == runs[first]
    git("checkout", "-q", second)
    assert dvc(["checkout", "-q"]) == 0
    assert content(OUTPUT) == runs[second]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    git("init", "-q")
    assert dvc(["init", "-q"]) == 0
    expected = {name: data for name, data in runs[first].items() if name != "dataset.dvc"}
    assert dvc(["get", "-q", str(clone), str(OUTPUT), "--rev", first, "-o", "got"]) == 0
    assert dvc(["import", "-q", str(clone), str(OUTPUT), "--rev", first, "-o", "imported"]) == 0
    assert content(Path("got")) == content(Path("imported")) == expected


def test_figment_dataset_lists_and_gets(clone, capsys, monkeypatch):
    monkeypatch.setattr("figment.cli.load_environment", lambda: None)
    made_by_a_run(0.25, {"a": "a"})
    assert figment(["dataset", "add", str(OUTPUT)]) == 0
    first = commit("first")
    kept = content(OUTPUT)
    made_by_a_run(0.5, {"b": "b"})
    version(OUTPUT, ALL, clone)
    capsys.readouterr()
    assert figment(["dataset", "list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if str(OUTPUT) in line)
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["0.1", "8", "0.1", "yes", "changed"]
    assert figment(["dataset", "list", "--rev", first]) == 0
    assert first[:4] in capsys.readouterr().out
    assert figment(["dataset", "get", "bag_of_tricks", "--rev", first, "--out", "old"]) == 0
    assert content(Path("old")) == {name: data for name, data in kept.items() if name != "dataset.dvc"}
    shutil.rmtree(OUTPUT / "images")
    assert figment(["dataset", "get", "bag_of_tricks"]) == 0
    assert len(list((OUTPUT / "images").iterdir())) == 2
    capsys.readouterr()
    for arguments, sentence in {
        ("get", "missing"): "known here are artifacts/bag_of_tricks",
        ("get", "missing", "--rev", first): "DVC cannot bring it",
        ("get", "bag_of_tricks", "--out", "old"): "old: is there already",
        ("get", "bag_of_tricks", "--rev", "v9"): "DVC cannot bring it",
        ("get", "bag_of_tricks", "--repo", "nowhere", "--out", "new"): "of nowhere: DVC cannot bring it",
        ("list", "--rev", "v9"): "unknown Git revision",
        ("add", "artifacts/missing"): "there is no such folder",
    }.items():
        assert figment(["dataset", *arguments]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
    assert not Path("new").exists()


def test_ten_runs_that_share_images_take_little_more_disk_than_one(clone):
    total = 0
    for number in range(10):
        shards = {f"shared{i}": chr(97 + i) for i in range(20)} | {f"own{number}": str(number)}
        made_by_a_run(number / 10, shards)
        for old in (OUTPUT / "images").glob("own*.parquet"):
            if old.stem != f"own{number}":
                old.unlink()
        found = version(OUTPUT, ALL, clone)
        total += found.size
    used = disk(OUTPUT, clone / ".dvc/cache")
    assert total > 10 * 21 * SHARD
    assert used < 1.05 * (20 + 10) * SHARD


def test_a_file_is_in_the_cache_by_link_and_hashed_once(clone):
    made_by_a_run(0.25, {"a": "a"})
    version(OUTPUT, ALL, clone)
    shard = OUTPUT / "images/a.parquet"
    inode, times = shard.stat().st_ino, []
    assert shard.stat().st_nlink == 2
    hashed = []
    sys.addaudithook(lambda event, args: hashed.append(args[0]) if event == "open" and times else None)
    times.append(1)
    version(OUTPUT, ALL, clone)
    times.clear()
    assert shard.stat().st_ino == inode
    assert not [path for path in hashed if str(path).endswith(("a.parquet", "classifier.safetensors"))]


@pytest.mark.parametrize(
    ("config", "kept"),
    [({"keep": "nothing"}, None), ({"max_gb": 2e-6}, False), ({"max_gb": 2e-2}, True)],
    ids=["nothing", "larger than max_gb", "smaller"],
)
def test_the_config_decides_what_is_kept(clone, config, kept):
    made_by_a_run(0.25, {"a": "a"})
    found = version(OUTPUT, VersioningConfig(**config), clone)
    assert (OUTPUT / "dataset.dvc").exists() == (kept is not None)
    if kept is not None:
        assert ("images" in found.outputs) == kept
        assert {"classifiers", "plan.parquet", "report.html"} <= found.outputs.keys()
        assert ("versioning.max_gb is" in found.said) != kept


def test_accepted_images_alone_are_kept_as_a_data_set(clone):
    for rejected in ([0, 3], [0, 3], [1]):
        shown = make_run(OUTPUT, [["car"]] * 4 + [["frog"]] * 4, rejected)
        found = version(OUTPUT, VersioningConfig(keep="accepted"), clone)
        assert "images" not in found.outputs
        assert "accepted" in found.outputs
        assert sum(pq.read_table(file).num_rows for file in (OUTPUT / "accepted/data").glob("*")) == len(shown)


def test_without_git_the_pointer_is_written_and_the_sentence_says_so(clone):
    shutil.rmtree(clone / ".git")
    made_by_a_run(0.25, {"a": "a"})
    found = version(OUTPUT, ALL, clone)
    assert found.pointer
    assert "there is no git here" in found.said


def test_git_without_an_identity_is_enough(clone, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("HOME", str(clone))
    made_by_a_run(0.25, {"a": "a"})
    assert version(OUTPUT, ALL, clone).pointer


def test_outside_of_the_clone_nothing_is_tracked(clone, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far/plan.parquet").write_text("p")
    found = version(tmp_path / "far", ALL, clone)
    assert "outside of" in found.said
    assert not found.pointer


def test_where_git_ignores_the_folder_nothing_is_tracked(clone):
    write_text(Path("dvc_plots/plan.parquet"), "p")
    assert "git ignores dvc_plots/dataset.dvc" in version(Path("dvc_plots"), ALL, clone).said


@pytest.mark.parametrize("added", [OUTPUT / "images", OUTPUT / "classifiers"], ids=str)
def test_what_was_added_by_hand_is_named(clone, added):
    made_by_a_run(0.25, {"a": "a"})
    assert dvc(["add", "-q", str(added)]) == 0
    with pytest.raises(InputError, match=r"DVC tracks a part of it already .*`dvc remove` that .dvc file"):
        version(OUTPUT, ALL, clone)
    assert not (OUTPUT / "dataset.dvc").exists()


def test_where_there_is_no_dvc_the_sentence_says_so(clone):
    shutil.rmtree(clone / ".dvc")
    made_by_a_run(0.25, {"a": "a"})
    assert "no DVC here; `git init && dvc init`" in version(OUTPUT, ALL, clone).said


def test_a_cache_on_a_full_disk_is_one_sentence_and_the_run_stays_whole(clone, monkeypatch):
    """The disk is full for files above 10 kB; shards are copied into the cache, as onto another disk."""
    made_by_a_run(0.25, {"a": "a"})
    monkeypatch.setattr(versioning, "LINKED", {"cache": {"type": ["copy"]}})
    before = content(OUTPUT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Repo():  # its database is there
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match=r"DVC cannot keep it .*free space .*the run itself is whole"):
            version(OUTPUT, ALL, clone)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert content(OUTPUT) == before
    assert version(OUTPUT, ALL, clone).pointer


def test_a_remote_that_is_absent_is_named(clone):
    made_by_a_run(0.25, {"a": "a"})
    version(OUTPUT, ALL, clone)
    with pytest.raises(InputError, match=r"dvc push: .*no remote"):
        versioning.push(root=clone)


def test_a_clone_without_a_remote_of_its_own_pulls_in_silence(clone, capsys):
    made_by_a_run(0.25, {"a": "a"})
    assert "dvc remote add -d NAME URL; dvc push" in version(OUTPUT, ALL, clone).said
    assert dvc(["pull"]) == 0
    assert "emote" not in "".join(capsys.readouterr())


def test_what_two_runs_measured_is_compared_once_the_first_is_committed(clone):
    made_by_a_run(0.25, {"a": "a"})
    version(OUTPUT, ALL, clone)
    commit("first")
    made_by_a_run(0.5, {"a": "a"}, loss="1.0")
    with Repo() as repo:  # what `dvc metrics diff` shows; an "errors" beside "diff" if a revision lacks the file
        assert repo.metrics.diff() == {
            "diff": {str(OUTPUT / "metrics.json"): {"combined": {"old": 0.25, "new": 0.5, "diff": 0.25}}}
        }
    assert dvc(["plots", "diff", "--targets", str(OUTPUT / "loss.csv"), "--out", "dvc_plots"]) == 0
    page = (clone / "dvc_plots" / "index.html").read_text()
    assert all(f'"loss": "{loss}"' in page for loss in ("2.0", "1.0"))
    assert "dvc_plots" not in git("status", "--porcelain", "--untracked-files=all")


def test_the_config_of_a_kept_run_is_still_there_when_the_runs_revision_is_checked_out(clone):
    """What ``figment why`` says at its end: check the run's revision out, then run config.yaml."""
    (clone / "code.py").write_text("")
    git("add", "code.py")
    git("commit", "-q", "-m", "the code that ran")
    made_by_a_run(0.25, {"a": "a"})
    version(OUTPUT, ALL, clone)
    commit("the run")
    git("checkout", "-q", "HEAD~1")
    assert (OUTPUT / "config.yaml").read_text() == "config.yaml 0.25"
    assert (OUTPUT / "images" / "a.parquet").is_file()


def test_an_experiment_holds_the_pointer_of_a_run_that_git_does_not_know_yet(clone, monkeypatch):
    made_by_a_run(0.25, {"a": "a"})
    monkeypatch.setenv(versioning.EXPERIMENT, "try")
    version(OUTPUT, ALL, clone)
    assert "A  artifacts/bag_of_tricks/dataset.dvc" in git("status", "--porcelain")


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


def test_exporting_a_classifier_leaves_the_hash_of_its_folder_as_it_was(clone):
    made_by_a_run(0.25, {"a": "a"})
    folder = OUTPUT / "classifiers"
    before = versioning.dvc_md5(folder)
    (folder / "combined/model.onnx").write_text("the same once more")
    assert versioning.dvc_md5(folder) == before
    assert version(OUTPUT, ALL, clone).outputs["classifiers"] == before[folder.as_posix()]
    assert json.loads((OUTPUT / "metrics.json").read_text()) == {"combined": 0.25}
