"""Every image is checked against what it was asked to show, and every set that will be learned from is checked as a whole."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from figment.columns import Places
from figment.datasets.kinds import FewShotData
from figment.errors import InputError
from figment.files import atomic, write_json
from figment.keys import model_digest
from figment.labels import LabelSpace
from figment.manifests import FileRef, Prepared
from figment.ops import caching, quality, tracking
from figment.ops.gates import Check, gate
from figment.ops.set_gates import Gates, test_images
from figment.ops.steps import step
from figment.planning.plan import rechunk
from figment.reading import read_artifact
from figment.recipes.config import AnyRecipe
from figment.text import shown
from figment.training.judging import Judge
from figment.validation.gates import LOOKED_AT
from figment.validation.policies import CalibratedPolicy
from figment.validation.review import read_review
from figment.validation.validate import missed_targets
from figment.validation.verdicts import COUNTED, SCHEMA, reasons, yields


@step(role="look", experiment_tracker=True)
def validate_images(
    recipe: AnyRecipe, labels: LabelSpace, plan: FileRef, images: FileRef, data: Prepared | None = None
) -> Annotated[FileRef, "verdicts"]:
    """verdicts.parquet beside the plan: accepted with the labels to train on, or the reason why not; of reviewed images the
    person's. With a calibrated policy also thresholds.json, what it accepts each class at; with a filter, which is fitted on
    photos, filter.json, how well that is calibrated."""
    file, acceptance = plan.open(), recipe.acceptance
    path, levels = file.with_name("verdicts.parquet"), file.with_name("thresholds.json")
    decided = read_review(recipe.review_file) if recipe.review_file else {}
    quota = getattr(recipe, "quota", None)
    photos = data.photos if data and not acceptance.by_clip else None
    key = caching.result_key(
        "figment.training.judging",
        labels=labels,
        plan=plan.sha256,
        images=images.sha256,
        clip=[recipe.clip, model_digest(recipe.clip.model)],
        acceptance=acceptance,
        quota=quota,
        review=decided,
        photos=photos and photos.sha256,
    )
    written = [levels, path] if isinstance(acceptance, CalibratedPolicy) else [path]
    if not all(caching.is_current(output, key) for output in written):
        levels.unlink(missing_ok=True)
        judge = Judge(labels, recipe.clip, acceptance, recipe.dataset, photos, decided, quota)
        found = judge.verdicts(plan, images, file.parent, caching.cached)
        if found.settled:
            write_json(levels, found.settled.model_dump(mode="json"))
        if found.calibration:
            write_json(file.with_name("filter.json"), found.calibration)
            tracking.log_metrics("validation", found.calibration)
        with atomic(path) as partial:
            pq.write_table(found.verdicts, partial)
        for output in written:
            caching.mark_current(output, key)
    planned = pq.read_table(file, columns=["image_id"])["image_id"]
    check_verdicts(path, planned, labels)
    verdicts = pq.read_table(path, columns=COUNTED)
    log_verdicts(verdicts, list(decided), planned)
    if isinstance(acceptance, CalibratedPolicy):
        log_thresholds(read_artifact(levels, CalibratedPolicy), verdicts)
    return FileRef.of(path)


def check_verdicts(path: Path, planned: pa.ChunkedArray, labels: LabelSpace) -> None:
    """The gate ``verdicts``, which looks at ``LOOKED_AT`` rows at a time; the last part lacks what the plan has more."""
    places, rows = Places(planned), pq.read_metadata(path).num_rows

    def tables() -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            batches = file.iter_batches(LOOKED_AT, columns=SCHEMA.names)
            yield from rechunk((pa.Table.from_batches([batch]) for batch in batches), LOOKED_AT)

    def parts() -> Iterator[Check]:
        seen = 0
        for part in tables() if rows else [SCHEMA.empty_table()]:
            known = places.hold(part["image_id"])
            if not known.all():
                unknown = shown(part["image_id"][int(known.argmin())].as_py())
                raise InputError(f"{path}: image_id {unknown} is not in the plan; remove the file and run again")
            seen += len(part)
            table = part.to_pandas()
            suite = quality.verdict_suite(labels, len(part) if seen < rows else len(planned) - seen + len(part))
            yield Check(table.assign(label=table["labels"].str[0]), suite)

    gate("verdicts", parts(), path.parent)


def log_verdicts(verdicts: pa.Table, decided: list[str], planned: pa.ChunkedArray) -> None:
    if decided:
        known = int(Places(planned).hold(decided).sum())
        tracking.log_metrics("validation", {"reviewed": known, "reviewed_but_not_planned": len(decided) - known})
    shares = yields(verdicts, "trick") | yields(verdicts, "labels")
    numbers: dict[str, float] = {f"reason/{name}": count for name, count in reasons(verdicts).items()}
    tracking.log_metrics("validation", numbers | {f"yield/{name}": share for name, share in shares.items()})


def log_thresholds(policy: CalibratedPolicy, verdicts: pa.Table) -> None:
    tracking.log_metrics("validation", {f"threshold/{name}": t.value for name, t in policy.thresholds.items()})
    if missed := missed_targets(policy.thresholds, verdicts):
        print(
            f"warning: acceptance: no threshold is sure to reach target_precision for {', '.join(missed)}; those take "
            "what comes nearest, and more images would tell them better",
            file=sys.stderr,
        )


@step(experiment_tracker=True)
def check_images(
    recipe: AnyRecipe, labels: LabelSpace, data: Prepared, plan: FileRef, images: FileRef, verdicts: FileRef
) -> Annotated[list[str], "checked"]:
    """The gates that the sets to train on have passed: classes within their shares, nothing blank or flagged, few duplicates, no
    test image among them. Stops the run otherwise."""
    if isinstance(recipe.dataset, FewShotData) and recipe.dataset.cross_validated:
        return []  # the shots measure, and images made of them are like them
    gates, test = Gates(recipe.gates, Path(recipe.output)), test_images(labels, recipe.dataset, data)
    if isinstance(recipe.dataset, FewShotData):
        return gates.check_made(labels, test, plan, images)
    return gates.check_images(labels, test, images, verdicts, recipe.sets if recipe.trainer.exclusive else {})
