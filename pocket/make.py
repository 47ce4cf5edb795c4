"""Train one world's models, stage after stage, and ship them.

    python -m pocket.make pocket/photos.yaml [--stage judge] [--device cuda] [world.source=FOLDER] [KEY=VALUE ...]

A stage whose model is finished is skipped; one that was interrupted resumes from its checkpoint. ``--stage`` runs a single one,
so that several run beside each other; what a stage needs of others must be finished.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import nn

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.files import digest, write_json
from figment.labels import LabelSpace
from pocket.autoencoder import psnr, train_autoencoder
from pocket.banks import render_banks, split, worlds
from pocket.chat import train_chat
from pocket.clip import save_clip, train_clip
from pocket.config import (
    AutoencoderConfig,
    ClipTrainingConfig,
    GeneratorTrainingConfig,
    JudgeConfig,
    MeasureConfig,
    StageConfig,
    WorldConfig,
)
from pocket.generator import encode_latents, save_generator, train_generator
from pocket.judge import WEIGHTS, build_judge, name_objects, top1, train_judge
from pocket.loop import autocast
from pocket.measure import (
    Painter,
    draw_curves,
    draw_sheets,
    measure_autoencoder,
    measure_clip,
    measure_generator,
)
from pocket.photos import CLASSES, WORDS, PhotosConfig, photo_bank, read_photos
from pocket.tokenizer import build_tokenizer, build_world_tokenizer
from pocket.world import DOMAINS, Scenes

STAGES = ("bank", "judge", "autoencoder", "clip", "generator", "chat", "measure", "ship")
GATE = 0.05  # top-1 that the judge may lose on reconstructions


class Recipe(BaseModel):
    """One world and its trainings: a YAML file of this folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: WorldConfig | PhotosConfig
    judge: JudgeConfig
    autoencoder: AutoencoderConfig
    clip: ClipTrainingConfig
    generator: GeneratorTrainingConfig
    chat: StageConfig | None = None  # in the world of drawings only
    measure: MeasureConfig = MeasureConfig()
    work: str
    ship_to: str


