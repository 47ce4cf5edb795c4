"""What a family of generators cannot do is one sentence before anything is planned: the config names the field."""

import json
import shutil
from pathlib import Path

import pytest

from figment.cli import main
from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.families import Requests
from figment.synthesis.generator import Generator
from figment.synthesis.weights import check_family, check_generator, folder_revision, model_revision
from tests.conformance.models import CASES, save

MODELS = {case.title: case for case in CASES}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function: the folder of a case's model, saved once."""
    root, made = tmp_path_factory.mktemp("models"), {}
    return lambda title: made.setdefault(title, save(MODELS[title], root / title))


@pytest.mark.parametrize(
    ("title", "settings", "requests", "sentence"),
    [
        ("Flux.1 schnell", {}, Requests((1.0, 9.0)), r"is distilled and guidance_scale has no effect on it, found 1 to 9"),
        ("Flux.2 klein", {}, Requests((1.0, 2.0)), r"is distilled and guidance_scale has no effect"),
        ("Flux.1 dev", {}, Requests((3.5,), "blurry"), r"reads no negative prompt, found 'blurry'"),
        ("LCM", {}, Requests((8.0,), "blurry"), r"reads no negative prompt"),
        ("SDXL-Turbo", {}, Requests((0.0,), "blurry"), r"guidance_scale: a negative prompt has an effect above 1, found 0"),
        ("Flux.2 dev", {"width": 64, "height": 64}, Requests((4.0,), strengths=(0.5, 1.0)), r"knows no strength, found 0\.5"),
        ("Flux.2 dev", {}, Requests((4.0,), strengths=(1.0,)), r"reads images of 64 pixels or more, found 32"),
        ("Sana", {}, Requests((4.0,), strengths=(0.5,)), r"Sana cannot start from an image"),
        ("Flux.2 dev", {}, Requests((4.0,), strengths=(1.0,), masks=True), r"cannot render a part of an image"),
        ("SDXL-Turbo", {"scheduler": "FlowMatchEulerDiscreteScheduler"}, None, r"generator\.scheduler: .* is for flow-matching"),
        ("Flux.1 dev", {"scheduler": "DDIMScheduler"}, None, r"generator\.scheduler: DDIMScheduler is for models that predict"),
        ("Flux.1 dev", {"scheduler": "FlowMatchHeunDiscreteScheduler"}, None, r"set_timesteps takes no sigmas"),
        ("LCM", {"scheduler": "DDIMScheduler"}, None, r"set_timesteps takes no original_inference_steps"),
        ("SDXL-Turbo", {"scheduler": "EulerScheduler"}, None, r"'EulerScheduler' is not a scheduler of diffusers"),
        ("HunyuanDiT", {"width": 40}, None, r"generator\.width: HunyuanDiT .* multiples of 16, found 40; set 32"),
        ("Kandinsky 3", {"height": 32}, None, r"generator\.height: Kandinsky 3 .* multiples of 64, found 32; set 64"),
        ("Flux.1 dev", {"long_prompts": True}, None, r"generator\.long_prompts: Flux\.1 reads a prompt as one text"),
    ],
)  # fmt: skip
def test_what_a_family_cannot_do_is_a_sentence(model, title, settings, requests, sentence):
    sizes = {"width": 64 if "Kandinsky" in title else 32, "height": 64 if "Kandinsky" in title else 32}
    config = GeneratorConfig(model=str(model(title)), **(sizes | settings))
    with pytest.raises(InputError, match=sentence) as refusal:
        check_family(config, requests)
    assert "\n" not in str(refusal.value)


def test_random_guidance_on_a_distilled_model_ends_the_estimate_before_a_plan_is_written(model, tmp_path, capsys):
    parameters = {
        "classes": ["car", "frog"], "labels": "configs/labels/pocket.yaml", "tricks": ["random_guidance"],
        "images_per_class": 2, "output": str(tmp_path / "out"), "real": {"path": "data/real"},
        "generator": {"model": str(model("Flux.1 schnell")), "width": 32, "height": 32},
    }  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"parameters": parameters}))
    assert main(["estimate", "-c", str(config)]) == 2
    error = capsys.readouterr().err
    assert "guidance_scale has no effect on it, found" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "plan.parquet").exists()


@pytest.mark.parametrize(
    "pipeline", ["SanaSprintPipeline", "OmniGenPipeline", "StableCascadeCombinedPipeline", "WanPipeline"]
)
def test_a_pipeline_without_a_contract_is_refused_by_its_name(model, tmp_path, pipeline):
    folder = shutil.copytree(model("Sana"), tmp_path / "model")
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": pipeline}))
    with pytest.raises(
        InputError, match=rf"is a {pipeline}, which Figment does not render with; take a model of Stable"
    ):
        check_family(GeneratorConfig(model=str(folder), width=32, height=32))


def test_a_folder_with_half_precision_weights_alone_loads(model, tmp_path):
    folder = shutil.copytree(model("SDXL-Turbo"), tmp_path / "model")
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    check_generator(GeneratorConfig(model=str(folder), width=32, height=32), ["a car"])
    generator = Generator(str(folder), folder_revision(str(folder)), SynthesisConfig())
    assert generator.family.title == "Stable Diffusion XL"


def test_a_checkpoint_of_one_file_says_how_to_convert_it(tmp_path):
    file = Path(tmp_path / "model.safetensors")
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"is a checkpoint of one file; bring it in once"):
        model_revision(GeneratorConfig(model=str(file)))


def test_offload_without_a_gpu_is_a_sentence(model):
    folder = str(model("SDXL-Turbo"))
    with pytest.raises(InputError, match=r"synthesis\.offload: 'model' .* there is no GPU"):
        Generator(folder, folder_revision(folder), SynthesisConfig(offload="model", device="cpu"))
