"""Each model is built once; all its tests run on it, then the next."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from figment.synthesis.config import SynthesisConfig
from figment.synthesis.families import Family
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import folder_revision
from tests.conformance.models import CASES, Case, save

diffusers.utils.logging.set_verbosity_error()
ATTENTION = ["to_q", "to_v", "q_proj", "v_proj", "to_out.0"]
TARGETS = {"target_modules": ATTENTION}
DEFAULTS = {
    "adapter": "", "concept": "", "noise": 0.0, "noise_draw": "", "seed": 3, "width": 32, "height": 32,
    "num_inference_steps": 2, "strength": 1.0, "initial_image": "", "negative_prompt": "", "mask": "",
}  # fmt: skip


@dataclass
class Subject:
    """A case's folder, Figment's generator on it, and the stock pipeline."""

    case: Case
    folder: Path

    def __post_init__(self) -> None:
        self.generator = self.load()
        self.stock: Any = getattr(diffusers, self.case.pipeline).from_pretrained(self.folder)
        self.stock.set_progress_bar_config(disable=True)

    def load(self, **settings: Any) -> Generator:
        """Figment's generator on the folder, loaded again."""
        model = str(self.folder)
        return Generator(model, folder_revision(model), SynthesisConfig(**settings), Inputs(self.folder, self.folder))

    @property
    def family(self) -> Family:
        return self.case.family

    @property
    def guidance(self) -> str:
        return self.generator.guidance

    @cached_property
    def image(self) -> str:
        """The hash of a source image."""
        file = self.folder / "source.png"
        size = (self.row("")["width"], self.row("")["height"])
        Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 50).convert("RGB").save(file)
        return self.generator.sources.add(file)

    @cached_property
    def mask(self) -> str:
        """The hash of a mask of it: its left half."""
        mask = Image.new("L", (32, 32))
        mask.paste(255, (0, 0, 16, 32))
        mask.save(self.folder / "mask.png")
        return self.generator.sources.add(self.folder / "mask.png")

    @cached_property
    def lora(self) -> Path:
        """A LoRA with random weights of the denoiser's attention and, where diffusers loads them there, of a text encoder's, as
        diffusers saves it."""
        layers: dict[str, Any] = {}
        for part in self.stock._lora_loadable_modules:
            network = getattr(self.stock, part, None)
            if network is not None and part in ("unet", "transformer", "text_encoder"):
                network.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=ATTENTION), adapter_name="made")
                for name, parameter in network.named_parameters():
                    if ".lora_" in name:
                        parameter.data = torch.randn_like(parameter) * 0.3
                layers[f"{part}_lora_layers"] = get_peft_model_state_dict(network, adapter_name="made")
        scales = {f"{name.removesuffix('_layers')}_adapter_metadata": {"r": 4, "lora_alpha": 2} for name in layers}
        self.stock.save_lora_weights(self.folder / "lora", **layers, **{n: s | TARGETS for n, s in scales.items()})
        self.stock.delete_adapters("made")
        return self.folder / "lora" / "pytorch_lora_weights.safetensors"

    def row(self, prompt: str, **more: Any) -> dict[str, Any]:
        scheduler = type(self.generator.pipeline.scheduler).__name__
        row = DEFAULTS | {"prompt": prompt, "guidance_scale": self.case.scales[0], "scheduler": scheduler}
        return row | self.case.row | more

    def render(self, *rows: dict[str, Any]) -> Tensor:
        return self.generator.render(rows).pixels

    def pixels(self, row: dict[str, Any]) -> Tensor:
        """Of the row's initial image."""
        image = self.generator.sources.image(row["initial_image"], row["width"], row["height"])
        return pil_to_tensor(image)[None] / 255

    def call(self, row: dict[str, Any]) -> Tensor:
        """The stock pipeline's own call for a row: its text, scale, seed and negative prompt."""
        family, pipeline = self.family, self.stock
        more: dict[str, Any] = dict(family.settings)
        if row["initial_image"]:
            name = family.image_pipeline.replace("Img2Img", "Inpaint") if row["mask"] else family.image_pipeline
            pipeline = getattr(diffusers, name)(**pipeline.components, **self.kept_config(name))
            pipeline.set_progress_bar_config(disable=True)
            image = self.generator.sources.image(row["initial_image"], row["width"], row["height"])
            more["image"] = [image] if family.image == "reference" else image
            if family.image == "strength":
                more["strength"] = row["strength"]
            if row["mask"]:
                more["mask_image"] = self.generator.sources.mask(row["mask"], row["width"], row["height"])
        negative = row["negative_prompt"]
        if "negative_prompt" in more or family.scale == "true_cfg_scale":  # guidance is off without one
            more["negative_prompt"] = negative
        elif negative and self.case.pipeline == "Flux2KleinPipeline":
            more["negative_prompt_embeds"] = pipeline.encode_prompt(negative, text_encoder_out_layers=(9, 18, 27))[0]
        elif negative:
            more["negative_prompt"] = negative
        if "width" in inspect.signature(pipeline.__call__).parameters:  # else of the initial image
            more |= {"width": row["width"], "height": row["height"]}
        generator = [torch.Generator().manual_seed(row["seed"])]
        steps = {"num_inference_steps": row["num_inference_steps"], family.scale: row["guidance_scale"]}
        images = pipeline(prompt=row["prompt"], generator=generator, output_type="np", **steps, **more).images
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def kept_config(self, name: str) -> dict[str, Any]:
        kind = getattr(diffusers, name)
        _, settings = kind._get_signature_keys(kind)
        return {n: self.stock.config[n] for n in settings if n in self.stock.config}


@pytest.fixture(scope="module", params=CASES, ids=[case.title for case in CASES])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("model")
    return Subject(request.param, save(request.param, folder))
