"""The latent study (sec. 4.2.2) on the pocket generator: the same real images, interpolated with little spread or much.

The pocket generator reads text only. A linear map, fitted on images of the world it learned from and their captions, turns
the interpolated CLIP embeddings of real shots into what its text encoder would say of them.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.latent.conditioning import LinearCaptioner, render_conditioned
from benchmarks.latent.samplers import SAMPLERS, mean_cosine, moments
from benchmarks.tables.cells import cell, ledger
from benchmarks.tables.recipes import table2_training
from benchmarks.tables.world import PER_CLASS, World
from figment.datasets.labelled import LabelledImages
from figment.files import atomic, digest
from figment.synthesis.generator import Generator
from figment.synthesis.schedulers import make_scheduler
from figment.synthesis.weights import model_revision
from pocket.world import World as Scenery

TEACHERS = [Path(f"data/artwork/{name}.parquet") for name in ("noto", "fluent")]  # the generator's own art
SCENES = 4000
BATCH = 60


class Painter:
    """The pocket generator, asked in CLIP embeddings."""

    def __init__(self, world: World):
        self.world = world
        settings = world.generator
        self.generator = Generator(settings.model, model_revision(settings), world.synthesis)
        self.pipeline = self.generator.pipeline
        self.pipeline.scheduler = make_scheduler(settings.scheduler, self.pipeline.scheduler)

    @torch.no_grad()
    def states(self, captions: list[str]) -> Tensor:
        """(N, L, E) what the text encoder makes of captions."""
        rows = [{"adapter": "", "prompt": caption, "negative_prompt": ""} for caption in captions]
        return self.generator.encode(rows, guided=False)["prompt_embeds"].float()

    def scenes(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """CLIP embeddings (N, D) of new single-object scenes, and their captions' states (N, L, E)."""
        scenery = Scenery(TEACHERS, list(self.world.space.names), self.world.size)
        made = scenery.sample(count, torch.Generator().manual_seed(seed), pairs=0)
        return self.world.scorer.image_features(made.pixels).float().cpu(), self.states(made.captions)

    @cached_property
    def captioner(self) -> LinearCaptioner:
        return LinearCaptioner.fit(*self.scenes(SCENES, seed=1))

    def explained(self) -> float:
        """Share of the states' variance that the map explains on scenes it was not fitted on."""
        embeddings, states = self.scenes(500, seed=2)
        missed = (self.captioner(embeddings) - states).square().sum()
        return float(1 - missed / (states - states.mean(0)).square().sum())

    @torch.no_grad()
    def paint(self, embeddings: Tensor, seed: int) -> Tensor:
        """(N, 3, S, S) uint8; every image has noise of its own."""
        none = self.generator.encode([{"adapter": "", "prompt": "", "negative_prompt": ""}], guided=True)
        parts = []
        for start in range(0, len(embeddings), BATCH):
            states = self.captioner(embeddings[start : start + BATCH])
            negative = none["negative_prompt_embeds"].expand(len(states), -1, -1)
            arguments = {"prompt_embeds": states, "negative_prompt_embeds": negative}
            seeds = [seed * 1_000_003 + start + i for i in range(len(states))]
            settings = self.world.generator
            parts.append(
                render_conditioned(
                    self.pipeline,
                    arguments,
                    seeds,
                    self.world.size,
                    settings.guidance_scale,
                    settings.num_inference_steps,
                )
            )
        return torch.cat(parts).mul(255).round().byte()


def latent_study(world: World, seeds: int) -> Iterator[dict[str, Any]]:
    """One line a sampler and seed: how far the embeddings spread, how varied the images are, what they teach."""
    painter = Painter(world)
    shots, labels = world.train_features, world.train.labels
    explained = painter.explained()
    text = world.scorer.text_features(world.space)
    for seed in range(seeds):
        for sampler in SAMPLERS:
            dice = torch.Generator().manual_seed(seed)
            points, expected, measured = [], [], []
            for label in range(len(world.space)):
                own = shots[labels == label].double()
                found = SAMPLERS[sampler](len(own), PER_CLASS, dice) @ own
                points.append(found.float())
                expected.append(moments(sampler, len(own), mean_cosine(own)).variance)
                measured.append(float((found - own.mean(0)).square().sum(1).mean()))
            asked = torch.arange(len(world.space)).repeat_interleave(PER_CLASS)
            identity = [
                digest([sampler, seed, PER_CLASS, model_revision(world.generator), world.generator.model_dump()])
            ]
            images = LabelledImages(_kept(world, painter, identity[0], torch.cat(points), seed), asked)
            features = world.scorer.image_features(images.pixels).float().cpu()
            result = cell(world, f"{sampler} of embeddings", seed, identity, images, table2_training(world))
            yield {
                "recipe": sampler,
                "seed": seed,
                "images": len(images),
                "top1": result["top1"],
                "spread": sum(measured) / len(measured),
                "expected_spread": sum(expected) / len(expected),
                "clip_agrees": float((world.scorer.compare(features, text).argmax(1).cpu() == asked).double().mean()),
                "captions_explained": explained,
                **ledger(world, identity, asked, features, shots),
                "cpu_seconds": result["cpu_seconds"],
            }


def _kept(world: World, painter: Painter, key: str, embeddings: Tensor, seed: int) -> Tensor:
    """The images of these embeddings, painted now unless they were before."""
    file = world.folder / "latent" / f"{key[:24]}.safetensors"
    if not file.is_file():
        pixels = painter.paint(embeddings, seed)
        with atomic(file) as partial:
            save_file({"pixels": pixels}, partial)
    return load_file(file)["pixels"]
