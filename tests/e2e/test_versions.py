"""Two runs in one clone, two commits, a remote; another clone has both runs back byte for byte, and trains again to the digit."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from dvc.cli import main as dvc

from figment.ops.environment import ROOT
from tests.e2e import processes

pytestmark = pytest.mark.slow
CONFIG, OUTPUT = Path("configs/small.yaml"), Path("artifacts/small")
CODE = ("figment", "models", "steps", "pipelines", "configs", ".dvc/embedded")
FILES = (".env", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "data.dvc", "pyproject.toml", "uv.lock")


def run(folder: Path, module: str, *arguments: str) -> str:
    """What a command of this clone says."""
    log = folder.parent / "log"
    code = processes.call(folder, module, arguments, log)
    said = log.read_text()
    assert code == 0, said[-3000:]
    return said


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def disk(*folders: Path) -> int:
    """Bytes of all files, each counted once however many names it has."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum({s.st_ino: s.st_size for s in (p.stat() for p in files)}.values())


def configure(folder: Path, guidance: float) -> None:
    config = yaml.safe_load((ROOT / "configs/pocket/bag_of_tricks.yaml").read_text())
    parameters = config["parameters"]
    parameters.update(classes=["car", "frog"], tricks=["base_class", "class_prompt"], images_per_class=8)
    parameters.update(output=str(OUTPUT), fixed_size=False)
    parameters["generator"].update(num_inference_steps=6, guidance_scale=guidance)
    parameters["synthesis"].update(shard_size=16, batch_size=16)
    parameters["training"].update(steps=20, batch_size=16)
    parameters["real"].update(test_per_class=10, train_per_class=10)
    (folder / CONFIG).write_text(yaml.safe_dump(config))


def train_again(folder: Path, pipeline: str, models: Path) -> None:
    """From what was pulled: to the digit, and nothing is rendered."""
    output = folder / models.parent
    metrics, before = output / "metrics.json", hashes(output)
    numbers = metrics.read_text()
    shutil.rmtree(folder / models)
    metrics.unlink()
    run(folder, "figment.ops.run", f"pipelines.{pipeline}.{pipeline}", "-c", str(CONFIG))
    assert metrics.read_text() == numbers
    kept = [{n: h for n, h in each.items() if n.startswith("images/")} for each in (before, hashes(output))]
    assert kept[0] == kept[1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A repository with the code as it is here."""
    folder = tmp_path_factory.mktemp("clones") / "a"
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "code")
    return folder


def test_a_run_comes_back_by_dvc_pull(clone, monkeypatch):
    remote, other = clone.parent / "remote", clone.parent / "b"
    monkeypatch.chdir(clone)
    assert dvc(["remote", "add", "-q", "-d", "storage", str(remote)]) == 0
    runs, sizes = {}, []
    for guidance in (4.0, 2.0):
        configure(clone, guidance)
        said = run(clone, "figment.ops.run", "pipelines.bag_of_tricks.bag_of_tricks", "-c", str(CONFIG))
        assert f"dataset: {OUTPUT}/dataset.dvc: " in said
        git(clone, "add", "artifacts", "configs", ".dvc/config")
        git(clone, "commit", "-q", "-m", f"guidance {guidance}")
        assert dvc(["push", "-q"]) == 0
        assert git(clone, "status", "--porcelain", "--untracked-files=all") == ""
        revision = git(clone, "rev-parse", "HEAD").strip()
        runs[revision] = hashes(clone / OUTPUT)
        sizes.append(disk(clone / OUTPUT))
    first, second = runs
    shared = runs[first].items() & runs[second].items()
    assert [name for name, _ in shared if name.startswith("images/") and name.endswith(".parquet")]
    taken = disk(clone / OUTPUT, clone / ".dvc/cache", clone / "data") - disk(clone / "data")
    print(f"two runs of {sizes} bytes take {taken} with DVC's cache")
    assert taken < sum(sizes), "what lies in the folder is linked, and what runs share is kept once"

    git(clone.parent, "clone", "-q", str(clone), str(other))
    monkeypatch.chdir(other)
    assert dvc(["pull", "-q"]) == 0
    assert hashes(other / OUTPUT) == runs[second]
    git(other, "checkout", "-q", first)
    assert dvc(["fetch", "-q"]) == 0
    assert dvc(["checkout", "-q"]) == 0
    assert hashes(other / OUTPUT) == runs[first]
    lineage = json.loads((OUTPUT / "lineage.json").read_text())
    assert lineage["pointer"] == f"{OUTPUT}/dataset.dvc"

    image = pq.read_table(OUTPUT / "plan.parquet")["image_id"][0].as_py()
    assert f"shard       {OUTPUT}/images/" in run(other, "figment.cli", "trace", image)
    assert lineage["mlflow_run"] in run(other, "figment.cli", "why", f"{OUTPUT}/classifiers/combined")

    train_again(other, "bag_of_tricks", OUTPUT / "classifiers")
    assert hashes(clone / OUTPUT) == runs[second], "the first clone was left alone"


def test_tags_come_back_too(clone, monkeypatch):
    """The semantic recipe, in few epochs."""
    tags = Path("artifacts/tags")
    config = yaml.safe_load((ROOT / "configs/pocket/semantic_diversity.yaml").read_text())
    parameters = config["parameters"]
    parameters["training"].update(epochs=2, rows=3)
    parameters["generator"]["num_inference_steps"] = 4
    parameters.update(images_per_label=4, output=str(tags))
    (clone / CONFIG).write_text(yaml.safe_dump(config))
    remote, other = clone.parent / "tags_remote", clone.parent / "c"
    monkeypatch.chdir(clone)
    assert dvc(["remote", "add", "-q", "-f", "-d", "storage", str(remote)]) == 0
    run(clone, "figment.ops.run", "pipelines.semantic_diversity.semantic_diversity", "-c", str(CONFIG))
    git(clone, "add", "artifacts", "configs", ".dvc/config")
    git(clone, "commit", "-q", "-m", "tags")
    assert dvc(["push", "-q"]) == 0
    git(clone.parent, "clone", "-q", str(clone), str(other))
    monkeypatch.chdir(other)
    assert dvc(["pull", "-q"]) == 0
    assert hashes(other / tags) == hashes(clone / tags)
    lineage = json.loads((tags / "lineage.json").read_text())
    assert lineage["mlflow_run"] in run(other, "figment.cli", "why", str(tags / "model"))
    train_again(other, "semantic_diversity", tags / "model")
