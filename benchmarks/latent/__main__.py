"""The latent study (sec. 4.2.2 of "Diversity is Definitely Needed") on any images: what a generator makes of points between the
CLIP embeddings of a class's real images, all of them (hull) or three at a time (triples).

    python -m benchmarks.latent --data photos/ --classes "cat, dog" --model sd2-community/stable-diffusion-2-1-unclip-small

The model is one that takes image embeddings and has their encoder with it (unCLIP). Writes OUT/SAMPLER/CLASS/*.png,
which `figment import folder` brings into a run, and OUT/spread.json: how far the points spread, measured and expected.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from benchmarks.latent.conditioning import embedding_arguments, render_conditioned
from benchmarks.latent.samplers import SAMPLERS, mean_cosine, moments
from figment.datasets.labelled import open_labelled
from figment.devices import choose_device
from figment.files import atomic, write_json
from figment.images import encode
from figment.labels import LabelSpace

SIZE = 256  # px in which images are read


@torch.inference_mode()
def embeddings(pipeline: Any, pixels: Tensor) -> Tensor:
    """(N, D) by the model's own image encoder."""
    images = [image.permute(1, 2, 0).numpy() for image in pixels]
    shown = pipeline.feature_extractor(images=images, return_tensors="pt").pixel_values
    encoder = pipeline.image_encoder
    return encoder(shown.to(encoder.device, encoder.dtype)).image_embeds.float().cpu()


def study(pipeline: Any, data: Path, space: LabelSpace, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """By sampler and class the spread of the points; their images lie below ``out``."""
    real = open_labelled(data, "test", space, SIZE, options.shots, "squash").load()
    found: dict[str, Any] = {}
    for sampler, draw in SAMPLERS.items():
        for label, name in enumerate(space.names):
            own = embeddings(pipeline, real.pixels[real.labels == label])
            unit, length = torch.nn.functional.normalize(own, dim=1), own.norm(dim=1).mean()
            generator = torch.Generator().manual_seed(options.seed)
            points = draw(len(unit), options.images, generator) @ unit.double()
            measured = float((points - unit.double().mean(0)).square().sum(1).mean())
            expected = moments(sampler, len(unit), mean_cosine(unit)).variance
            found.setdefault(sampler, {})[name] = {"spread": measured, "expected": expected, "photos": len(unit)}
            for first in range(0, len(points), options.batch):
                part = (points[first : first + options.batch].float() * length).to(pipeline.device, pipeline.dtype)
                seeds = [options.seed * 1_000_003 + label * options.images + first + i for i in range(len(part))]
                settings = (options.size, options.guidance_scale, options.steps)
                images = render_conditioned(pipeline, embedding_arguments(pipeline, part), seeds, *settings)
                for i, image in enumerate(images):
                    file = out / sampler / name / f"{first + i:05d}.png"
                    with atomic(file) as partial:
                        partial.write_bytes(encode(image.mul(255).round().byte().permute(1, 2, 0).numpy(), "png"))
    write_json(out / "spread.json", found)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled real images: class folders, Parquet, CIFAR batches"
    )
    parser.add_argument("--classes", required=True, help="separated by commas")
    parser.add_argument("--labels", help="a label file that the classes are of")
    parser.add_argument("--model", required=True, help="a folder or hub id of an unCLIP model")
    parser.add_argument("--out", type=Path, default=Path("artifacts/latent"))
    for name, default in (("shots", 60), ("images", 100), ("batch", 8), ("size", 512), ("steps", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--guidance-scale", type=float, default=10.0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    space = LabelSpace.chosen([name.strip() for name in options.classes.split(",")], options.labels)
    pipeline = DiffusionPipeline.from_pretrained(options.model, use_safetensors=True, trust_remote_code=False)
    pipeline = pipeline.to(choose_device(options.device))
    pipeline.set_progress_bar_config(disable=True)
    for sampler, classes in study(pipeline, options.data, space, options.out, options).items():
        for name, row in classes.items():
            print(
                f"{sampler}, {name}: spread {row['spread']:.4f}, expected {row['expected']:.4f}, of {row['photos']} photos"
            )


if __name__ == "__main__":
    main()
