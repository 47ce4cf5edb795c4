"""Render what the plan asks for and the pool lacks; top up, if quotas are set, what is rejected."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from rich.console import Console

from figment.adaptation.adapted import given_of
from figment.clip.scorer import ClipScorer
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.manifests import Adapted, FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.from_prompts import Cell
from figment.planning.plan import read_plan, write_plan
from figment.planning.quotas import fill_quotas
from figment.planning.row import Row
from figment.recipes.config import AnyRecipe
from figment.synthesis.budget import Budget
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.engines import render_plan
from figment.synthesis.estimate import Estimate, estimate
from figment.synthesis.executor import Observer, SynthesisReport
from figment.synthesis.generator import Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.reuse import take_images
from figment.validation.features import FeatureStore, open_features
from figment.validation.on_ray import complete_on_ray
from figment.validation.policies import is_settled
from figment.validation.review import apply_review, read_review
from figment.validation.validate import LiveAcceptance, validate


@step(role="render")
def render_part(recipe: AnyRecipe, plan: FileRef, part: int) -> Annotated[int, "rendered"]:
    """Every n-th shard of the plan from the ``part``-th, where the recipe says that n ``parts`` are rendered side by side: one of
    these steps, with an equal share of the budget."""
    file, synthesis = plan.open(), recipe.synthesis
    pool = Pool(file.parent / "images")
    report = render_plan(
        file,
        pool,
        synthesis,
        part=(part, recipe.parts),
        observe=partial(open_features, recipe.clip),
        renderers=Renderers(synthesis, Inputs.beside(file)),
        observer=FeatureStore(pool, ClipScorer(recipe.clip)),
        budget=Budget(synthesis, recipe.parts),
    )
    return finished(report).rendered


@step(role="render", experiment_tracker=True)
def synthesise_images(
    recipe: AnyRecipe,
    labels: LabelSpace,
    plan: FileRef,
    prompts: FileRef | None = None,
    adapted: Adapted | None = None,
) -> tuple[Annotated[FileRef, "planned"], Annotated[FileRef, "images"]]:
    """The plan, with a quota as plan_topped_up.parquet with more of what is rejected, and the pool's manifest, once every
    planned image is in it; CLIP's features beside. Interrupted, the next run resumes where this one stopped."""
    file, acceptance = plan.open(), recipe.acceptance
    pool, scorer = Pool(file.parent / "images"), ClipScorer(recipe.clip)
    live = acceptance.by_clip and is_settled(acceptance)
    observer = LiveAcceptance(pool, scorer, labels, acceptance) if live else FeatureStore(pool, scorer)
    render = prepare(file, pool, recipe, observer)
    render(file)
    if top_up := recipe.top_up:
        planning = top_up.planning
        given = given_of(labels, planning, prompts, adapted.files if adapted else ())
        decided = read_review(Path(top_up.review)) if top_up.review else {}
        file = file.with_name("plan_topped_up.parquet")

        def render_round(topped_up: pa.Table) -> None:
            write_plan(topped_up, file)
            render(file)

        def judge(planned: pa.Table) -> pa.Table:
            return apply_review(validate(planned, pool, labels, scorer, acceptance), decided)

        def more(cells: Mapping[Cell, range]) -> Iterator[Row]:
            return planning.planner.rows(given, planning, cells)

        write_plan(fill_quotas(read_plan(plan.open()), render_round, judge, more, top_up.quota), file)
    if recipe.synthesis.engine == "ray":
        complete_on_ray(FeatureStore(pool, scorer), recipe.synthesis)
    return FileRef.of(file), FileRef.of(pool.manifest_file)


def prepare(file: Path, pool: Pool, recipe: AnyRecipe, observer: Observer) -> Callable[[Path], None]:
    """Announce what a plan's file is going to take. Returns what renders it, and plans that replace it later, by
    the engine that ``synthesis`` names, within one budget, and raises InputError where that ends."""
    synthesis = recipe.synthesis
    renderers, budget = Renderers(synthesis, Inputs.beside(file)), Budget(synthesis)
    log = curves(announce(file, pool, synthesis, renderers))

    def render(plan: Path) -> None:
        report = render_plan(
            plan,
            pool,
            synthesis,
            observe=partial(open_features, recipe.clip),
            renderers=renderers,
            observer=observer,
            budget=budget,
            log=log,
        )
        tracking.log_metrics("synthesis", {"planned": report.planned, "rendered": budget.done})
        finished(report)

    return render


def announce(file: Path, pool: Pool, config: SynthesisConfig, renderers: Renderers) -> Estimate | None:
    """Say what is to be made, how fast and at what cost; nothing if all is there."""
    take_images(file, pool, config)
    if expected := estimate(file, pool, config, renderers):
        Console(width=120).print(expected.table())
        tracking.log_metrics("synthesis", expected.metrics())
    return expected


def curves(expected: Estimate | None) -> Callable[[dict[str, float], int], None]:
    """Takes the numbers of a synthesis under way to MLflow, with the device's utilisation: it goes with the speed."""

    def log(numbers: dict[str, float], done: int) -> None:
        if expected:
            mfu = expected.utilisation * numbers["images_per_second"] / expected.images_per_second
            numbers = {**numbers, "mfu": mfu}
        tracking.log_metrics("synthesis", numbers, done)

    return log


def finished(report: SynthesisReport) -> SynthesisReport:
    """The report of a synthesis that was not stopped by its budget."""
    if report.stopped:
        raise InputError(f"synthesis: {report.stopped}; {report.rendered} images were made. Run again to go on")
    caching.asked.append(not report.rendered)
    return report
