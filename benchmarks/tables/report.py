"""docs/results.md, from the CSVs of all seeds."""

import json
import math
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.tables.by_error import asking_section, rounds_section
from benchmarks.tables.recipes import (
    ARCHITECTURES,
    BEST,
    BOUNDS,
    PERFECT,
    PERFECT_AND_REAL,
    REAL,
    sets,
    table2_training,
)
from benchmarks.tables.statistics import Mean, difference, gap_closed, mean, rank_correlation, verdict
from benchmarks.tables.world import PER_CLASS, World
from figment.datasets.config import RealConfig
from figment.evaluation.results import CLIP
from figment.files import write_text
from figment.planning.bag_of_tricks import CLIP_UNLABELLED, FIXED, FUSED, students_of

BASE = "base_class"
FIXED_BEST = FIXED.format(BEST)
# first, second, and how far apart the paper has them (points; its table 2, one run each)
ORDERS = [
    ("random_guidance", BASE, {"CIFAR-10": 12.43, "CIFAR-100": 1.47, "EuroSAT": 4.0}),
    ("multi_domain", BASE, {"CIFAR-10": 7.47, "CIFAR-100": 2.83, "EuroSAT": -0.5}),
    ("class_prompt", BASE, {"CIFAR-10": 1.82, "CIFAR-100": -3.32}),
    ("random_guidance", "multi_domain", {"CIFAR-10": 4.96, "CIFAR-100": -1.36, "EuroSAT": 4.5}),
    (BEST, BASE, {"CIFAR-10": 20.5, "CIFAR-100": 15.91, "EuroSAT": 3.74}),
    (BEST, "random_guidance", {"CIFAR-10": 8.07, "CIFAR-100": 14.44, "EuroSAT": -0.26}),
    ("random guidance x2", "random_guidance", {"EuroSAT": 2.41}),
    (FIXED_BEST, BASE, {}),
    (FIXED_BEST, "random_guidance", {}),
    (BEST, "base class x4", {}),
]
PAPERS_GAINS = {  # table 3: from base class to the best set on CIFAR-10
    "resnet50": 20.5, "resnet101": 20.95, "vit_base_patch16_224": 33.38, "mobilenetv3_small_100": 23.33,
    "convnext_small": 30.95,
}  # fmt: skip
MEASURES = {"vendi": "Vendi score", "distance": "mean distance", "recall": "recall", "coverage": "coverage"}


def write_results(folder: Path, page: Path) -> None:
    """Write ``page`` from the tables that ``folder`` holds."""
    parts = [HEAD]
    for name, section in SECTIONS.items():
        if (folder / f"{name}.csv").is_file():
            parts += section(pd.read_csv(folder / f"{name}.csv"))
    write_text(page, "\n".join(parts) + "\n")


HEAD = f"""# Results

The tables of "Diversity is Definitely Needed" in miniature: ten classes of the pocket world, {PER_CLASS} images of a class in a
set of size one, nothing filtered, measured on 800 images by artists whom neither the generator nor CLIP ever saw. Written
from the CSVs in benchmarks/results/, which hold every seed, by

    make tables    # goes on where it was interrupted

A seed decides the images' noise and the classifier's weights, order and augmentation. Brackets and +- are 95 % Student
intervals over seeds; differences are paired by seed. Training settings are frozen within a table: only the images change.
The paper's numbers are single runs on other data: orders can be compared with them, sizes cannot. Its anti-aliasing row has no
counterpart: these images are rendered at the size they are trained at.

Table 2 is measured with the embedded models of 2026-11-27 (five teachers, four artists who measure) and has two seeds so far. The
other tables are of the models of 2026-11-20 (two teachers, one who measures), whose real images showed the glyphs of the test."""


