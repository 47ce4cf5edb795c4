"""The report of the tailored recipe: what was asked for, what passed, what tuning changed, and the measures beside CLIP's own."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from figment.adaptation.text_encoder import Tuned
from figment.evaluation import verdict
from figment.evaluation.report import (
    Images,
    Plot,
    Report,
    Section,
    Table,
    Text,
    Thumbnail,
    counts,
    curve,
    percent,
    plain,
    pool_uri,
)
from figment.labels import LabelSpace
from figment.reading import read_artifact
from figment.recipes.made import Made, licences
from figment.recipes.tables import MEASURES, epochs_section, ranked, yields_table
from figment.training.histories import HISTORY, ComparedEpochs
from figment.validation.verdicts import reasons, yields

PROTOCOLS = {"zsl": "unseen classes alone (ZSL)", "gzsl": "all classes together (GZSL)"}
SHOWN = ("mAP", "P@3", "R@3", "F1@3", "F1@5")
IMAGES, SETS = 10, 40  # shown: images of a set of labels, sets


def report(recipe: Any, made: Made) -> Report:
    """From the unseen labels, the plan, the images and their verdicts, the classifier and, if there is one, the tuning."""
    plan, judged = made.plan, made.table("verdicts")
    folder = made.model.open().parent
    history = read_artifact(folder / HISTORY, ComparedEpochs)
    tuned = made.read("tuning", Tuned) if made.file("tuning") else None
    names = made.get(LabelSpace).names
    metrics = history.test | {f"clip_{name}": value for name, value in history.clip.items()}
    metrics["validation/passed"] = sum(judged["accepted"].to_pylist()) / len(judged)
    if tuned:
        metrics |= {"adaptation/before": tuned.before.acceptance, "adaptation/after": tuned.after.acceptance}
    columns = {
        "loss": "loss",
        "validation/mAP": "validation mAP",
        "validation_seen/mAP": "of real images",
        "validation_made/mAP": "of generated ones",
    }
    sections = [
        measures_section(history),
        Section("Images", [examples(plan, judged, made)], "Framed: rejected, with what CLIP saw instead."),
        validation_section(judged, len(plan)),
        *([tuning_section(tuned)] if tuned else []),
        epochs_section(history, columns),
    ]
    encoder = (tuned.adapter if tuned else "") or "the generator's own"
    return Report(
        title="Tailored images",
        lead=f"{len(names)} unseen classes: {', '.join(names)}.",
        verdict=verdict_of(history),
        sections=sections,
        model=folder.as_posix(),
        provenance={
            **made.origins,
            "classifier": f"sha256 {made.model.sha256}",
            "text encoder": encoder,
            "the chain": f"figment why {folder}",
        },
        licences=licences(recipe.generator, *recipe.clips),
        metrics=metrics,
    )


def verdict_of(history: ComparedEpochs) -> list[verdict.Verdict]:
    """The trained classifier beside CLIP as it is, under both protocols."""
    return ranked("The trained classifier", "CLIP as it is", PROTOCOLS, history.test, history)


def measures_section(history: ComparedEpochs) -> Section:
    rows = [
        (protocol, name, *(f"{100 * row[f'{key}/{measure}']:.1f}" for measure in SHOWN))
        for key, protocol in PROTOCOLS.items()
        for name, row in (("CLIP as it is", history.clip), ("trained", history.test))
    ]
    kept = frozenset(range(1, len(rows), 2))
    text = (
        f"{history.made} accepted images of unseen classes joined the real ones of seen classes. The test images were used "
        "once: the epoch is chosen by real and generated images that were held out."
    )
    table = Table(("ranked", "", *SHOWN), rows, MEASURES, kept)
    heading = f"Measures of epoch {history.kept}, the one that validates best (%)"
    return Section(heading, [table, Text(text)])


def validation_section(judged: pa.Table, planned: int) -> Section:
    text = f"{planned} images were asked for: {counts(reasons(judged))}."
    return Section("Validation", [Text(text), yields_table(yields(judged, "labels"))])


def tuning_section(tuned: Tuned) -> Section:
    heading, before, after = "Adaptation: the text encoder", tuned.before, tuned.after
    kept = f"Step {tuned.kept_step} was kept." if tuned.adapter else "No step was better than the base."
    kept = kept if tuned.history else "The encoder was imported; nothing was tuned."
    skipped = f" {tuned.skipped} steps were skipped: their gradient was not finite." if tuned.skipped else ""
    text = (
        f"On prompts that neither tuned nor chose, {percent(before.acceptance)} of images passed before and "
        f"{percent(after.acceptance)} after; CLIP score {before.clip_score:.3f} before and {after.clip_score:.3f} after. "
        f"{kept}{skipped}"
    )
    classes = [(name, percent(share), percent(after.by_label[name])) for name, share in before.by_label.items()]
    if not tuned.history:
        return Section(heading, [Text(text), Table(("class", "before", "after"), classes)])
    measures = ("acceptance", "probability", "clip_score", "drift")
    steps = [(str(int(row["step"])), *(f"{row[name]:.3f}" for name in measures)) for row in tuned.history]
    marked = frozenset(number for number, row in enumerate(tuned.history) if row["step"] == tuned.kept_step)
    lines = {
        "acceptance": "the share of images that pass",
        "probability": "that CLIP gives what was asked for, in the mean",
        "CLIP score": "the cosine of image and prompt",
        "drift": "how far the encoder has moved from the base",
    }
    points = [(int(row["step"]), row) for row in tuned.history]
    blocks: list[Text | Table | Plot] = [
        Text(text),
        Table(("class", "before", "after"), classes),
        curve({"held-out prompts": points}, "acceptance", "tuning step"),
        Table(("step", *map(plain, measures[:2]), "CLIP score", "drift"), steps, lines, marked),
    ]
    return Section(heading, blocks)


def examples(plan: pa.Table, verdicts: pa.Table, made: Made) -> Images:
    """For the first sets of labels some of their images, rejected ones last."""
    by_labels: dict[str, list[dict]] = defaultdict(list)
    for judged in verdicts.to_pylist():
        by_labels[" and ".join(judged["labels"])].append(judged)
    chosen = {
        name: sorted(rows[:IMAGES], key=lambda row: not row["accepted"])
        for name, rows in sorted(by_labels.items())[:SETS]
    }
    ids = [row["image_id"] for rows in chosen.values() for row in rows]
    part = plan.filter(pc.is_in(plan["image_id"], pa.array(ids, pa.string())))
    prompts = dict(zip(part["image_id"].to_pylist(), part["prompt"].to_pylist(), strict=True))
    images = made.images(ids)

    def thumbnail(judged: Mapping[str, Any]) -> Thumbnail:
        image_id, prompt = judged["image_id"], prompts[judged["image_id"]]
        uri = pool_uri(images[image_id], image_id)
        if judged["accepted"]:
            short = prompt if len(prompt) <= 60 else f"{prompt[:57]}..."
            return Thumbnail(uri, short, prompt, f"{prompt} | {image_id}")
        seen = f", sees {', '.join(judged['predicted'])}" if judged["predicted"] else ""
        return Thumbnail(uri, plain(judged["reason"]) + seen, prompt, f"{prompt} | {image_id}", kind="rejected")

    return Images([(name, [list(map(thumbnail, rows))]) for name, rows in chosen.items()])
