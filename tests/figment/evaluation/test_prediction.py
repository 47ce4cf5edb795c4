import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.cli import main
from figment.evaluation.model_card import model_card
from figment.evaluation.prediction import predict_files
from figment.images import to_tensor
from figment.labels import LabelSpace
from figment.training.config import TrainingConfig
from figment.training.kinds.registry import open_model
from figment.training.saved import Preprocessing, read_model
from tests.saved_models import save_timm

SPACE = LabelSpace.of(["cat", "dog", "elk"])
CONFIG = TrainingConfig(model="test_resnet", image_size=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The folder of a classifier with weights from chance."""
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_timm(folder, SPACE, CONFIG)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three images of different size and mode, one of them in Parquet too."""
    folder = tmp_path_factory.mktemp("images")
    Image.effect_noise((20, 14), 90).save(folder / "grey.png")
    Image.radial_gradient("L").resize((16, 16)).convert("RGB").save(folder / "round.jpg")
    row = {"bytes": (folder / "grey.png").read_bytes(), "path": "grey.png"}
    pq.write_table(pa.table({"image": [row, row]}), folder / "rows.parquet")
    return folder


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_with_parquet_in_it_is_classified_whatever_the_batch(model, folder, capsys):
    found = []
    for batch in ("1", "3"):
        assert main(["predict", str(folder), "--model", str(model), "--batch-size", batch]) == 0
        found.append(lines(capsys))
    assert found[0] == found[1]
    names = [
        str(folder / "grey.png"),
        str(folder / "round.jpg"),
        f"{folder}/rows.parquet:0",
        f"{folder}/rows.parquet:1",
    ]
    assert [line["image"] for line in found[0]] == names
    assert {k: found[0][0][k] for k in ("label", "probability")} == {
        k: found[0][2][k] for k in ("label", "probability")
    }
    pixels = torch.zeros(1, 3, 16, 16)
    assert open_model(model).scorer()(pixels).sum().item() == pytest.approx(1, abs=1e-5)


def test_a_image_goes_through_the_size_that_the_classifier_learned_at(model, folder, tmp_path, capsys):
    trained = open_model(model)
    save_timm(tmp_path, SPACE, CONFIG.model_copy(update={"native_size": 4}), trained.network)
    assert main(["predict", str(folder / "round.jpg"), "--model", str(tmp_path)]) == 0
    image = Image.open(folder / "round.jpg").convert("RGB")
    with torch.no_grad():
        by_hand = trained.scorer()(to_tensor(image, 16, CONFIG.resize, 4)[None] / 255).max().item()
        directly = trained.scorer()(to_tensor(image, 16)[None] / 255).max().item()
    assert lines(capsys)[0]["probability"] == pytest.approx(by_hand, abs=1e-5)
    assert by_hand != pytest.approx(directly, abs=1e-4)


def test_more_classes_a_image_and_rendered(model, folder, tmp_path, capsys):
    arguments = [
        "predict",
        str(folder / "grey.png"),
        "--model",
        str(model),
        "--top-k",
        "3",
        "--rendered",
        str(tmp_path),
    ]
    assert main(arguments) == 0
    given = lines(capsys)
    assert {line["label"] for line in given} == set(SPACE.names)
    assert [line["probability"] for line in given] == sorted((line["probability"] for line in given), reverse=True)
    assert sum(line["probability"] for line in given) == pytest.approx(1, abs=1e-4)
    assert Image.open(tmp_path / "grey.png").height >= 160


@pytest.mark.parametrize("batch", ["1", "32"])
def test_images_that_cannot_be_read_cost_the_others_nothing(model, folder, tmp_path, capsys, batch):
    shutil.copy(folder / "grey.png", tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("not an image")
    row = {"bytes": (folder / "round.jpg").read_bytes(), "path": "round.jpg"}
    pq.write_table(pa.table({"image": [row, {"bytes": b"GIF89a", "path": ""}, row]}), tmp_path / "c.parquet")
    assert main(["predict", str(tmp_path), "--model", str(model), "--batch-size", batch]) == 2
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["image"].removeprefix(f"{tmp_path}/") for line in found] == [
        "a.png", "b.jpg", "c.parquet:0", "c.parquet:1", "c.parquet:2"
    ]  # fmt: skip
    assert [("label" in line, "error" in line) for line in found] == [
        (True, False), (False, True), (True, False), (False, True), (True, False)
    ]  # fmt: skip
    assert found[2]["label"] == found[4]["label"]
    assert found[2]["probability"] == found[4]["probability"]
    (said,) = printed.err.splitlines()
    assert said.startswith(f"error: {tmp_path}/b.jpg: not a readable image")
    assert "and 1 more of 5 images" in said


def test_whoever_reads_no_further_gets_no_stack_of_frames(model, folder, monkeypatch, capsys):
    """``figment predict ... | head -1``"""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as out, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        assert main(["predict", str(folder), "--model", str(model)]) == 128 + signal.SIGPIPE
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tags", "labels.txt"], "holds a classifier, which has classes of its own"),
        (["--top-k", "0"], "top_k is 0"),
        (["--batch-size", "0"], "batch_size 0"),
    ],
)
def test_one_sentence_says_what_to_mend(model, folder, capsys, arguments, said):
    assert main(["predict", str(folder), "--model", str(model), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_damaged_model_is_named(model, folder, tmp_path, capsys):
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((model / name).read_bytes()[:-100])
    assert main(["predict", str(folder), "--model", str(tmp_path)]) == 2
    assert "no trained model in model.json" in capsys.readouterr().err


def test_as_onnx_it_says_the_same_and_says_how_fast(model, folder, capsys):
    import onnxruntime

    assert main(["export", str(model), "--images", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "scores within " in said
    assert "batch 32: " in said
    said = onnxruntime.InferenceSession(model / "model.onnx").get_modelmeta().custom_metadata_map
    saved = read_model(model)
    assert tuple(json.loads(said["labels"])) == saved.labels.names
    assert Preprocessing.model_validate_json(said["preprocessing"]) == saved.preprocessing
    (model / "model.onnx").unlink()


def test_the_lines_of_the_model_card_run_the_onnx_file(model, folder, tmp_path, monkeypatch, capsys):
    from figment.training.onnx_export import export_onnx

    trained = open_model(model)
    export_onnx(trained.scorer(), trained.saved, tmp_path / "model.onnx")
    shutil.copy(folder / "round.jpg", tmp_path / "image.jpg")
    (line,) = predict_files(model, [tmp_path / "image.jpg"])
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", model_card("m", trained.saved, None, {}), re.S)
    exec(code, {})
    assert capsys.readouterr().out.strip() == json.loads(line)["label"]


def test_an_onnx_file_that_disagrees_is_refused(model, tmp_path):
    from figment.errors import InputError
    from figment.training.onnx_export import compare, export_onnx

    trained = open_model(model)
    export_onnx(trained.scorer(), trained.saved, tmp_path / "model.onnx")
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert compare(trained.scorer(), tmp_path / "model.onnx", pixels).difference < 1e-5
    with torch.no_grad():
        next(trained.network.parameters()).mul_(1.5)
    with pytest.raises(InputError, match="probabilities differ from torch's by up to"):
        compare(trained.scorer(), tmp_path / "model.onnx", pixels)
