"""``figment import weights``, ``text-encoder`` and ``words``: what others trained, under the names that Figment's parts have."""

import os
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from figment.adaptation.adapters import imported_adapter
from figment.adaptation.textual_inversion import imported_words
from figment.cli import main
from figment.errors import InputError
from figment.imports.contract import Options
from figment.imports.registry import import_source
from figment.imports.text_encoder import EMBEDDING, own_prefix
from figment.labels import LabelSpace
from figment.training.classifier import build_classifier
from figment.training.config import TrainingConfig
from figment.training.start import start_from
from tests.figment.test_tensor_files import Planted

MODEL = "test_resnet"


def network(classes: int = 7) -> torch.nn.Module:
    torch.manual_seed(3)
    return timm.create_model(MODEL, num_classes=classes)


WRAPPED = {
    "as it is": lambda state: state,
    "of a data-parallel module": lambda state: {
        "state_dict": {f"module.{name}": value for name, value in state.items()}
    },
    "of a wrapper in a wrapper": lambda state: {
        "model": {f"module.backbone.{n}": v for n, v in state.items()},
        "epoch": 3,
    },
    "with more beside": lambda state: {**state, "projector.weight": torch.ones(3)},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_start_a_classifier(tmp_path, wrap):
    own = network()
    torch.save(wrap(own.state_dict()), tmp_path / "theirs.pth")
    import_source("weights", tmp_path / "theirs.pth", Options(model=MODEL), tmp_path / "out")
    model = build_classifier(TrainingConfig(model=MODEL), 4)
    assert start_from(model, str(tmp_path / "out/weights.safetensors"))
    same = {n for n, v in model.state_dict().items() if n in own.state_dict() and torch.equal(v, own.state_dict()[n])}
    assert {n for n in model.state_dict() if n not in same} == {"fc.weight", "fc.bias"}


def test_what_a_start_refuses(tmp_path):
    torch.save(network().state_dict(), tmp_path / "theirs.pth")
    import_source("weights", tmp_path / "theirs.pth", Options(model=MODEL), tmp_path / "out")
    model = build_classifier(TrainingConfig(model="test_vit", image_size=160), 4)
    for file in (tmp_path / "theirs.pth", tmp_path / "gone.safetensors", tmp_path / "out/weights.safetensors"):
        with pytest.raises(InputError, match=r"training\.weights: "):
            start_from(model, str(file))


def test_tresnet_of_the_papers_release_has_timms_names(tmp_path):
    """conv1.0.weight and so on, norms with weights that may be negative: timm knows the names."""
    own = timm.create_model("tresnet_m", num_classes=0).state_dict()
    theirs = {}
    for name, value in own.items():
        name = name.removeprefix("body.").replace(".conv.", ".0.").replace(".bn.", ".1.")
        theirs[name] = -(value.abs() - 1e-5).clamp(min=0) if re.search(r"\.1\.weight$", name) else value
    torch.save({"model": theirs}, tmp_path / "a.pth")
    import_source("weights", tmp_path / "a.pth", Options(model="tresnet_m"), tmp_path / "out")
    found = load_file(tmp_path / "out/weights.safetensors")
    assert found.keys() >= {name for name in own if "num_batches" not in name}
    for name, value in found.items():
        assert torch.allclose(value, own[name].abs() if name.endswith("bn.weight") else own[name], atol=2e-5), name


def encoder_state() -> dict[str, torch.Tensor]:
    names = (EMBEDDING, "encoder.layers.0.mlp.fc1.weight", "final_layer_norm.bias")
    state = {f"text_model.{name}": torch.rand(3, 4).half() for name in names}
    return state | {"text_model.embeddings.position_ids": torch.arange(5)[None]}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_text_encoder(tmp_path, prefix):
    torch.save({prefix + name: value for name, value in encoder_state().items()}, tmp_path / "text_encoder_param.pth")
    import_source("text-encoder", tmp_path / "text_encoder_param.pth", Options(), tmp_path / "out")
    file, tensors = imported_adapter(tmp_path / "out", "adaptation.imported")
    own = {name.removeprefix("text_model.") for name in encoder_state() if "position_ids" not in name}
    assert {name.removeprefix(f"text_encoder.{own_prefix()}") for name in tensors} == own
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match=r"adaptation\.imported.*not what its name says"):
        imported_adapter(tmp_path / "out", "adaptation.imported")


