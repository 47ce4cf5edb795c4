"""A finished run is known by its files alone, whatever decides it is changed, and before a library of a step is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from figment.ops import databases, finished, state
from figment.ops.config_check import checked
from figment.ops.finished import inputs_key, is_finished, mark_finished

SUMMARY = {"title": "t", "heading": "h", "columns": ["a"], "rows": [["b"]], "verdict": [], "report": "r", "model": "m"}
RUN = "import sys; from figment.ops.run import main; code = main(sys.argv[1:]); "
HEAVY = "{'zenml', 'mlflow', 'dvc', 'torch', 'diffusers', 'transformers', 'steps', 'pandas'}"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A config of the demo with data of its own, and a folder as of its run."""
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "state/zenml"))
    database = tmp_path / "zenml.db"
    database.touch()
    monkeypatch.setattr(state, "databases", lambda: [databases.Database("ZenML", database, *databases.ZENML)])
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    for folder in ("real", "output"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("x")
    config["parameters"] |= {"real": {"path": str(tmp_path / "real")}, "output": str(tmp_path / "output")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def key(files: Path) -> str | None:
    config = files / "config.yaml"
    return inputs_key("bag_of_tricks", config, checked(config, "bag_of_tricks").parameters)


def test_a_run_is_finished_while_all_that_decides_it_stays(files):
    output = files / "output"
    assert not is_finished(key(files), output)
    mark_finished(key(files), output)
    assert is_finished(key(files), output)
    assert not is_finished(key(files), files / "real"), "another folder"


def edit(place: str):
    def change(files: Path, monkeypatch) -> None:
        with (files / place).open("a") as file:
            file.write("# more\n")

    return change


CHANGES = {
    "config": edit("config.yaml"),
    "data": edit("real/file"),
    "new data": edit("real/another"),
    "output": edit("output/file"),
    "code": lambda files, monkeypatch: monkeypatch.setattr(finished, "texts", lambda: {"figment.x": {"code": "1"}}),
    "same size, other time": lambda files, monkeypatch: os.utime(files / "real/file", (1, 1)),
    "lost output": lambda files, monkeypatch: (files / "output/file").unlink(),
    "lost database": lambda files, monkeypatch: (files / "zenml.db").unlink(),
    "tracker": lambda files, monkeypatch: monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1"),
    "store": lambda files, monkeypatch: monkeypatch.setenv("FIGMENT_STORE", "s3://bucket/prefix"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_run_is_not_finished_after_a_change(files, monkeypatch, change):
    mark_finished(key(files), files / "output")
    change(files, monkeypatch)
    assert not is_finished(key(files), files / "output")


@pytest.mark.parametrize("value", ["", "."])
def test_the_working_folder_is_not_what_a_text_names(files, monkeypatch, value):
    """An empty text, or the root of folders that are named beside it."""
    monkeypatch.chdir(files)
    given = {"negative_prompt": value, "output": str(files / "output"), "images": ["real"]}
    before = inputs_key("tailored", files / "config.yaml", given)
    (files / "beside").write_text("x")
    assert inputs_key("tailored", files / "config.yaml", given) == before
    (files / "real/another").write_text("x")
    assert inputs_key("tailored", files / "config.yaml", given) != before


@pytest.mark.parametrize("field", ["generator", "clip"])
def test_a_model_on_the_hub_may_have_moved(files, field):
    config = yaml.safe_load((files / "config.yaml").read_text())
    config["parameters"][field]["model"] = "owner/name"
    (files / "config.yaml").write_text(yaml.safe_dump(config))
    assert key(files) is None
    mark_finished(key(files), files / "output")
    assert not is_finished(key(files), files / "output")


def test_a_finished_run_is_told_without_the_libraries_of_its_steps(tmp_path, monkeypatch):
    """In a process of its own, as ``make demo`` is."""
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    output = tmp_path / "output"
    config["parameters"]["output"] = str(output)
    output.mkdir()
    (output / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv(
        "ZENML_CONFIG_PATH", str(tmp_path / "zenml")
    )  # databases elsewhere are not Figment's to look for
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mark_finished(
        inputs_key("bag_of_tricks", tmp_path / "config.yaml", checked(tmp_path / "config.yaml").parameters), output
    )
    arguments = ["pipelines.bag_of_tricks.bag_of_tricks", "-c", str(tmp_path / "config.yaml")]
    found = subprocess.run(
        [sys.executable, "-c", f"{RUN} print(code, sorted({HEAVY} & set(sys.modules)))", *arguments],
        capture_output=True,
        text=True,
    )
    assert "finished before" in found.stdout, found.stderr
    assert found.stdout.splitlines()[-1] == "0 []"