class Workshop:
    """The stages of one recipe, in a folder named after its world."""

    def __init__(self, recipe: Recipe, device: str):
        self.recipe, self.device = recipe, device
        self.folder = Path(recipe.work) / f"world-{digest(recipe.world.model_dump(mode='json'))[:12]}"
        self.objects = list(recipe.world.objects)

    # ---------------------------------------------------------------- images

    @cached_property
    def banks(self) -> dict[str, Scenes]:
        """``train`` for the autoencoder and CLIP, ``held_out``, ``generator``, ``judge``; all on the device."""
        world = self.recipe.world
        if isinstance(world, PhotosConfig):
            file = self.folder / "photos.safetensors"
            if not file.exists():
                photo_bank(*read_photos(Path(world.source), "train"), world).save(file)
            everything = Scenes.load(file)
            test, labels = read_photos(Path(world.source), "test")
            held_out = Scenes(test, nn.functional.one_hot(labels, len(self.objects)), torch.zeros(len(labels)).long(),
                              [f"a photo of a {self.objects[y]}" for y in labels.tolist()])  # fmt: skip
            banks = {"train": everything, "generator": everything, "held_out": held_out, "judge": everything}
        else:
            files = render_banks(world, self.folder)
            train, held_out = split(Scenes.load(files["wide"]))
            banks = {"train": train, "held_out": held_out, "generator": Scenes.load(files["calm"]),
                     "judge": Scenes.load(files["judge"])}  # fmt: skip
        return {name: bank.to(self.device) for name, bank in banks.items()}

    @cached_property
    def tokenizer(self) -> Any:
        folder = self.folder / "tokenizer"
        if isinstance(self.recipe.world, PhotosConfig):
            synonyms = [word for words in CLASSES.values() for word in words]
            return build_tokenizer([*self.objects, *synonyms, *DOMAINS, *WORDS], folder)
        return build_world_tokenizer(self.objects, folder)

    # ---------------------------------------------------------------- stages

    def judge(self, to: Path) -> None:
        model = train_judge(self.banks["judge"], self.folder / "judge", self.recipe.judge, device=self.device,
                            report=self.report)  # fmt: skip
        test = self.banks["held_out"]
        single = test.objects.sum(1) == 1
        rows = single.nonzero().flatten()
        score = top1(name_objects(model, test.batch(rows)), test.objects[rows].argmax(1))
        self.report("judge", 0, {"held_out_top1": score})
        weights = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.state_dict().items()}
        save_file(weights, to / WEIGHTS)

    def autoencoder(self, to: Path) -> None:
        model = train_autoencoder(self.banks["train"], self.banks["held_out"], self.folder / "autoencoder",
                                  self.recipe.autoencoder, device=self.device, report=self.report)  # fmt: skip
        model.save_pretrained(to)

    def gate(self) -> None:
        """Nothing is trained on latents that have lost the objects. Raises InputError if the judge loses too much."""
        judge, vae, test = self.load_judge(), self.load_autoencoder(), self.banks["held_out"]
        rows = (test.objects.sum(1) == 1).nonzero().flatten()[:5000]
        labels, images = test.objects[rows].argmax(1), test.batch(rows)
        with torch.no_grad():
            decoded = torch.cat([vae.decode(vae.encode(b).latents).sample.clamp(-1, 1) for b in images.split(500)])
        before, after = (top1(name_objects(judge, x), labels) for x in (images, decoded))
        self.report("gate", 0, {"images": before, "reconstructions": after, "psnr": psnr(decoded, images)})
        if before - after > GATE:
            raise InputError(
                f"autoencoder: the judge names {after:.1%} of reconstructions, {before:.1%} of the images; within "
                f"{GATE:.0%} would be right: train it longer (autoencoder.steps)"
            )

    def clip(self, to: Path) -> None:
        model = train_clip(self.tokenizer, self.banks["train"], self.folder / "clip", self.recipe.clip,
                           device=self.device, report=self.report)  # fmt: skip
        save_clip(model, self.tokenizer, to, self.recipe.clip.width)

    def generator(self, to: Path) -> None:
        self.gate()
        vae, bank, stage = self.load_autoencoder(), self.banks["generator"], self.recipe.generator
        styled = bank.domains.cpu() != DOMAINS.index("photo")
        rows = (~styled | (torch.arange(len(styled)) % stage.styled_every == 0)).nonzero().flatten()
        pipeline = train_generator(vae, self.tokenizer, self.latents(vae, bank)[rows],
                                   [bank.captions[i] for i in rows.tolist()], self.folder / "generator", stage,
                                   device=self.device, report=self.report, look=self.look)  # fmt: skip
        save_generator(pipeline, self.objects, to)

    @torch.no_grad()
    def look(self, pipeline: StableDiffusionPipeline) -> dict[str, float]:
        """The judge's top-1 on photos of each object, from the same noise each time."""
        settings, judge = self.recipe.measure, self.load_judge()
        size = self.banks["held_out"].pixels.shape[-1]
        pipeline.set_progress_bar_config(disable=True)
        right = []
        for number, name in enumerate(self.objects):
            prompts = [f"a photo of a {name}"] * settings.per_object
            noise = torch.Generator().manual_seed(settings.seed + number)
            with autocast(torch.device(self.device)):
                images = pipeline(prompts, height=size, width=size, guidance_scale=settings.guidance_scale, generator=noise,
                                  num_inference_steps=settings.num_inference_steps, output_type="pt").images  # fmt: skip
            labels = torch.full((len(prompts),), number, device=images.device)
            right.append(top1(name_objects(judge, images.float() * 2 - 1), labels))
        return {"judge_top1": sum(right) / len(right), "guidance": settings.guidance_scale}

    def latents(self, vae: AutoencoderTiny, bank: Scenes) -> torch.Tensor:
        """Kept beside the autoencoder that they are of: they take minutes of a CPU."""
        file = self.finished("autoencoder") / "latents.safetensors"
        if not file.exists():
            partial = file.with_suffix(".partial")
            save_file({"latents": encode_latents(vae, bank)}, partial)
            partial.replace(file)
        return load_file(file)["latents"]

    def chat(self, to: Path) -> None:
        stage = self.recipe.chat
        if stage is None:
            raise InputError("this world's recipe has no chat stage")
        options = stage.model_dump(include={"steps", "batch_size", "learning_rate", "seed"})
        model, tokenizer = train_chat(self.objects, self.folder / "chat", **options, report=self.report)
        model.half().save_pretrained(to)
        tokenizer.save_pretrained(to)

    def measure(self, to: Path) -> None:
        """What the finished models can do, by the judge: measures.json and sheets of images."""
        objects, settings, world = self.objects, self.recipe.measure, self.recipe.world
        judge = self.load_judge().to("cpu")
        scorer = ClipScorer(ClipConfig(model=f"local-dir:{self.finished('clip')}", device=self.device))
        painter = Painter(self.finished("generator"), self.banks["generator"].pixels.shape[-1], settings)
        if isinstance(world, PhotosConfig):
            test = self.banks["held_out"].to("cpu")
            labels = test.objects.argmax(1)
            text = scorer.text_features(LabelSpace.of(objects))
            logits = scorer.logits(test.pixels.float() / 255, text).cpu()
            measures: dict[str, Any] = {"clip": {"test photos": top1(logits, labels)}}
        else:
            by_name = worlds(world)
            art = {"training art": by_name["wide"], "unseen art": by_name["unseen"]}
            measures = {
                "autoencoder": measure_autoencoder(self.load_autoencoder().to("cpu"), judge, by_name["wide"], seed=9),
                "clip": measure_clip(scorer, art, seed=5),
            }
        measures["generator"] = measure_generator(painter, judge, scorer, objects, settings)
        if self.recipe.chat is None:
            del measures["generator"]["pairs_found"]  # photographs show one object
        write_json(to / "measures.json", measures)
        draw_curves(measures["generator"], to / "curves.png")
        draw_sheets(painter, objects, settings, to, alone=self.recipe.chat is None)

    def ship(self) -> None:
        """``ship_to``/diffusion, clip, judge and chat, each replaced as a whole."""
        root = Path(self.recipe.ship_to)
        for stage, name in {"generator": "diffusion", "clip": "clip", "judge": "judge", "chat": "chat"}.items():
            if not self.finished(stage).exists():
                continue
            fresh, old = root / f".{name}.partial", root / f".{name}.old"
            for leftover in (fresh, old):
                shutil.rmtree(leftover, ignore_errors=True)
            shutil.copytree(self.finished(stage), fresh)
            shutil.copy("NOTICE", fresh / "NOTICE")  # what the weights saw
            if (root / name).exists():
                (root / name).rename(old)
            fresh.rename(root / name)
            shutil.rmtree(old, ignore_errors=True)

    # ---------------------------------------------------------------- what is finished

    def finished(self, stage: str) -> Path:
        """What a stage made, whole or absent."""
        return self.folder / stage / "finished"

    def load_judge(self) -> nn.Module:
        model = build_judge(len(self.objects), self.recipe.judge.channels)
        weights = load_file(self.finished("judge") / WEIGHTS)
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        return model.to(self.device).eval()

    def load_autoencoder(self) -> AutoencoderTiny:
        return AutoencoderTiny.from_pretrained(self.finished("autoencoder")).to(self.device).eval()

    def run(self, stage: str) -> None:
        """One stage, unless it is finished."""
        if stage == "bank":
            _ = self.banks, self.tokenizer
            return
        if stage == "ship":
            self.ship()
            return
        model = self.finished(stage)
        if model.exists():
            return
        partial = model.with_name(".finished.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        action: Callable[[Path], None] = getattr(self, stage)
        action(partial)
        partial.rename(model)

    def report(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """One JSON line on the terminal and in the world's log."""
        line = json.dumps(
            {"at": round(time.time()), "stage": stage, "step": step, **{k: round(v, 5) for k, v in metrics.items()}}
        )
        print(line, flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(line + "\n")


def load_recipe(file: Path, changes: list[str]) -> Recipe:
    """The recipe with ``KEY.KEY=VALUE`` (YAML values) changes."""
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    for change in changes:
        path, _, value = change.partition("=")
        *parents, last = path.split(".")
        target = values
        for parent in parents:
            target = target[parent]
        target[last] = yaml.safe_load(value)
    return Recipe(**values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--stage", choices=STAGES, action="append", help="by default all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
    workshop = Workshop(load_recipe(arguments.recipe, arguments.changes), arguments.device)
    for stage in arguments.stage or [s for s in STAGES if getattr(workshop.recipe, s, True)]:
        workshop.run(stage)


if __name__ == "__main__":
    main()
