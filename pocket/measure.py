"""What the pocket models can do, measured by a judge that did not train them; sheets for the eye beside the numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torchvision.utils import make_grid, save_image

from figment.clip.scorer import ClipScorer
from figment.labels import LabelSpace
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator
from figment.synthesis.weights import folder_revision
from pocket.config import MeasureConfig
from pocket.judge import both_found, name_objects, top1
from pocket.loop import takes_bfloat16
from pocket.world import BACKGROUNDS, DOMAINS, World

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RENDERS = 640  # real renders a row of a table


def photos(world: World, domain: str, seed: int) -> tuple[Tensor, Tensor]:
    """Single-object renders (RENDERS, 3, S, S) in [0, 1] of one domain, and their object ids (RENDERS,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(RENDERS) % len(world.objects)
    return world.sample(RENDERS, generator, objects=labels, domain=domain, pairs=0).pixels, labels


@torch.no_grad()
def measure_autoencoder(vae: AutoencoderTiny, judge: nn.Module, world: World, seed: int) -> dict[str, dict[str, float]]:
    """The gate: for each domain the judge's top-1 on renders and on their reconstructions."""
    rows = {}
    for domain in DOMAINS:
        pixels, labels = photos(world, domain, seed)
        renders = pixels * 2 - 1
        decoded = vae.decode(vae.encode(renders).latents).sample.clamp(-1, 1)
        rows[domain] = {
            "render": top1(name_objects(judge, renders), labels),
            "reconstruction": top1(name_objects(judge, decoded), labels),
        }
    return rows


def measure_clip(scorer: ClipScorer, worlds: dict[str, World], seed: int) -> dict[str, dict[str, float]]:
    """Zero-shot top-1 over all objects on new renders, for each art (``worlds``) and domain."""
    table: dict[str, dict[str, float]] = {}
    for art, world in worlds.items():
        text = scorer.text_features(LabelSpace.of(world.objects))
        table[art] = {}
        for domain in DOMAINS:
            pixels, labels = photos(world, domain, seed)
            table[art][domain] = top1(scorer.logits(pixels, text).cpu(), labels)
    return table


class Painter:
    """Renders prompts with the finished pipeline, through the same executor code as every recipe."""

    def __init__(self, folder: Path, size: int, config: MeasureConfig):
        self.config = config
        dtype = "bfloat16" if takes_bfloat16(torch.device("cpu")) else "auto"
        self.generator = Generator(str(folder), folder_revision(str(folder)), SynthesisConfig(dtype=dtype))
        self.size = size

    def __call__(self, prompts: Sequence[str], guidance: float, batch_size: int = 64) -> Tensor:
        """(N, 3, S, S) in [0, 1]."""
        rows = [
            {
                "prompt": prompt,
                "negative_prompt": "",
                "adapter": "",
                "initial_image": "",
                "concept": "",
                "guidance_scale": guidance,
                "num_inference_steps": self.config.num_inference_steps,
                "scheduler": "DDIMScheduler",
                "width": self.size,
                "height": self.size,
                "seed": self.config.seed * 1_000_003 + i,
            }
            for i, prompt in enumerate(prompts)
        ]
        parts = [self.generator.render(rows[i : i + batch_size]).pixels for i in range(0, len(rows), batch_size)]
        return torch.cat(parts).cpu().clamp(0, 1)


def within_class_distance(features: Tensor, labels: Tensor) -> float:
    """Mean cosine distance between CLIP features (N, D) of different images of the same object: diversity."""
    distances = []
    for label in labels.unique():
        own = features[labels == label]
        similarity = own @ own.t()
        n = len(own)
        distances.append(1 - (similarity.sum() - n) / (n * (n - 1)))
    return float(torch.stack(distances).mean())


def measure_generator(
    painter: Painter, judge: nn.Module, scorer: ClipScorer, objects: Sequence[str], config: MeasureConfig
) -> dict[str, Any]:
    """Fidelity by the judge and diversity by CLIP: over guidance, domains, objects; two-object images."""
    labels = torch.arange(len(objects)).repeat(config.per_object)

    def paint(template: str, guidance: float) -> Tensor:
        return painter([template.format(name=objects[i]) for i in labels.tolist()], guidance)

    def judged(pixels: Tensor) -> Tensor:
        return name_objects(judge, pixels * 2 - 1)

    curve = []
    for guidance in config.guidance_curve:
        pixels = paint("a photo of a {name}", guidance)
        spread = within_class_distance(scorer.image_features(pixels).cpu(), labels)
        curve.append({"guidance": guidance, "top1": top1(judged(pixels), labels), "diversity": spread})
    domains = {}
    for domain in DOMAINS:
        pixels = paint(f"a {domain} of a {{name}}", config.guidance_scale)
        spread = within_class_distance(scorer.image_features(pixels).cpu(), labels)
        domains[domain] = {"top1": top1(judged(pixels), labels), "diversity": spread}
        if domain == "photo":
            correct = (judged(pixels).argmax(1) == labels).float()
            by_object = {name: float(correct[labels == i].mean()) for i, name in enumerate(objects)}
    pairs = torch.arange(4 * len(objects))
    first, second = pairs % len(objects), (pairs * 7 + 3 + pairs // len(objects)) % len(objects)
    second = torch.where(first == second, (second + 1) % len(objects), second)
    prompts = [
        f"a photo of a {objects[a]} and a {objects[b]}" for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
    wanted = F.one_hot(first, len(objects)) | F.one_hot(second, len(objects))
    found = both_found(judged(painter(prompts, config.guidance_scale)), wanted)
    return {"guidance": curve, "domains": domains, "objects": by_object, "pairs_found": found, "pictures": len(labels)}


def draw_sheets(painter: Painter, objects: Sequence[str], config: MeasureConfig, folder: Path, alone: bool) -> None:
    """PNG sheets: every object in every domain; with objects ``alone``, ten photos of each; else backgrounds and two objects."""
    folder.mkdir(parents=True, exist_ok=True)

    def sheet(name: str, prompts: Sequence[str], columns: int) -> None:
        pixels = painter(prompts, config.guidance_scale)
        grid = make_grid(F.interpolate(pixels, scale_factor=2), columns, padding=2, pad_value=1)
        save_image(grid, folder / f"{name}.png")

    sheet("domains", [f"a {d} of a {o}" for d in (DOMAINS[0], *DOMAINS) for o in objects], len(objects) // 2)
    if alone:
        sheet("photos", [f"a photo of a {o}" for o in objects for _ in range(10)], 10)
        return
    sheet("backgrounds", [f"a photo of a {o} {b}" for o in objects[::4] for b in BACKGROUNDS], len(BACKGROUNDS))
    pairs = [f"a photo of a {a} and a {b}" for a, b in zip(objects, [*objects[5:], *objects[:5]], strict=True)]
    sheet("pairs", pairs, len(objects) // 2)


def draw_curves(measures: dict[str, Any], path: Path) -> None:
    """Fidelity (the judge) and diversity (CLIP) over guidance scales and domain words."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    curve, domains = measures["guidance"], measures["domains"]
    for axes, x, points in (
        (left, [p["guidance"] for p in curve], curve),
        (right, list(domains), list(domains.values())),
    ):
        axes.plot(x, [100 * p["top1"] for p in points], "o-", color="tab:blue")
        axes.set_ylabel("named correctly, %", color="tab:blue")
        twin = axes.twinx()
        twin.plot(x, [p["diversity"] for p in points], "s--", color="tab:orange")
        twin.set_ylabel("CLIP distance within objects", color="tab:orange")
    left.set_xlabel("guidance scale")
    right.set_xlabel("domain word")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
