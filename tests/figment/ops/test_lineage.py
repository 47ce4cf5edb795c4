"""What a run says of its code."""

import subprocess
from pathlib import Path

import pytest

from figment.ops.checking import parameters_model
from figment.ops.config_check import before_steps
from figment.ops.lineage import DIRTY, data_digest, is_bookkeeping, real_places, revision


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


FEW = {"classes": ["a", "b"], "output": "out"}
COCO = {"json": "a.json", "images": "a"}


@pytest.mark.parametrize(("pipeline", "parameters", "places"), [
    ("bag_of_tricks", FEW | {"real": {"path": "photos", "test": "val"}}, ["photos"]),
    ("few_shot", FEW | {"data": {"source": "folders", "root": ".", "train": "shots", "tests": {}}}, ["shots"]),
    ("few_shot", FEW | {"data": {"source": "parquet", "root": "d", "tests": {"x": "y", "z": "y"}}}, ["d/train", "d/y"]),
    ("few_shot", FEW | {"data": {"source": "coco", "root": "d", "train": "t", "tests": {}}},
     ["d/t", "d/annotations/instances_t.json"]),
    ("tailored", {"data": {"source": "coco", "train": COCO, "test": COCO | {"json": "b.json"}, "labels": "l"}, "output": "out"},
     ["a.json", "a", "b.json"]),
    ("tailored", {"data": {"source": "parquet", "root": "scenes", "labels": "l"}, "output": "out"}, ["scenes"]),
])  # fmt: skip
def test_the_users_folders_are_those_that_the_config_names(pipeline, parameters, places):
    recipe = parameters_model(before_steps(pipeline)[0]).model_validate(parameters)
    assert [str(path) for path in real_places(recipe)] == places


def test_the_digest_of_a_folder_is_that_of_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "copy", "data"):
        Path(folder, "cat").mkdir(parents=True)
        Path(folder, "cat/1.png").write_bytes(b"cat")
    found = data_digest(Path("photos"), "untracked")
    assert found.startswith("sha256 ")
    assert data_digest(Path("copy"), "f00") == found
    assert data_digest(Path("data/cat"), "f00") == "in data/ of DVC f00"
    Path("copy/cat/1.png").write_bytes(b"dog")
    assert data_digest(Path("copy"), "untracked") != found
    monkeypatch.setattr("figment.ops.lineage.MAX_HASHED", 2)
    assert data_digest(Path("copy"), "untracked").startswith("names and sizes ")
    assert data_digest(Path("gone"), "untracked") == "not on the machine that ended the run"
