"""Textual inversion on the pocket models: 23 concepts learned in one process, in 23 processes, and in 23 of the published loop.

    python -m benchmarks.textual_inversion speed     # 16 minutes of one core

Where learning is long, one of the 23 processes is measured and counted 23 times: they differ in nothing but their photos.
Writes benchmarks/results/textual_inversion_speed.json; what it holds of other numbers of steps stays in it. Times are processor
time of one thread, start and loading of the model included, and the clock's beside it: a shared machine disturbs the clock more.
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
from pathlib import Path

from benchmarks.pocket_shots import POCKET, TEMPLATES, photos_of

FILE = Path(__file__).parent / "results" / "textual_inversion_speed.json"
CLASSES = 23  # as many as Custom COCO has
LONG = 100  # steps from which on one process alone stands for all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "learn", "publish"])  # the last two: children of `speed`
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 150])
    parser.add_argument("--classes", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "speed":
        print(json.dumps(speed(options.steps), indent=2))
    else:
        {"learn": learn, "publish": publish}[options.what](options.classes, options.steps[0])


def learn(classes: list[str], steps: int) -> None:
    """Child: Figment's learning of these classes."""
    from figment.adaptation.config import InversionConfig
    from figment.adaptation.textual_inversion import learn_concepts

    config = InversionConfig(steps=steps, templates=TEMPLATES, initialise="neutral")
    with tempfile.TemporaryDirectory() as folder:
        learn_concepts(
            POCKET, photos_of("train", 4, 0, classes), {name: name for name in classes}, config, Path(folder)
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
    pipeline = StableDiffusionPipeline.from_pretrained(POCKET.model, dtype=torch.float32)
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
    images = photos_of("train", 4, 0, classes)[name]

    class Shots(Dataset):
        def __len__(self) -> int:
            return 100 * len(images)

        def __getitem__(self, i: int) -> dict:
            text = TEMPLATES[int(torch.randint(len(TEMPLATES), ()))].replace("{name}", f"<{name}>")
            ids = tokenizer(
                text, padding="max_length", truncation=True, max_length=tokenizer.model_max_length
            ).input_ids
            pixels = torch.from_numpy(images[i % len(images)].copy()).permute(2, 0, 1) / 127.5 - 1
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


def alone(what: str, classes: list[str], steps: int) -> dict[str, float]:
    """The same of a process for each class."""
    chosen = classes[:1] if steps >= LONG else classes
    found = processes(what, [[name] for name in chosen], steps)
    times = len(classes) / len(chosen)
    return {clock: round(times * seconds, 2) for clock, seconds in found.items()} | {"processes measured": len(chosen)}


def speed(numbers: list[int]) -> dict:
    """23 concepts three ways at equal steps, for each number of steps, and the steps alone, side by side and one by one."""
    from figment.files import write_json

    classes = list(photos_of("train", 1, 0))[:CLASSES]
    runs = json.loads(FILE.read_text())["runs"] if FILE.is_file() else []
    runs = [run for run in runs if run["steps"] not in numbers]
    for steps in numbers:
        ways = {
            "one process": processes("learn", [classes], steps),
            "a process each": alone("learn", classes, steps),
            "a process each, published loop": alone("publish", classes, steps),
        }
        fastest = ways["one process"]
        ratios = {
            name: {clock: round(way[clock] / fastest[clock], 1) for clock in fastest}
            for name, way in ways.items()
            if way is not fastest
        }
        print(steps, ways, ratios, flush=True)
        runs.append({"steps": steps, **ways, "times one process": ratios})
    measured = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count() or 1,
            "threads": 1,
        },
        "concepts": CLASSES,
        "batch_size": 4,
        "runs": sorted(runs, key=lambda run: run["steps"]),
        "a step of 23 concepts": step_times(classes),
    }
    write_json(FILE, measured)
    return measured


def step_times(classes: list[str]) -> dict[str, float]:
    """Processor seconds of one step of every concept, after one to warm up."""
    import torch

    from figment.adaptation.concept_learning import Learning
    from figment.adaptation.config import InversionConfig

    torch.set_num_threads(1)
    photos, names = photos_of("train", 4, 0, classes), {name: name for name in classes}
    config = InversionConfig(templates=TEMPLATES)

    def seconds(learning: Learning, steps: int) -> float:
        learning.step(0)
        start = time.process_time()
        for step in range(1, steps + 1):
            learning.step(step)
        return (time.process_time() - start) / steps

    alone = Learning(POCKET, {classes[0]: photos[classes[0]]}, names, config)
    together = Learning(POCKET, photos, names, config)
    one_by_one, side_by_side = len(classes) * seconds(alone, 20), seconds(together, 5)
    return {
        "one by one": round(one_by_one, 3),
        "side by side": round(side_by_side, 3),
        "ratio": round(one_by_one / side_by_side, 2),
    }


if __name__ == "__main__":
    main()
