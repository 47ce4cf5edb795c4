"""The report of the bag of tricks: one classifier a trick and a union of tricks, beside CLIP and the real-trained bound."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from figment.evaluation import verdict
from figment.evaluation.errors import WorstError
from figment.evaluation.provenance import span
from figment.evaluation.report import (
    Cell,
    Images,
    Plot,
    Report,
    Section,
    Table,
    Text,
    Thumbnail,
    contact_sheet,
    counts,
    curve,
    percent,
    plain,
    png_uri,
    pool_uri,
    signed,
)
from figment.evaluation.results import CHANCE, CLIP, Results
from figment.evaluation.rounds import ROUNDS_FILE, RoundsFile, rounds_section, sentences
from figment.manifests import Classifiers
from figment.reading import read_artifact
from figment.recipes.made import Made, generator_name, licences
from figment.recipes.tables import diversity_section
from figment.validation.verdicts import reasons, yields

ACCEPTED, REJECTED = 12, 6  # images a class
REVIEWING = "Some of each class. All images, to be kept or dropped against CLIP: review.html beside this page."
HELP = {
    "top-1": "the share of real images whose most probable class is the right one",
    "95 % interval": "where top-1 lies for other test images of the same kind (bootstrap)",
    "over base class": "points of top-1 over the simplest prompts on the same images, with the paired interval; ?: undecided",
    "gap closed": "how much of the way from base class to the classifier trained on real images",
    "calibration error": "how far a stated probability is from the share of right answers, in the mean",
}


def report(recipe: Any, made: Made) -> Report:
    """From the plan, the images and their verdicts, the classifiers, Results and their worst errors."""
    plan, judged, results = made.plan, made.table("verdicts"), made.read("results", Results)
    chosen = pick_thumbnails(plan, judged, made, ACCEPTED, REJECTED)
    accepted, rejected = (
        Images([(label, [chosen.get((label, kept), [])]) for label in results.labels]) for kept in (True, False)
    )
    rounds = made.read(ROUNDS_FILE, RoundsFile) if made.file(ROUNDS_FILE) else None
    model = made.get(Classifiers)[results.confusion_of].weights.open().parent
    sections = [
        results_section(results),
        *(rounds_sections(rounds) if rounds else []),
        Section("Accepted images", [accepted], REVIEWING),
        Section("Rejected images, and why", [rejected]),
        *looked_at_closer(results, made),
        Section("Validation", validation(judged)),
        Section("What was asked", [asked(plan), Table((), list(choices(recipe).items()), kind="words")]),
        training_section(made),
    ]
    return Report(
        title="Figment: bag of tricks",
        lead=f"{len(results.labels)} classes: {', '.join(results.labels)}. Tested on {results.test_images} real images.",
        verdict=[*verdict_of(results), *(sentences(rounds) if rounds else [])],
        sections=sections,
        model=model.as_posix(),
        provenance={**made.origins, "the chain": f"figment why {model}"},
        licences=licences(recipe.generator, recipe.clip),
        logged={
            "accepted.png": contact_sheet(accepted, ACCEPTED),
            "rejected.png": contact_sheet(rejected, REJECTED),
        },
        price_per_hour=recipe.synthesis.price_per_hour,
    )


def looked_at_closer(results: Results, made: Made) -> list[Section]:
    """The errors of the classifier that is registered, class by class, and how varied the sets are."""
    name = results.confusion_of
    errors = read_artifact(made.folder / "errors.json", list[WorstError])
    drawn = Plot("t-SNE of CLIP features", uri=png_uri(Image.open(made.folder / "feature_map.png")))
    return [
        *([errors_section(errors, name)] if errors else []),
        Section("Top-1 by class (%)", [by_class(results)]),
        Section(f"Confusion of {plain(name)}", [confusion(results)], "Rows: the true class."),
        *([diversity_section(results.diversity, "real images")] if results.diversity else []),
        Section(f"Real and synthetic features ({plain(name)})", [drawn]),
    ]


def training_section(made: Made) -> Section:
    histories = made.curves()
    measured = {name for history in histories.values() for _, values in history for name in values}
    return Section("Training", [curve(histories, name) for name in ("loss", "validation_top1") if name in measured])


def choices(recipe: Any) -> dict[str, str]:
    """In words."""
    clip = f"CLIP {recipe.clip.model} {recipe.clip.pretrained or ''}".rstrip()
    judge = clip if recipe.acceptance.by_clip else "a filter fitted on photos"
    return {
        "generator": generator_name(recipe.generator),
        "checked by": f"{judge}: {recipe.acceptance.rule}",
        "reviewed": f"by a person, in {recipe.review_file}" if recipe.review_file else "no",
        "classifier": recipe.trainer.title,
    }


def verdict_of(results: Results) -> list[verdict.Verdict]:
    """The score of the classifier that is registered, then what it is beside each rival that was measured with it."""
    row, subject = results[results.confusion_of], plain(results.confusion_of)
    said = [verdict.score(subject, "top-1", row.top1, row.low, row.high, f"{results.test_images} real images")]
    said += [verdict.compare(subject, plain(rival), gain) for rival, gain in results.gains.items()]
    if not results.gains:
        chance = results[CHANCE].top1
        said.append(verdict.compare(subject, CHANCE, (row.top1 - chance, row.low - chance, row.high - chance)))
    return said + verdict.strangers(results[CLIP].top1, results[CLIP].high, results[CHANCE].top1)


def results_section(results: Results) -> Section:
    rows = [
        (
            plain(row.name),
            "–" if row.images is None else str(row.images),
            Cell(percent(row.top1), strong=True),
            "" if row.low == row.high else f"{100 * row.low:.1f} – {100 * row.high:.1f}",
            Cell("", bar=row.top1),
            signed(row.gain),
            percent(row.gap_closed, 0),
            percent(row.calibration_error),
        )
        for row in results.rows
    ]
    columns = ("trained on", "images", "top-1", "95 % interval", "", *list(HELP)[2:])
    kept = frozenset(number for number, row in enumerate(results.rows) if row.name == results.confusion_of)
    lead = "The marked classifier is registered; it was chosen before anything was measured."
    return Section("Results", [Table(columns, rows, HELP, kept).filled()], lead)


def by_class(results: Results) -> Table:
    rows = [
        (plain(row.name), *(f"{100 * share:.0f}" for share in row.per_class)) for row in results.rows if row.per_class
    ]
    return Table(("trained on", *results.labels), rows)


def confusion(results: Results) -> Table:
    rows: list[tuple[str | Cell, ...]] = []
    for label, line in zip(results.labels, results.confusion, strict=True):
        total = sum(line) or 1
        rows.append((label, *(Cell(str(count or ""), heat=count / total) for count in line)))
    return Table(("", *results.labels), rows, kind="matrix")


def rounds_sections(found: RoundsFile) -> list[Section]:
    """What each round did; and beside each other, what a class really looks like and how the generator draws it."""
    lead = "Real validation images of classes that only its own images teach it, each with the nearest of those."
    shown = [Section("Missing modes", [error_images(found.shown, "real image")], lead)] if found.shown else []
    return [rounds_section(found), *shown]


def errors_section(errors: Sequence[WorstError], name: str) -> Section:
    lead = (
        "Real test images it is surest of and wrong about, each with the nearest of the images it was trained on (cosine of "
        "CLIP features)."
    )
    return Section(f"Worst errors of {plain(name)}", [error_images(errors, "test image")], lead)


def error_images(errors: Sequence[WorstError], what: str) -> Images:
    """``what``: the caption of each wrong image."""
    groups = []
    for error in errors:
        taken = f"{error.truth}, taken for {error.predicted} ({error.probability:.2f})"
        near = [
            Thumbnail(n.uri, f"{n.label}, {plain(n.trick)} ({n.similarity:.2f})", n.label, n.image_id[:12])
            for n in error.neighbours
        ]
        wrong = Thumbnail(error.uri, what, taken, error.where, kind="source")
        groups.append((taken, [[wrong, *near]]))
    return Images(groups)


def validation(judged: pa.Table) -> list[Table | Text]:
    tables: list[Table | Text] = [Text(f"{counts(reasons(judged))}.")]
    for by, column in (("trick", "trick"), ("label", "labels")):
        rows = [(plain(name), percent(share, 0), Cell("", bar=share)) for name, share in yields(judged, column).items()]
        tables.append(Table((by, "accepted", ""), rows))
    return tables


def asked(plan: pa.Table, examples: int = 3) -> Table:
    """The plan in a few lines: for each trick its images, how they are made, and some of its prompts."""
    rows = []
    for trick in sorted(plan["trick"].unique().to_pylist()):
        part = plan.filter(pc.equal(plan["trick"], trick))
        prompts = sorted(part["prompt"].unique().to_pylist())
        steps, guidance, width, height = (
            span(part[name]) for name in ("num_inference_steps", "guidance_scale", "width", "height")
        )
        such = ", ".join(f"“{prompt}”" for prompt in prompts[:examples])
        how = f"{span(part['scheduler'])}, {steps} steps, guidance {guidance}, {width} x {height} px"
        rows.append((plain(trick), f"{len(part)} images from {len(prompts)} prompts such as {such}; {how}"))
    return Table((), rows, kind="words")


def pick_thumbnails(
    plan: pa.Table, verdicts: pa.Table, made: Made, accepted: int, rejected: int
) -> dict[tuple[str, bool], list[Thumbnail]]:
    """By class and whether they passed, up to ``accepted`` or ``rejected`` images, spread over the tricks."""
    queues: dict[tuple[str, bool], dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for judged in verdicts.to_pylist():
        queues[judged["labels"][0], judged["accepted"]][judged["trick"]].append(judged)
    chosen = {
        (label, passed): _round_robin(list(by_trick.values()))[: accepted if passed else rejected]
        for (label, passed), by_trick in queues.items()
    }
    ids = [judged["image_id"] for group in chosen.values() for judged in group]
    rows = {
        row["image_id"]: row for row in plan.filter(pc.is_in(plan["image_id"], pa.array(ids, pa.string()))).to_pylist()
    }
    images = made.images(ids)
    return {
        group: [_thumbnail(judged, rows[judged["image_id"]], images[judged["image_id"]]) for judged in found]
        for group, found in chosen.items()
    }


def _thumbnail(judged: Mapping[str, Any], row: Mapping[str, Any], image: Mapping[str, Any]) -> Thumbnail:
    image_id, probability = judged["image_id"], f"{judged['probability']:.2f}"
    title = f"{row['prompt']} | guidance {row['guidance_scale']} | p = {probability} | {image_id[:12]}"
    uri = pool_uri(image, image_id)
    if judged["accepted"]:
        return Thumbnail(uri, plain(judged["trick"]), row["prompt"], title)
    seen = f": {judged['predicted'][0]}" if judged["reason"] == "wrong_class" else ""
    why = f"{plain(judged['reason'])}{seen} ({probability})"
    return Thumbnail(uri, why, row["prompt"], title, "rejected")


def _round_robin(groups: Sequence[Sequence[dict]]) -> list[dict]:
    longest = max(map(len, groups), default=0)
    return [group[i] for i in range(longest) for group in groups if i < len(group)]
