"""Textual inversion on the pocket models: many concepts in one process beside a process for each, and what they are worth.

    python -m benchmarks.textual_inversion speed     # 23 concepts: one process, 23 processes, 23 of the published loop
    python -m benchmarks.textual_inversion quality   # concepts beside plain class names, on art that the generator never saw

Each writes benchmarks/results/textual_inversion_<what>.json. Times are processor time of one thread, start and loading of the
model included, and the clock's beside it: a shared machine disturbs the clock more.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

REAL = Path("data/real")
RESULTS = Path(__file__).parent / "results"
TEMPLATES = ("a photo of a {name}", "an image of a {name}", "a picture of a {name}")  # what the pocket generator reads
CLASSES = 23  # as many as Custom COCO has
Photos = dict[str, list[np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "quality", "learn", "publish"])  # the last two: children of `speed`
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--classes", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.what in ("learn", "publish"):
        {"learn": learn, "publish": publish}[options.what](options.classes, options.steps[0])
        return
    from figment.files import write_json

    measured = {"speed": speed, "quality": quality}[options.what](options)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 1, "threads": 1}
    write_json(RESULTS / f"textual_inversion_{options.what}.json", {"machine": machine, **measured})
    print(json.dumps(measured, indent=2))


def photos_of(split: str, count: int, seed: int, classes: list[str] | None = None) -> Photos:
    """``count`` real pictures of each class, drawn by ``seed``; sets of one seed are nested."""
    from figment.images import decode

    found: dict[str, list[bytes]] = {}
    for row in pq.read_table(REAL / f"{split}.parquet").to_pylist():
        found.setdefault(row["label"], []).append(row["image"]["bytes"])
    random = np.random.default_rng(seed)
    order = {name: random.permutation(len(found[name]))[:count] for name in sorted(found)}
    return {name: [np.asarray(decode(found[name][i], name)) for i in order[name]] for name in classes or order}


# Speed -----------------------------------------------------------------------------------------------------------------


def pocket():
    from figment.synthesis.config import GeneratorConfig

    return GeneratorConfig(
        model="models/pocket/diffusion", width=32, height=32, guidance_scale=4.0, num_inference_steps=12
    )


def learn(classes: list[str], steps: int) -> None:
    """Child: Figment's learning of these classes."""
    from figment.adaptation.textual_inversion import InversionConfig, learn_concepts

    config = InversionConfig(steps=steps, templates=TEMPLATES, initialise="neutral")
    with tempfile.TemporaryDirectory() as folder:
        learn_concepts(
            pocket(), photos_of("train", 4, 0, classes), {name: name for name in classes}, config, Path(folder)
        )


def publish(classes: list[str], steps: int) -> None:
    """Child: one class in the way of the published scripts, at the same model, batch and steps.

    A new token in a matrix whose every row has a gradient and moments, all other rows copied back after each step; photos
    decoded by a loader and sent through the autoencoder for every sample; gradient checkpointing, as their call asks.
    """
    import torch
    import torch.nn.functional as F
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from safetensors.torch import save_file
    from torch.utils.data import DataLoader, Dataset

    (name,) = classes
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline.from_pretrained(pocket().model, dtype=torch.float32)
    tokenizer, encoder, vae, unet = pipeline.tokenizer, pipeline.text_encoder, pipeline.vae, pipeline.unet
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    tokenizer.add_tokens(f"<{name}>")
    new, first = tokenizer.convert_tokens_to_ids(f"<{name}>"), tokenizer("the", add_special_tokens=False).input_ids[0]
    encoder.resize_token_embeddings(len(tokenizer))
    matrix = encoder.get_input_embeddings().weight
    matrix.data[new] = matrix.data[first]
    for module in (vae, unet, encoder):
        module.requires_grad_(False)
    matrix.requires_grad_(True)
    unet.train()
    unet.enable_gradient_checkpointing()
    encoder.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW([matrix], lr=2e-3, weight_decay=1e-2)
    kept = matrix.detach().clone()
    others = torch.arange(len(tokenizer)) != new
    pictures = photos_of("train", 4, 0, classes)[name]

    class Shots(Dataset):
        def __len__(self) -> int:
            return 100 * len(pictures)

        def __getitem__(self, i: int) -> dict:
            text = TEMPLATES[int(torch.randint(len(TEMPLATES), ()))].replace("{name}", f"<{name}>")
            ids = tokenizer(
                text, padding="max_length", truncation=True, max_length=tokenizer.model_max_length
            ).input_ids
            pixels = torch.from_numpy(pictures[i % len(pictures)].copy()).permute(2, 0, 1) / 127.5 - 1
            return {"ids": torch.tensor(ids), "pixels": pixels.flip(-1) if torch.rand(()) < 0.5 else pixels}

    done = 0
    while done < steps:
        for batch in DataLoader(Shots(), batch_size=4, shuffle=True):
            latents = vae.encode(batch["pixels"]).latents.detach() * vae.config.scaling_factor
            noise = torch.randn_like(latents)
            times = torch.randint(scheduler.config.num_train_timesteps, (len(latents),))
            noisy = scheduler.add_noise(latents, noise, times)
            predicted = unet(noisy, times, encoder_hidden_states=encoder(batch["ids"])[0]).sample
            F.mse_loss(predicted, scheduler.get_velocity(latents, noise, times)).backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                matrix[others] = kept[others]
            done += 1
            if done == steps:
                break
    with tempfile.TemporaryDirectory() as folder:
        save_file({name: matrix.detach()[new]}, Path(folder) / "learned_embeds.safetensors")


