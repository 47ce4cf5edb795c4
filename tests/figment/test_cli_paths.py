"""Paths are those of the folder that a command is given in, and what it writes goes there."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

import figment.ops.stack
import figment.ops.trace
import figment.training.kinds.registry
import figment.training.onnx_export
from figment.cli import main
from figment.commands.models import real_images
from figment.errors import InputError
from figment.ops.environment import ROOT


@pytest.mark.parametrize(
    ("started_in", "typed"),
    [
        ("configs", "stacks"),
        ("configs/stacks", "."),
        ("configs", "some-model@champion"),
        ("configs", "some-model/3"),
        ("", "configs/stacks"),
        ("{tmp}", "model"),
    ],
)
def test_a_model_is_a_folder_first_and_a_name_otherwise(monkeypatch, tmp_path, capsys, started_in, typed):
    (tmp_path / "model").mkdir()
    folder = ROOT / started_in.replace("{tmp}", str(tmp_path))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(figment.ops.stack, "use_tracker", lambda: None)
    monkeypatch.setattr(figment.ops.trace, "why", lambda model: f"{model!r} from {Path.cwd()}")
    assert main(["why", typed]) == 0
    assert capsys.readouterr().out == f"{typed!r} from {folder}\n"


def test_images_that_nobody_named_are_those_of_the_folder(monkeypatch):
    trained = SimpleNamespace(scorer=nn.Identity, saved=None, preparation=(8, "squash", None))
    opened, shown = [], []

    def compare(model, file, pixels):
        shown.append((file, pixels.shape))
        return SimpleNamespace(difference=0.0, images=len(pixels), onnx_ms={}, torch_ms={})

    monkeypatch.setattr(figment.training.kinds.registry, "open_model", lambda path: opened.append(path) or trained)
    monkeypatch.setattr(figment.training.onnx_export, "export_onnx", lambda *arguments: None)
    monkeypatch.setattr(figment.training.onnx_export, "compare", compare)
    assert main(["export", "configs/stacks"]) == 0
    assert opened == [Path("configs/stacks")]
    assert shown == [(Path("configs/stacks/model.onnx"), (256, 3, 8, 8))]


def test_a_model_is_shown_the_real_images_of_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/plan.parquet").touch()
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="real images of its run are not here; give images"):
        real_images(Path("run/model"))
    lined = {
        "pipeline": "p",
        "zenml_run": "z",
        "mlflow_run": "m",
        "git_sha": "no git",
        "git_dirty": True,
        "data_md5": "",
    }
    lined |= {"outputs": {}, "real": {"a.json": "sha256 1", "photos": "sha256 2"}}
    (tmp_path / "run/lineage.json").write_text(json.dumps(lined))
    assert real_images(Path("run/model")) == Path("photos")
