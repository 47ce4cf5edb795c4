"""Rounds of images by what a classifier gets wrong against as many images chosen by chance, on the drawings.

    python -m benchmarks.rounds [--seeds N]

Both start from the same first training and are trained with as many updates an image; rounds choose by the validation split, and
each classifier is measured once on the test images. Interrupted, the same command goes on. Writes benchmarks/results/rounds.csv.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmarks.tables.recipes import PAPERS
from benchmarks.tables.world import World
from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.datasets.config import RealConfig
from figment.datasets.kinds import LabelledData
from figment.files import write_text
from figment.metrics import accuracy
from figment.ops import caching
from figment.ops.environment import load_environment
from figment.ops.stack import fetch_data
from figment.planning.bag_of_tricks import COMBINED, RANDOM
from figment.planning.from_prompts import Cell
from figment.planning.plan import make_plan
from figment.planning.planners import Given, Planning, PromptPlanner
from figment.planning.rounds import RoundsConfig, round_trick
from figment.planning.row import Row
from figment.prompts.kinds import TrickPrompts, write_book
from figment.prompts.tricks import Prompt
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.classifier import predict
from figment.training.config import TrainingConfig
from figment.training.jobs import Job, Material, save_trained
from figment.training.kinds.timm_classifier import TIMM
from figment.training.lists import training_list
from figment.training.round_stages import Rounding, Stages
from figment.training.rounds import Growth
from figment.training.saved import WEIGHTS, load_model
from figment.validation.features import FeatureStore
from figment.validation.policies import Top1Policy

RESULTS = Path("benchmarks/results/rounds.csv")
FOLDER = Path("artifacts/rounds")
PER_TRICK = 8  # images of a class in each trick: small enough that more of them help
STEPS = 200  # of the first training
ROUNDS = RoundsConfig(images=100, max=3, stop="max", control="random")


def rounding_of(world: World, seed: int) -> Rounding:
    """The pocket config, smaller."""
    parameters = world.parameters
    planning = Planning(
        recipe="bag_of_tricks",
        planner=PromptPlanner(images=PER_TRICK),
        generator=world.generator,
        prompts=(TrickPrompts(tricks=PAPERS, domains=parameters["domains"]),),
        seed=seed,
    )
    return Rounding(
        rounds=ROUNDS,
        first=COMBINED,
        shares=dict.fromkeys(PAPERS, PER_TRICK),
        planning=planning,
        clip=parameters["clip"],
        acceptance=Top1Policy(**parameters["acceptance"]),
        training=TrainingConfig(**{**parameters["training"], "steps": STEPS, "seed": seed}),
        real=RealConfig(**parameters["real"]),
    )


def measure(world: World, seed: int) -> Iterator[dict[str, Any]]:
    """A line a classifier."""
    began, rounding, folder = time.process_time(), rounding_of(world, seed), FOLDER / f"seed_{seed}"
    planning, pool = rounding.planning, Pool(folder / "images")
    book = write_book(planning.prompts, world.space, world.generator.guidance_scale, folder)
    given = Given(world.space, book.prompts, model_revision(world.generator))
    store = FeatureStore(pool, world.scorer)

    def rows(cells: Mapping[Cell, range], more: Sequence[Prompt]) -> Iterator[Row]:
        return planning.planner.rows(replace(given, prompts=[*given.prompts, *more]), planning, cells)

    def render(plan: pa.Table) -> None:
        synthesise(plan, pool, world.synthesis, observer=store)

    data = LabelledData(classes=list(world.space.names), real=rounding.real)
    stages = Stages(
        material=Material(folder, world.space, data, caching.cached, {}),
        pool=pool,
        scorer=world.scorer,
        rounding=rounding,
        rows=rows,
        render=render,
        gate=lambda name, chosen: None,
        do=train,
    )
    plan = make_plan(planning.planner.rows(given, planning))
    render(plan)
    verdicts = stages.judge(plan)
    first = stages.train(COMBINED, training_list(verdicts, rounding.shares), 1.0)
    history = Growth(plan, verdicts, stages).run(first).history
    assert history.control is not None
    names = [COMBINED, *(round_trick(each.number) for each in history.rounds[1:]), RANDOM]
    found = {name: predict(load_model(stages.classifier(name), TIMM).network, world.test.pixels) for name in names}
    last = names[-2]
    for name, each in zip(names, [*history.rounds, history.control], strict=True):
        over = accuracy.paired_difference(found[last], found[name], world.test.labels)
        yield {
            "seed": seed,
            "trained on": name,
            "images": each.images,
            "rendered": each.rendered,
            "prompts": each.prompts,
            "validation": 1 - each.error[0],
            "top1": accuracy.top1(found[name], world.test.labels).top1,
            "last over this": over.top1,
            "low": over.low,
            "high": over.high,
            "expected": each.expected[0] if each.expected else None,
            "missing": ", ".join(history.missing),
            "cpu_seconds": round(time.process_time() - began),
        }


def train(job: Job) -> None:
    """Unless it was done before."""
    weights, key = job.folder / WEIGHTS, caching.result_key(job.module, **job.inputs)
    if not caching.is_current(weights, key):
        save_trained(job, job.train(Checkpoint(job.folder / CHECKPOINT, key), lambda step, measured: None), key)
        caching.mark_current(weights, key)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=3)
    chosen = arguments.parse_args()
    load_environment()
    fetch_data()
    world = World(folder=FOLDER / "world")
    lines: list[dict[str, Any]] = []
    for seed in range(chosen.seeds):
        for line in measure(world, seed):
            lines.append(line)
            print(line, flush=True)
        write_text(RESULTS, pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


if __name__ == "__main__":
    main()
