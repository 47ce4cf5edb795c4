"""The report of a semantic matrix: its measures, how they came about, and tagged test images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from figment.datasets.tagged import TaggedImages, read_tagged
from figment.evaluation import verdict
from figment.evaluation.report import Images, Report, Section, Table, Text, Thumbnail, counts, png_uri
from figment.evaluation.row_spread import spread_correlation
from figment.evaluation.tagging import Tagger, load_tagger, predict_tags, render_tags
from figment.reading import read_artifact
from figment.recipes.made import IMAGES, Made, licences
from figment.recipes.tables import MEASURES, epochs_section, ranked, yields_table
from figment.training.histories import HISTORY, Epochs
from figment.validation.verdicts import reasons, yields

PROTOCOLS = {
    "validation": "held-out training images, seen labels",
    "zsl": "unseen labels alone (ZSL)",
    "zsl_twin_free": "unseen labels without a near-synonym among the seen",
    "gzsl": "all labels together (GZSL)",
}
TAGS, EXAMPLES = 5, 12  # tags an image, images


def report(recipe: Any, made: Made) -> Report:
    """From the splits, the trained matrix and, if images were generated, from their verdicts. The test images were measured
    in every epoch but chose none."""
    folder = made.model.open().parent
    test, tagger = read_tagged(made.path("splits").parent / "gzsl"), load_tagger(folder)
    history, splits = read_artifact(folder / HISTORY, Epochs), made.read("splits", dict[str, Any])
    correlation = spread_correlation(tagger.model, test, tagger.labels)
    kept = history.epochs[history.kept - 1]
    metrics = {name: value for name, value in kept.items() if "/" in name}
    metrics |= {"row_spread/all": correlation.all, "row_spread/two_or_more": correlation.with_two_or_more}
    metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
    seen, unseen = ([name for name in tagger.labels.names if (name in tagger.unseen) is kind] for kind in (False, True))
    rows = list(range(0, len(test), max(1, len(test) // EXAMPLES)))[:EXAMPLES]
    columns = {"loss": "loss", **{f"{name}/mAP": f"{name} mAP" for name in protocols(metrics)}}
    sections = [measures_section(history.kept, metrics), examples_section(tagger, test, rows)]
    if made.file("verdicts"):
        judged = made.table("verdicts")
        text = f"Images in which CLIP does not see what was asked for are not trained on: {counts(reasons(judged))}."
        accepted = {name: share for name, share in yields(judged, "labels").items() if name in unseen}
        sections.append(Section("Validation: images generated for unseen labels", [Text(text), yields_table(accepted)]))
    sections.append(epochs_section(history, columns))
    return Report(
        title="Semantic diversity",
        lead=f"{len(seen)} seen labels: {', '.join(seen)}. {len(unseen)} unseen labels: {', '.join(unseen)}.",
        verdict=verdict_of(history),
        sections=sections,
        model=folder.as_posix(),
        provenance={
            "images of each set": ", ".join(f"{count} {name}" for name, count in splits["images"].items()),
            "of them generated for unseen labels": str(splits["made"]),
            **made.origins,
            "weights": f"sha256 {made.model.sha256}",
            "the chain": f"figment why {folder}",
        },
        licences=licences(recipe.generator, *recipe.clips) if made.file(IMAGES) else {},
        metrics=metrics,
    )


def verdict_of(history: Epochs) -> list[verdict.Verdict]:
    """The matrix beside a ranking by chance, of the unseen labels and of all."""
    kept, both = history.epochs[history.kept - 1], {name: PROTOCOLS[name] for name in ("zsl", "gzsl")}
    return ranked("The matrix", "a ranking by chance", both, kept, history)


def protocols(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: text for name, text in PROTOCOLS.items() if f"{name}/mAP" in metrics}


def measures_section(kept: int, metrics: Mapping[str, float]) -> Section:
    """``metrics`` are ``PROTOCOL/MEASURE`` of the kept epoch."""
    measures = [name.partition("/")[2] for name in metrics if name.startswith("gzsl/")]
    rows = [
        (text, *(f"{100 * metrics[f'{name}/{measure}']:.1f}" for measure in measures))
        for name, text in protocols(metrics).items()
    ]
    correlation = metrics.get("row_spread/two_or_more")
    found = (
        "there is no correlation to report, one of the two never varies"
        if correlation is None
        else f"the rank correlation of row spread with tag diversity is {correlation:.2f} among images with two tags or more"
    )
    text = f"A protocol leaves out the images without any of its labels. Rows of the matrix and tags: {found}."
    heading = f"Measures of epoch {kept}, the one that validates best (%)"
    return Section(heading, [Table(("ranked", *measures), rows, MEASURES), Text(text)])


def examples_section(tagger: Tagger, test: TaggedImages, rows: Sequence[int]) -> Section:
    images = [Image.fromarray(test.pixels[row].permute(1, 2, 0).numpy()) for row in rows]
    truth = [[tagger.labels.names[j] for j in (test.targets[row] > 0).nonzero().flatten().tolist()] for row in rows]
    shown = []
    for image, tags, labels in zip(images, predict_tags(tagger, images, TAGS), truth, strict=True):
        alt = f"a test image tagged {', '.join(tag.tag for tag in tags)}"
        shown.append(Thumbnail(png_uri(render_tags(image, tags)), ", ".join(labels), alt))
    lead = "Unseen tags are between stars; tags of one row share a direction of meaning. Below each: what it shows."
    return Section("Test images and their best tags", [Images([("", [shown])], natural=True)], lead)
