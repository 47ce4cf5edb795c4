"""A checkpoint of one file becomes a folder of diffusers that renders the same pixels; what cannot be one is told."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from safetensors.torch import save_file

from figment.cli import main
from figment.model_loaders.pipelines import open_pipeline
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import check_generator
from tests.conformance.models import stable_diffusion

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def renamed(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(f"{ours}.", f"{theirs}.")
    return name


def unet_name(name: str, layers: int, attends: list[bool]) -> str:
    """What the original release of Stable Diffusion calls a weight of the UNet."""
    if name in (fixed := DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"]):
        return fixed[name]
    part, *rest = name.split(".")
    if part == "mid_block":
        kind, at = rest[:2]
        place = 1 if kind == "attentions" else 2 * int(at)
        return f"middle_block.{place}." + renamed(".".join(rest[2:]), {} if kind == "attentions" else RESNET)
    block, kind, at, *inner = rest
    first = int(block) * (layers + 1) + (part == "down_blocks")
    where = "input_blocks" if part == "down_blocks" else "output_blocks"
    if kind == "downsamplers":
        return f"{where}.{first + layers}.0.op.{inner[-1]}"
    if kind == "upsamplers":
        return f"{where}.{first + layers}.{1 + attends[int(block)]}.conv.{inner[-1]}"
    own = {} if kind == "attentions" else RESNET
    return f"{where}.{first + int(at)}.{int(kind == 'attentions')}." + renamed(".".join(inner), own)


def vae_name(name: str, blocks: int) -> str:
    """What it calls a weight of the autoencoder."""
    if name in (fixed := DIFFUSERS_TO_LDM_MAPPING["vae"]):
        return fixed[name]
    side, part, at, *rest = name.split(".")
    if part == "mid_block" and at == "attentions":
        return f"{side}.mid.attn_1." + renamed(".".join(rest[1:]), ATTENTION)
    if part == "mid_block":
        return f"{side}.mid.block_{int(rest[0]) + 1}." + ".".join(rest[1:]).replace("conv_shortcut", "nin_shortcut")
    place = f"down.{at}" if part == "down_blocks" else f"up.{blocks - 1 - int(at)}"
    kind, number, *inner = rest
    if kind != "resnets":
        return f"{side}.{place}.{kind[:-2]}.{'.'.join(inner)}"
    return f"{side}.{place}.block.{number}." + ".".join(inner).replace("conv_shortcut", "nin_shortcut")


def original(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a Stable Diffusion folder as one checkpoint of the original release."""
    pipeline = open_pipeline(str(folder), torch.float32, None)
    unet, vae = pipeline.unet, pipeline.vae
    attends = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    found = {
        f"model.diffusion_model.{unet_name(name, unet.config.layers_per_block, attends)}": value
        for name, value in unet.state_dict().items()
    }
    blocks = len(vae.config.block_out_channels)
    found |= {f"first_stage_model.{vae_name(name, blocks)}": value for name, value in vae.state_dict().items()}
    for name, value in pipeline.text_encoder.state_dict().items():
        found[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    return {name: value.clone().contiguous() for name, value in found.items()}


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("stock") / "model"
    stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def configs(stock) -> Path:
    """The folder without its weights."""
    folder = stock.parent / "configs"
    shutil.copytree(stock, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def pixels(folder: Path) -> np.ndarray:
    pipeline = open_pipeline(str(folder), torch.float32, None)
    settings = {"num_inference_steps": 2, "width": 32, "height": 32, "output_type": "np"}
    return pipeline("a photo of a car", generator=torch.Generator().manual_seed(0), **settings).images


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_checkpoint_of_one_file_renders_as_its_folder(stock, configs, tmp_path, suffix, capsys):
    file, out = tmp_path / f"community{suffix}", tmp_path / "mine"
    weights = original(stock)
    save_file(weights, file) if suffix == ".safetensors" else torch.save({"state_dict": weights}, file)
    assert main(["import", "generator", str(file), "--config", str(configs), "--out", str(out)]) == 0
    assert f"generator: {{model: {out / 'model'}}}" in capsys.readouterr().out
    check_generator(GeneratorConfig(model=str(out / "model"), width=32, height=32))
    assert np.array_equal(pixels(out / "model"), pixels(stock))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: {"a": torch.zeros(2)}, "no checkpoint that diffusers knows"),
        (lambda w: w, "not in the hub's cache"),
        (lambda w: {n: v.to(torch.float8_e4m3fn) for n, v in w.items()}, "quantised"),
        (lambda w: {n: v * torch.nan for n, v in w.items()}, "NaN"),
    ],
    ids=["another thing", "needs the network", "quantised", "not finite"],
)
def test_without_configs_it_is_told_what_is_missing(stock, tmp_path, change, sentence, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    file = tmp_path / "community.safetensors"
    save_file(change(original(stock)), file)
    refused(["import", "generator", str(file), "--out", str(tmp_path / "mine")], tmp_path / "mine", sentence, capsys)


@pytest.mark.parametrize("lacks", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_a_part_that_neither_has_is_told(stock, configs, tmp_path, lacks, capsys):
    file = tmp_path / "community.safetensors"
    kept = {name: value for name, value in original(stock).items() if not name.startswith(lacks)}
    save_file(kept, file)
    command = ["import", "generator", str(file), "--config", str(configs), "--out", str(tmp_path / "mine")]
    refused(command, tmp_path / "mine", str(file), capsys)


def test_a_file_as_the_generator_says_how_to_import_it(tmp_path, capsys):
    (tmp_path / "community.safetensors").write_bytes(b"0")
    with pytest.raises(Exception, match="figment import generator"):
        check_generator(GeneratorConfig(model=str(tmp_path / "community.safetensors")))


def refused(command: list[str], out: Path, sentence: str, capsys) -> None:
    assert main(command) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not out.exists()
