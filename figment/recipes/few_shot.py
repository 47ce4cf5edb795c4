"""The report of a few-shot run: every method on every test set, the photos with what was made of them, words and contexts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from figment.adaptation.lora import LorasFile
from figment.adaptation.textual_inversion import ConceptProbe, WordsFile
from figment.datasets.config import CROSS_VALIDATED
from figment.evaluation import verdict
from figment.evaluation.few_shot_results import BASELINE, CLIP, FewShotResults
from figment.evaluation.report import (
    EMBEDDED,
    Images,
    Report,
    Section,
    Table,
    Text,
    Thumbnail,
    curve,
    plain,
    png_uri,
    pool_uri,
    signed,
)
from figment.labels import LabelSpace
from figment.manifests import Classifiers
from figment.planning.planners import USES
from figment.planning.sample_weights import confidence_weight
from figment.prompts.contexts import read_contexts
from figment.reading import read_artifact
from figment.recipes.made import IMAGES, Made, generator_name, licences
from figment.recipes.tables import diversity_section
from figment.synthesis.sources import Sources

PHOTOS, MADE = 2, 10  # shown of a class, of a photo


def report(recipe: Any, made: Made) -> Report:
    """From the photos, FewShotResults and the heads; and, if images were made of the photos, from those, their plan, which
    method uses which (images), the filter's weights, contexts and learned words."""
    results, labels = made.read("few_shot", FewShotResults), made.get(LabelSpace)
    generated = made.file(IMAGES) is not None
    model = made.get(Classifiers)[results.deployed].weights.open().parent
    sections = [results_section(results)]
    if generated:
        groups = list(photos_with_images(made, results.deployed, not recipe.acceptance.by_clip).items())
        lead = "Framed: the photo. Under an image: the filter's weight."
        sections.append(Section(f"Photos, and what {plain(results.deployed)} made of them", [Images(groups)], lead))
    if results.diversity:
        sizes = {row.name: row.effective_size for row in results.rows}
        sections.append(diversity_section(results.diversity, "the photos of the first test set", sizes))
    sections += learned_sections(recipe, made)
    if made.file("prompts"):
        contexts = read_contexts(made.folder / "contexts.csv", labels)
        rows = [(name, " · ".join(found)) for name, found in contexts.items()]
        sections.append(Section("Prompts: contexts", [Table((), rows, kind="words")]))
    sections.append(Section("Training", [curve(made.curves(), "loss")]))
    provenance = {"photos": f"sha256 {made.file('photos').sha256}"}  # type: ignore[union-attr]  # there always are
    terms: dict[str, str] = {}
    if generated:
        provenance |= {"generator": generator_name(recipe.generator), **made.origins}
        terms = licences(recipe.generator)
        notice = Path(recipe.generator.model.removeprefix("local-dir:")) / "NOTICE"
        if notice.is_file():
            terms[f"images of {recipe.generator.model}"] = notice.read_text(encoding="utf-8")
    return Report(
        title=f"Few-shot: {results.shots} photos of each class",
        lead=f"{len(results.labels)} classes: {', '.join(results.labels)}.",
        verdict=verdict_of(results),
        sections=sections,
        model=model.as_posix(),
        provenance=provenance | {"the chain": f"figment why {model}"},
        licences=terms,
    )


def verdict_of(results: FewShotResults) -> list[verdict.Verdict]:
    """On each test set: the score of the method that is registered, and what it is beside the photos alone and beside CLIP."""
    row, subject = results[results.deployed], plain(results.deployed)
    found = []
    for test, accuracy in row.tests.items():
        of = "" if test == CROSS_VALIDATED else "photos of "
        photos = f"{results.images[test]} {of}{plain(test)}"
        found.append(verdict.score(subject, "macro accuracy", accuracy.value, accuracy.low, accuracy.high, photos))
        for rival, gain in ((f"{BASELINE} (the photos alone)", accuracy.gain), (CLIP, accuracy.over_clip)):
            if gain is not None:
                found.append(verdict.compare(subject, rival, gain, f"{of}{plain(test)}"))
    if CROSS_VALIDATED in results.images:
        text = (
            "There is no test set: classifiers that learned from neither a photo nor images made from it measure that photo. "
            "Learned words, LoRAs and the filter's weights saw all photos: methods with them may do a little less well on others."
        )
        found.append(verdict.Verdict(text=text))
    known = next(iter(results[CLIP].tests.values()))
    return found + verdict.strangers(known.value, known.high, 1 / len(results.labels))