def processes(what: str, groups: list[list[str]], steps: int) -> dict[str, float]:
    """Seconds that these children take one after the other, each with its own start and load."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for classes in groups:
        command = [
            sys.executable,
            "-m",
            "benchmarks.textual_inversion",
            what,
            "--steps",
            str(steps),
            "--classes",
            *classes,
        ]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor_seconds": round(used, 2), "clock_seconds": round(time.perf_counter() - start, 2)}


def speed(options: argparse.Namespace) -> dict:
    """23 concepts three ways at equal steps, and the steps alone, side by side and one by one."""
    classes = list(photos_of("train", 1, 0))[:CLASSES]
    single = [[name] for name in classes]
    runs = []
    for steps in options.steps:
        ways = {
            "one process": processes("learn", [classes], steps),
            "a process each": processes("learn", single, steps),
            "a process each, published loop": processes("publish", single, steps),
        }
        fastest = ways["one process"]
        ratios = {
            name: {clock: round(way[clock] / fastest[clock], 1) for clock in way}
            for name, way in ways.items()
            if way is not fastest
        }
        print(steps, ratios, flush=True)
        runs.append({"steps": steps, **ways, "times one process": ratios})
    return {"concepts": CLASSES, "batch_size": 4, "runs": runs, "a step of 23 concepts": step_times(classes)}


def step_times(classes: list[str]) -> dict[str, float]:
    """Processor seconds of one step of every concept, after one to warm up."""
    import torch

    from figment.adaptation.concept_learning import InversionConfig, Learning

    torch.set_num_threads(1)
    photos, names = photos_of("train", 4, 0, classes), {name: name for name in classes}
    config = InversionConfig(templates=TEMPLATES)

    def seconds(learning: Learning, steps: int) -> float:
        learning.step(0)
        start = time.process_time()
        for step in range(1, steps + 1):
            learning.step(step)
        return (time.process_time() - start) / steps

    alone = Learning(pocket(), {classes[0]: photos[classes[0]]}, names, config)
    together = Learning(pocket(), photos, names, config)
    one_by_one, side_by_side = len(classes) * seconds(alone, 20), seconds(together, 5)
    return {
        "one by one": round(one_by_one, 3),
        "side by side": round(side_by_side, 3),
        "ratio": round(one_by_one / side_by_side, 2),
    }


# Quality ---------------------------------------------------------------------------------------------------------------

SETTINGS = {
    "class name": None,
    "concept": {"initialise": "name"},
    "concept, neutral start": {"initialise": "neutral"},
    "concept, 3 vectors": {"initialise": "name", "vectors": 3},
}
STEPS, RATE, PICTURES = 100, 1e-2, 16


def quality(options: argparse.Namespace) -> dict:
    """Pictures of each class by its name and by its concept, from noise and from its shots (strength 0.7)."""
    import torch

    from figment.validation.clip import ClipConfig, ClipScorer

    torch.set_num_threads(1)
    scorer = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip", device="cpu"))

    def features(photos: Photos):
        return torch.stack(
            [scorer.image_features(torch.from_numpy(np.stack(p)).permute(0, 3, 1, 2)) for p in photos.values()]
        )

    held_out = features(photos_of("test", 80, 0))
    rows = []
    for shots in (2, 4, 8):
        for seed in range(options.seeds):
            photos = photos_of("train", shots, seed)
            own = features(photos)
            for name, setting in SETTINGS.items():
                if setting and setting != {"initialise": "name"} and shots != 4:
                    continue
                for start, made in paint(photos, setting, seed):
                    row = {"shots": shots, "seed": seed, "prompt": name, "start": start}
                    row |= measures(torch.stack([scorer.image_features(part) for part in made]), own, held_out)
                    print(row, flush=True)
                    rows.append(row)
    ceiling = float((held_out @ held_out.transpose(1, 2)).mean())
    return {
        "steps": STEPS,
        "learning_rate": RATE,
        "pictures": PICTURES,
        "similarity of held-out photos among themselves": round(ceiling, 4),
        "means": means(rows),
        "concept minus class name": differences(rows),
        "rows": rows,
    }


def paint(photos: Photos, setting: Mapping | None, seed: int):
    """("noise" or "photo", (C, N, 3, 32, 32) in [0, 1])."""
    import torch
    from PIL import Image

    from figment.adaptation.textual_inversion import InversionConfig, learn_concepts
    from figment.planning.row import Row, record_of
    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.generator import Generator, Inputs
    from figment.synthesis.weights import model_revision

    config = pocket()
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder) / "adapters", Path(folder) / "sources")
        adapter = ""
        if setting:
            learning = InversionConfig(steps=STEPS, learning_rate=RATE, templates=TEMPLATES, seed=seed, **setting)
            adapter = learn_concepts(config, photos, {name: name for name in photos}, learning, inputs.adapters).stem
        generator = Generator(config.model, model_revision(config), SynthesisConfig(device="cpu"), inputs)
        for start, strength in (("noise", 1.0), ("photo", 0.7)):
            made = []
            for name, shots in photos.items():
                sources = [""] * PICTURES
                if start == "photo":
                    for i, shot in enumerate(shots):
                        Image.fromarray(shot).save(Path(folder) / f"{i}.png")
                    hashes = [generator.sources.add(Path(folder) / f"{i}.png") for i in range(len(shots))]
                    sources = [hashes[i % len(hashes)] for i in range(PICTURES)]
                rows = [
                    record_of(
                        Row(
                            prompt=f"a photo of a <{name}>" if adapter else f"a photo of a {name}", labels=(name,),
                            recipe="benchmark", trick="concept", stream=seed, replicate=i, adapter=adapter,
                            concept=name if adapter else "", strength=strength, initial_image=source,
                            shared_noise=f"{seed} {name} {i}", revision=model_revision(config),
                            **config.model_dump(exclude={"revision"}),
                        )
                    )
                    for i, source in enumerate(sources)
                ]  # fmt: skip
                made.append(generator.render(rows).pixels)
            yield start, torch.stack(made)


def measures(made, own, held_out) -> dict[str, float]:
    """Of features (C, N, D): similarity to the shots and to held-out photos; the share that is nearest to its class's mean
    held-out photo; and held-out photos that a ridge classifier, trained on the pictures alone, names correctly."""
    import torch
    import torch.nn.functional as F

    classes, count, _ = made.shape
    labels = torch.arange(classes)
    centres = F.normalize(held_out.mean(1), dim=1)
    x = F.pad(made.flatten(0, 1), (0, 1), value=1.0)
    y = F.one_hot(labels.repeat_interleave(count)).float()
    weights = torch.linalg.solve(x.t() @ x + 0.3 * torch.eye(x.shape[1]), x.t() @ y)
    named = (F.pad(held_out, (0, 1), value=1.0) @ weights).argmax(2) == labels[:, None]
    return {
        "to shots": round(float((made @ own.transpose(1, 2)).mean()), 4),
        "to held-out": round(float((made @ held_out.transpose(1, 2)).mean()), 4),
        "nearest to its class": round(float(((made @ centres.t()).argmax(2) == labels[:, None]).float().mean()), 4),
        "ridge on pictures": round(float(named.float().mean()), 4),
    }


MEASURES = ("to shots", "to held-out", "nearest to its class", "ridge on pictures")


def means(rows: list[dict]) -> list[dict]:
    """Over the seeds, for every cell."""
    cells: dict[tuple, list[dict]] = {}
    for row in rows:
        cells.setdefault((row["shots"], row["start"], row["prompt"]), []).append(row)
    return [
        {"shots": shots, "start": start, "prompt": prompt, **over(cell, lambda row, name: row[name])}
        for (shots, start, prompt), cell in cells.items()
    ]


def differences(rows: list[dict]) -> list[dict]:
    """Concept minus class name, paired by seed, with 95 % intervals (Student's t)."""
    from scipy import stats

    plain = {(row["shots"], row["start"], row["seed"]): row for row in rows if row["prompt"] == "class name"}
    found = []
    for cell in means([row for row in rows if row["prompt"] != "class name"]):
        same = [r for r in rows if all(r[key] == cell[key] for key in ("shots", "start", "prompt"))]
        difference: dict[str, Callable] = {}
        for name in MEASURES:
            values = [row[name] - plain[row["shots"], row["start"], row["seed"]][name] for row in same]
            width = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
            difference[name] = [round(float(np.mean(values)), 4), round(float(width), 4)]
        found.append({key: cell[key] for key in ("shots", "start", "prompt")} | difference)
    return found


def over(cell: list[dict], value: Callable) -> dict[str, float]:
    return {name: round(float(np.mean([value(row, name) for row in cell])), 4) for name in MEASURES}


if __name__ == "__main__":
    main()