def test_words_of_a_folder_of_diffusers(tmp_path):
    for name in ("traffic_light", "bus"):
        (tmp_path / "fine-tuned" / name).mkdir(parents=True)
        torch.save(
            {f"<{name}>": torch.full((6,), float(len(name)))}, tmp_path / "fine-tuned" / name / "learned_embeds.bin"
        )
        torch.save({f"<{name}>": torch.zeros(6)}, tmp_path / "fine-tuned" / name / "learned_embeds-500.bin")
    import_source("words", tmp_path / "fine-tuned", Options(), tmp_path / "out")
    adapter = imported_words(LabelSpace.of(["bus", "traffic light"]), tmp_path / "out", tmp_path / "run")
    found = load_file(adapter)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "concept.bus": (1, 6),
        "concept.traffic light": (1, 6),
    }
    assert found["concept.traffic light"].unique().tolist() == [13.0]
    with pytest.raises(InputError, match=r"inversion\.imported.*no word for car"):
        imported_words(LabelSpace.of(["bus", "car"]), tmp_path / "out", tmp_path / "run")


def test_words_gathered_with_their_noise(tmp_path):
    tokens = {token: torch.rand(6) for token in ("<car>", "<car_0.005>", "<car_0.025>", "<bus>", "<bus_0.01>")}
    torch.save(tokens, tmp_path / "coco-0-8.pt")
    said = import_source("words", tmp_path / "coco-0-8.pt", Options(), tmp_path / "out")
    assert "2 words" in said
    assert "3 words with noise are left out" in said
    _, found = imported_adapter(tmp_path / "out", "x")
    assert found.keys() == {"concept.car", "concept.bus"}
    assert torch.equal(found["concept.car"][0], tokens["<car>"])


def test_words_of_other_tools(tmp_path):
    torch.save({"string_to_param": {"*": torch.rand(2, 6)}, "name": "bus", "step": 3}, tmp_path / "a.pt")
    import_source("words", tmp_path / "a.pt", Options(), tmp_path / "out")
    assert imported_adapter(tmp_path / "out", "x")[1]["concept.bus"].shape == (2, 6)


def state(changes: dict) -> object:
    return {**network().state_dict(), **changes}


FAULTS = {
    "weights, an unknown model": ("weights", "a.pth", state({}), ["--model", "resnet5o"], "timm has no 'resnet5o'"),
    "weights, no model": ("weights", "a.pth", state({}), [], "--model is missing"),
    "weights of another model": ("weights", "a.pth", {"x": torch.ones(2)}, ["--model", MODEL], "has no weights for"),
    "weights of another width": (
        "weights", "a.pth", state({"conv1.0.weight": torch.ones(1)}), ["--model", MODEL], "has no weights for|conv1",
    ),
    "an encoder that is none": ("text-encoder", "a.pth", state({}), [], "holds no 'embeddings.token"),
    "a list as words": ("words", "a.bin", [torch.ones(2)], [], "expected a mapping from tokens"),
    "words that are numbers": ("words", "a.bin", {"<cat>": 3}, [], "'cat': is no vector"),
    "words of three axes": ("words", "a.pt", {"<cat>": torch.ones(1, 2, 3)}, [], "is no vector"),
    "a word of no letters": ("words", "a.pt", {"<>": torch.ones(3)}, [], "a.pt"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "content", "options", "said"), FAULTS.values(), ids=FAULTS)
def test_fault(tmp_path, capsys, kind, name, content, options, said):
    torch.save(content, tmp_path / name)
    refused(kind, tmp_path / name, options, said, capsys)


def refused(kind: str, file: Path, options: list[str], said: str, capsys) -> None:
    out = file.parent / "out"
    assert main(["import", kind, str(file), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("kind", ["weights", "text-encoder", "words"])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt"])
def test_planted_code_is_refused_and_not_run(tmp_path, capsys, kind, suffix):
    mark, file = tmp_path / "ran", tmp_path / f"a{suffix}"
    torch.save({"model": {"a": torch.ones(2)}, "more": Planted(mark)}, file)
    options = ["--model", MODEL] if kind == "weights" else []
    refused(kind, file, options, rf"asks for '?{os.mkdir.__module__}", capsys)
    assert not mark.exists()
