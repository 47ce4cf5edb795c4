"""Further rounds of images by what the first classifier gets wrong on real validation images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq

from figment.adaptation.adapted import given_of
from figment.clip.scorer import ClipScorer
from figment.evaluation.rounds import ROUNDS_FILE, show_missing
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.manifests import Adapted, ClassifierRef, Classifiers, FileRef, Prepared
from figment.ops import caching, tracking
from figment.ops.set_gates import Gates, test_images
from figment.ops.steps import step
from figment.planning.bag_of_tricks import RANDOM, ROUNDS, chosen_of
from figment.planning.from_prompts import Cell
from figment.planning.plan import read_plan, write_plan
from figment.planning.rounds import History, round_trick
from figment.planning.row import Row
from figment.prompts.tricks import Prompt
from figment.recipes.config import AnyRecipe
from figment.synthesis.pool import Pool
from figment.training.config import TrainingConfig
from figment.training.jobs import Job, Material
from figment.training.kinds.timm_classifier import TIMM
from figment.training.round_stages import Rounding, Stages
from figment.training.rounds import Growth
from figment.training.saved import WEIGHTS, load_model
from figment.validation.features import FeatureStore
from steps.synthesis import prepare
from steps.training import train


@step(role="train", experiment_tracker=True)
def run_rounds(
    recipe: AnyRecipe,
    labels: LabelSpace,
    data: Prepared,
    planned: FileRef,
    images: FileRef,
    verdicts: FileRef,
    classifiers: Classifiers,
    prompts: FileRef | None = None,
    adapted: Adapted | None = None,
) -> tuple[
    Annotated[FileRef, "planned"],
    Annotated[FileRef, "images"],
    Annotated[FileRef, "verdicts"],
    Annotated[Classifiers, "classifiers"],
    Annotated[FileRef, "rounds"],
]:
    """plan_rounds.parquet, the pool, verdicts.parquet and the classifiers, with what rounds add to each; rounds.json: what each
    round did. Interrupted, the next run resumes in the round that was under way."""
    file, plan, rounding = planned.open(), Path(recipe.output) / "plan_rounds.parquet", rounding_of(recipe)
    pool, scorer = Pool(images.open().parent), ClipScorer(recipe.clip)
    planning = recipe.planning
    given = given_of(labels, planning, prompts, adapted.files if adapted else ())
    renderer = prepare(file, pool, recipe, FeatureStore(pool, scorer))

    def rows(cells: Mapping[Cell, range], more: Sequence[Prompt]) -> Iterator[Row]:
        return planning.planner.rows(replace(given, prompts=[*given.prompts, *more]), planning, cells)

    def render(table: pa.Table) -> None:
        write_plan(table, plan)
        renderer(plan)

    gates, test = Gates(recipe.gates, Path(recipe.output)), test_images(labels, recipe.dataset, data)
    stages = Stages(
        material=Material(Path(recipe.output), labels, recipe.dataset, caching.cached, recipe.sets),
        pool=pool,
        scorer=scorer,
        rounding=rounding,
        rows=rows,
        render=render,
        gate=partial(gates.check_list, labels, test, pool=pool),
        do=train_tracked,
    )
    first = load_model(classifiers[rounding.first].weights.open().parent, TIMM).network
    grown = Growth(read_plan(file), pq.read_table(verdicts.open()), stages).run(first)
    found = show_missing(grown.history, stages, grown.network, grown.verdicts)
    judged, path = Path(verdicts.path), Path(recipe.output) / f"{ROUNDS_FILE}.json"
    with atomic(judged) as unfinished:
        pq.write_table(grown.verdicts, unfinished)
    caching.forget(judged)  # they are no longer those of the first plan alone
    write_json(path, found.model_dump(mode="json"))
    log_rounds(found)
    added = Classifiers(items=(*classifiers.items, *references(found, stages)), deployed=classifiers.deployed or ROUNDS)
    return FileRef.of(plan), FileRef.of(pool.manifest_file), FileRef.of(judged), added, FileRef.of(path)


def rounding_of(recipe: Any) -> Rounding:
    first = chosen_of(recipe.sets)
    return Rounding(
        rounds=recipe.rounds,
        first=first,
        shares=dict(recipe.sets[first]),
        planning=recipe.planning,
        clip=recipe.clip,
        acceptance=recipe.acceptance,
        training=recipe.trainer.as_base(TrainingConfig),
        real=recipe.dataset.real,
        review=str(recipe.review_file) if recipe.review_file else None,
    )


def train_tracked(job: Job) -> None:
    with tracking.classifier(job.name):
        train(job)


def references(found: History, stages: Stages) -> Iterator[ClassifierRef]:
    """The last round's classifier, and the control's."""
    last = found.rounds[-1]
    trained = [(ROUNDS, round_trick(last.number), last)]
    trained += [(RANDOM, RANDOM, found.control)] if found.control else []
    for name, folder, each in trained:
        weights = FileRef.of(stages.classifier(folder) / WEIGHTS)
        yield ClassifierRef(name=name, images=each.images, weights=weights)


def log_rounds(found: History) -> None:
    """Error by images, as a curve of the run."""
    for each in found.rounds:
        values = {"error": each.error[0], "rendered": each.rendered, "kept": each.kept}
        tracking.log_metrics("rounds", values | ({"gain": each.gain[0]} if each.gain else {}), each.images)
    if found.control and found.control.gain:
        control = {"random/error": found.control.error[0], "gain_over_random": found.control.gain[0]}
        tracking.log_metrics("rounds", control, found.control.images)
