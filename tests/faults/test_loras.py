"""A LoRA that is none, is another model's, or asks for more than its weights is one sentence before anything is planned."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from figment.cli import main
from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import check_generator
from tests.figment.synthesis.test_loras import save_lora

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def lora(
    rank: int = 2, width: int = 160, out: int = 160, layer: str = LAYER, fill: float = 0.1
) -> dict[str, torch.Tensor]:
    return {
        f"{layer}.lora_A.weight": torch.full((rank, width), fill),
        f"{layer}.lora_B.weight": torch.full((out, rank), fill),
    }


def settings(**values) -> dict[str, str]:
    return {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in values.items()})}


def pickled(file: Path) -> Path:
    file = file.with_suffix(".bin")
    file.write_bytes(pickle.dumps({}))
    return file


def written(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None):
    def write(file: Path) -> Path:
        save_file({n: t.contiguous() for n, t in tensors.items()}, file, metadata)
        return file

    return write


def text(file: Path) -> Path:
    file.write_text("no safetensors")
    return file


def peft_folder(**config):
    def write(file: Path) -> Path:
        folder = file.with_suffix("")
        folder.mkdir()
        tensors = {f"base_model.model.{n.removeprefix('unet.')}": t for n, t in lora().items()}
        save_file(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(
            json.dumps({"r": 2, "lora_alpha": 2, "target_modules": ["to_q"]} | config)
        )
        return folder

    return write


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        pytest.param(lambda file: file, "is neither a file nor a folder of peft", id="absent"),
        pytest.param(pickled, "is no safetensors file; other formats can run code", id="pickle"),
        pytest.param(text, "cannot be read", id="text"),
        pytest.param(written(lora(fill=float("nan"))), "hold NaN or infinity", id="nan"),
        pytest.param(written(lora(width=320)), "is for layers of 320, the model's has 160", id="width of another model"),
        pytest.param(written(lora(out=64)), "is for layers of 64, the model's has 160", id="output of another model"),
        pytest.param(written(lora(layer="unet.mid_block.nothing.to_q")), "a layer that the model has not", id="no such layer"),
        pytest.param(written(lora(layer=LAYER.replace("unet", "transformer"))), "belongs to no part", id="transformer's"),
        pytest.param(written(lora(layer=f"base_model.model.{LAYER[5:]}")), "give the folder", id="peft alone"),
        pytest.param(written({"weight": torch.ones(2)}), "belongs to no part", id="no LoRA"),
        pytest.param(written(lora() | {f"{LAYER}.dora_scale": torch.ones(160)}), "DoRA as kohya writes it", id="kohya's DoRA"),
        pytest.param(
            written({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.ones(2, 2)}),
            "cannot be read as a LoRA", id="LoHa",
        ),
        pytest.param(written(lora(), settings(r=2, megatron_config={}, megatron_core="os")), "megatron_core: 'os'", id="imports"),
        pytest.param(written(lora(), settings(r=2, layer_replication=[[0, 4]])), "layer_replication", id="copies layers"),
        pytest.param(written(lora(), settings(r=2, init_lora_weights="pissa")), "init_lora_weights: 'pissa'", id="base weights"),
        pytest.param(written(lora(), {"lora_adapter_metadata": "{"}), "lora_adapter_metadata cannot be read", id="cut settings"),
        pytest.param(peft_folder(auto_mapping={"trust_remote_code": True}), "asks for code", id="peft's code"),
    ],
)  # fmt: skip
def test_a_lora_that_does_not_fit_is_a_sentence(write, sentence, pocket_config, tmp_path):
    file = write(tmp_path / "lora.safetensors")
    config = GeneratorConfig(**pocket_config.model_dump(exclude={"loras"}), loras=[{"file": str(file)}])
    with pytest.raises(InputError) as refusal:
        check_generator(config)
    assert str(refusal.value).startswith("generator.loras[0].file: ")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_lora_in_peft_folders_fits(pocket_config, tmp_path):
    for folder in (peft_folder()(tmp_path / "one.safetensors"), save_lora(pocket_config, tmp_path / "two", 0).peft):
        check_generator(GeneratorConfig(**pocket_config.model_dump(exclude={"loras"}), loras=[{"file": str(folder)}]))


@pytest.mark.parametrize("weight", ["much", float("nan"), True])
def test_a_weight_that_is_none_ends_the_command(weight, pocket_config, tmp_path, capsys):
    generator = pocket_config.model_dump(mode="json", exclude={"loras"}) | {
        "loras": [{"file": "a.safetensors", "weight": weight}]
    }
    parameters = {"tricks": ["base_class"], "output": str(tmp_path / "out"), "generator": generator}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"parameters": parameters}))
    assert main(["estimate", "-c", str(config)]) == 2
    error = capsys.readouterr().err
    assert "loras" in error
    assert "weight" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