def results_section(results: FewShotResults) -> Section:
    columns = ["trained on", "made"]
    for test, count in results.images.items():
        columns += [f"{plain(test)}, {count} photos", f"over {BASELINE}"]
    rows = []
    for row in results.rows:
        cells = [plain(row.name), "–" if row.made is None else str(row.made)]
        for test in results.images:
            found = row.tests[test]
            cells += [f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]", signed(found.gain)]
        rows.append([*cells, f"{100 * row.calibration_error:.1f}"])
    lines = {
        "photos": "macro accuracy in %: the share of right answers, in the mean over classes, with its 95 % bootstrap interval",
        "made": "images generated from the photos",
        f"over {BASELINE}": "points over the photos alone, augmented, on the same photos, with the paired interval; ?: undecided",
        "calibration error": "how far a stated probability is from the share of right answers, in %",
    }
    kept = frozenset(number for number, row in enumerate(results.rows) if row.name == results.deployed)
    lead = "One draw of shots. The marked classifier is registered; it was chosen before anything was measured."
    return Section("Macro accuracy (%)", [Table([*columns, "calibration error"], rows, lines, kept)], lead)


def learned_sections(recipe: Any, made: Made) -> list[Section]:
    """What a run learned before it made images: its filter, words, LoRAs."""
    sections = []
    if not recipe.acceptance.by_clip:
        sections.append(filter_section(read_artifact(made.folder / "filter.json", dict[str, float])))
    if made.file("words"):
        sections.append(probed_section("Adaptation: learned words", "word", made.read("words", WordsFile).probes))
    if made.file("loras"):
        sections.append(probed_section("Adaptation: learned LoRAs", "LoRA", made.read("loras", LorasFile).probes))
    return sections


def filter_section(numbers: Mapping[str, float]) -> Section:
    text = (
        f"Temperature {numbers['temperature']:.2f}; calibration error {100 * numbers['calibration_error_before']:.1f} % before, "
        f"{100 * numbers['calibration_error']:.1f} % after. It calls {100 * numbers['agreement']:.0f} % of the images by their "
        f"class; their mean weight is {numbers['mean_weight']:.2f}."
    )
    return Section("Validation: the filter", [Text(text)])


def probed_section(title: str, learned: str, probes: Mapping[str, ConceptProbe]) -> Section:
    rows = [
        (name, f"{probe.similarity:.2f}", "yes" if probe.usable else "no", probe.reason)
        for name, probe in probes.items()
    ]
    lines = {
        "likeness": f"the cosine of images of the learned {learned} and of the photos, in CLIP features",
        "used": f"whether images are made with the {learned}; otherwise prompts say the class's name alone",
    }
    return Section(title, [Table(("class", "likeness", "used", "the probe"), rows, lines, kind="words")])


def photos_with_images(made: Made, method: str, weighs: bool) -> dict[str, list[list[Thumbnail]]]:
    """By class, some photos, each with some of the images that the method made of it."""
    photos = made.path("photos")
    sources = Sources(photos.parent / "sources")
    plan = made.plan
    prompts = dict(zip(plan["image_id"].to_pylist(), plan["prompt"].to_pylist(), strict=True))
    judged = {row["image_id"]: row for row in made.table("verdicts").to_pylist()}
    of_photo: dict[int, list[str]] = {}
    for row in pq.read_table(made.folder / USES).to_pylist():
        if row["method"] == method:
            of_photo.setdefault(row["photo"], []).append(row["image_id"])
    chosen: list[tuple[str, str, Sequence[str]]] = []
    for number, photo in enumerate(made.table("photos").to_pylist()):
        if sum(label == photo["label"] for label, _, _ in chosen) < PHOTOS:
            chosen.append((photo["label"], photo["image"], of_photo.get(number, [])[:MADE]))
    wanted = list(dict.fromkeys(image_id for _, _, ids in chosen for image_id in ids))
    found = made.images(wanted)
    sheet: dict[str, list[list[Thumbnail]]] = {}
    for label, photo, ids in chosen:
        row = [Thumbnail(png_uri(sources.read(photo), EMBEDDED), "photo", f"a photo of {label}", kind="source")]
        for image_id in ids:
            verdict = judged[image_id]
            weight = f"{confidence_weight(verdict['probability']):.2f}" if weighs else ""
            caption = weight if verdict["accepted"] else plain(verdict["reason"])
            row.append(Thumbnail(pool_uri(found[image_id], image_id), caption, prompts[image_id], prompts[image_id]))
        sheet.setdefault(label, []).append(row)
    return sheet