def section2(table: pd.DataFrame) -> Iterator[str]:
    training = table2_training(World())
    seeds = table.loc[table["recipe"] == BASE, "seed"].nunique()
    clip = table.loc[table["recipe"] == "CLIP zero-shot", "top1"].iloc[0]
    synthetic = [name for name in sets() if name in set(table["recipe"])]
    size_one = [name for name in synthetic if sum(sets()[name].values()) == PER_CLASS]
    yield "\n## Every trick, alone and combined (the paper's table 2)\n"
    yield paragraph(
        f"`{training.model}`, {training.steps} updates of {training.batch_size} images, {seeds} seeds. CLIP itself, "
        f"zero-shot: {100 * clip:.1f} %. Diversity is measured at {PER_CLASS} images of a class in every set, so that size "
        "does not count."
    )
    bounds = [name for name in BOUNDS if name in set(table["recipe"])]
    yield paragraph(
        f"Bounds: {PERFECT}, renders of the drawings that taught the generator, as many as {BEST} has; {REAL}, few images of "
        f"other real drawings than the test's, which synthesis can beat; {PERFECT_AND_REAL}. The gap is that from base class "
        "to the first and to the last of them."
    )
    yield (
        "| trained on | images | top-1, % | over base class | gap closed to perfect, % | to perfect + real, % | "
        + ("Vendi | distance | recall | coverage |")
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in [*synthetic, *bounds]:
        own = table[table["recipe"] == name]
        gain = "" if name == BASE else signed(difference(table, name, BASE))
        closed = [
            plus_minus(gap_closed(table, name, BASE, bound)) if bound in bounds and name not in (BASE, bound) else ""
            for bound in (PERFECT, PERFECT_AND_REAL)
        ]
        ledger = [""] * len(MEASURES) if name in BOUNDS else [f"{own[f'{m}_equal'].mean():.3g}" for m in MEASURES]
        cells = [name.replace("_", " "), f"{own['images'].mean():.0f}", plus_minus(mean(own["top1"])), gain, *closed]
        yield f"| {' | '.join([*cells, *ledger])} |"
    if "per_class" in table:
        yield from classes(table, [*synthetic, *bounds])
    yield "\n" + paragraph(
        "**The paper's thesis in one number**: Spearman's rank correlation of a set's diversity with the accuracy of what "
        f"learns from it, over the {len(size_one)} sets of equal size, and over all {len(synthetic)} with each as large as it is."
    )
    yield "| diversity | equal size, means over seeds | equal size, in each seed | as large as they are |"
    yield "|---|---|---|---|"
    for measure, title in MEASURES.items():
        equal, each = rank_correlation(table, size_one, f"{measure}_equal")
        as_is, _ = rank_correlation(table, synthetic, measure)
        yield f"| {title} | {equal:+.2f} | {each.value:+.2f} [{each.low:+.2f}, {each.high:+.2f}] | {as_is:+.2f} |"
    yield "\n**Orders.** An order of the paper holds, or is reversed, if the interval here excludes zero.\n"
    yield "| first against second | the paper, points | here, points | the paper's order |\n|---|---|---|---|"
    for first, second, papers in ORDERS:
        if {first, second} <= set(synthetic):
            found = difference(table, first, second)
            said = ", ".join(f"{where} {by:+.1f}" for where, by in papers.items()) or "not measured"
            outcomes = ", ".join(f"{where}: {verdict(found, 1 if by > 0 else -1)}" for where, by in papers.items())
            names = f"{first} against {second}".replace("_", " ")
            yield f"| {names} | {said} | {signed(found)} | {outcomes or 'a control'} |"


def classes(table: pd.DataFrame, recipes: list[str]) -> Iterator[str]:
    """Top-1 of every class, mean over seeds, and which three are worst."""
    names = World().space.names
    yield "\n**Class by class**, top-1 in %, means over seeds.\n"
    yield f"| trained on | {' | '.join(names)} | worst three |"
    yield "|---" * (len(names) + 2) + "|"
    for recipe in recipes:
        rows = table.loc[table["recipe"] == recipe, "per_class"].map(json.loads)
        means = [sum(values) / len(rows) for values in zip(*rows, strict=True)]
        worst = sorted(zip(means, names, strict=True))[:3]
        cells = [*(f"{100 * value:.0f}" for value in means), ", ".join(name for _, name in worst)]
        yield f"| {recipe.replace('_', ' ')} | {' | '.join(cells)} |"


def section3(table: pd.DataFrame) -> Iterator[str]:
    short = next(iter(ARCHITECTURES.values()))
    yield f"\n## Five architectures, base class against {BEST} (the paper's table 3)\n"
    yield paragraph(
        "At 32 px as the paper has them, nothing adapted (ViT-B sees four patches), from random weights. One short recipe: "
        f"batch {short.batch_size}, one cycle, weight decay {short.weight_decay}; updates and rate as listed, the same "
        "for both sets. That is what a CPU affords, and far from trained: the larger set is gone through a quarter as often, so "
        "a loss here may be one of updates, not of images."
    )
    heads = f"base class, % | {BEST}, % | gain here | on CIFAR-10 in the paper | the paper's order"
    yield f"| network | seeds | updates | rate | {heads} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for model, config in ARCHITECTURES.items():
        own = table[table["model"] == model]
        both = own[own.groupby("seed")["recipe"].transform("nunique") == 2]
        if len(both):
            base, best = (mean(both.loc[both["recipe"] == name, "top1"]) for name in (BASE, BEST))
            numbers = f"{both['seed'].nunique()} | {config.steps} | {config.learning_rate:g}"
            gain = difference(both, BEST, BASE)
            outcome = f"{signed(gain)} | {PAPERS_GAINS[model]:+.1f} | {verdict(gain, 1)}"
            yield f"| {model} | {numbers} | {plus_minus(base)} | {plus_minus(best)} | {outcome} |"


def latent_section(table: pd.DataFrame) -> Iterator[str]:
    yield "\n## Little spread against much, from the same real images (sec. 4.2.2)\n"
    yield paragraph(
        "Points among the CLIP embeddings of 60 real images of a class: within the hull of all (weights from Dirichlet(1)), "
        "or among three drawn at random. The pocket generator reads only text, so a linear map, fitted on images of the "
        "world that it learned from and their captions, says each point in its text encoder's states (it explains "
        f"{100 * table['captions_explained'].mean():.0f} % of their variance on new images). That is a stand-in for a "
        "generator conditioned on image embeddings, not one."
    )
    yield "| points | seeds | spread | expected | Vendi | recall | CLIP sees the class, % | top-1, % | in the paper, % |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for sampler, paper in (("hull", 35.01), ("triples", 52.6)):
        own = table[table["recipe"] == sampler]
        means = own.mean(numeric_only=True)
        yield (
            f"| {sampler} | {len(own)} | {means['spread']:.4f} | {means['expected_spread']:.4f} | {means['vendi']:.2f} | "
            f"{means['recall']:.2f} | {100 * means['clip_agrees']:.1f} | {plus_minus(mean(own['top1']))} | {paper} |"
        )
    ratio = table.groupby("recipe")["spread"].mean()
    found = difference(table, "triples", "hull")
    yield "\n" + paragraph(
        "Spread is the mean squared distance from the class's mean embedding; the ratio is "
        f"{ratio['triples'] / ratio['hull']:.1f} (expected 29.98). Triples against hull: {signed(found)} points "
        f"({verdict(found, 1)}; the paper +17.6)."
    )


def better_section(table: pd.DataFrame) -> Iterator[str]:
    names, seeds = list(dict.fromkeys(table["recipe"])), table["seed"].nunique()
    yield "\n## Better than CLIP? Unlabelled images of the target, and two shots a class\n"
    yield paragraph(
        f"`python -m benchmarks.tables better`: the demo's recipe and filter, {seeds} seeds. The 1,000 unlabelled images and "
        "the shots show other drawings than the test's, and than those of the validation images, by which rounds, teachers, "
        "EM's pull and the student's adapted statistics were chosen, on seed 0; nothing else was tuned. A row fused with CLIP "
        "adds its log-probabilities to the classifier's: one saved model. Validation and calibration error are means over "
        "seeds; ms are of one image alone, medians over seeds, on a CPU that other work shared."
    )
    rivals = (BASE, CLIP, CLIP_UNLABELLED)
    over = " | ".join(f"over {name.replace('_', ' ')}" for name in rivals)
    yield f"| trained on | images | top-1, % | {over} | validation, % | calibration error, % | MB | ms |"
    yield "|---" * 10 + "|"
    for name in names:
        own = table[table["recipe"] == name]
        gains = ["" if name == rival else signed(difference(table, name, rival)) for rival in rivals]
        numbers = [f"{100 * own[column].mean():.1f}" for column in ("validation", "calibration_error")]
        cost = [f"{own[column].median():.1f}" for column in ("megabytes", "milliseconds")]
        cells = [
            name.replace("_", " "),
            f"{own['images'].mean():.0f}",
            plus_minus(mean(own["top1"])),
            *gains,
            *numbers,
            *cost,
        ]
        yield f"| {' | '.join(cells)} |"
    student = students_of(RealConfig(path=".", unlabelled="more"), BEST)[0]
    pairs = [(student, BEST), (student, PERFECT), (student, CLIP), (FUSED.format(student), CLIP_UNLABELLED)]
    yield (
        "\n"
        + paragraph(
            "; ".join(
                f"{first} against {second}: {signed(difference(table, first, second))}" for first, second in pairs
            )
            + " points. Nothing is decided where an interval holds 0. The limit: the drawings of the unlabelled images "
            "and of the shots are others than the test's, so what is learned of them carries over in part."
        ).rstrip()
    )
    yield from classes(table, names)


def paragraph(text: str) -> str:
    """Wrapped, and an empty line after it."""
    return textwrap.fill(text, 127) + "\n"


def plus_minus(found: Mean) -> str:
    """In percent."""
    return f"{100 * found.value:.1f}" + ("" if math.isnan(found.low) else f" +- {100 * found.half:.1f}")


def signed(found: Mean) -> str:
    """In points."""
    interval = "" if math.isnan(found.low) else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.value:+.1f}{interval}"


SECTIONS = {
    "table2": section2,
    "table3": section3,
    "latent": latent_section,
    "better": better_section,
    "rounds": rounds_section,
    "asking": asking_section,
}
