"""The sections of docs/results.md on rounds and on clicks."""

from collections.abc import Iterator

import pandas as pd

from benchmarks.tables.statistics import mean


def rounds_section(table: pd.DataFrame) -> Iterator[str]:
    """Rounds against as many random images."""
    seeds = sorted(table["seed"].unique())
    yield f"""
## Rounds by what the classifier gets wrong, against as many random images

`python -m benchmarks.rounds`, seeds {", ".join(map(str, seeds))}. The pocket recipe, smaller: 8 images of a class in each of
four tricks, 200 updates for those, as many an image afterwards; three rounds of 100 images, four times as many rendered;
CLIP's check on. Rounds choose by the 300 validation images; the test images are looked at once. Brackets: 95 % of the paired
bootstrap over the test images.
"""
    yield "| seed | trained on | images | rendered for it | validation, % | test, % | last round over this, points |"
    yield "|---|---|---|---|---|---|---|"
    for row in table.to_dict("records"):
        last = row["last over this"] == row["low"] == row["high"] == 0
        gain = (
            ""
            if last
            else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * row[n] for n in ("last over this", "low", "high")))
        )
        shares = f"{100 * row['validation']:.1f} | {100 * row['top1']:.1f}"
        name = str(row["trained on"]).replace("_", " ")
        yield f"| {row['seed']} | {name} | {row['images']} | {row['rendered'] or ''} | {shares} | {gain} |"
    over = table[table["trained on"] == "random extra"]["last over this"]
    found = mean(100 * over)
    interval = f" [{found.low:+.1f}, {found.high:+.1f}]" if len(over) > 1 else ""
    yield f"""
The last round is {found.value:+.1f} points{interval} from as many random images (Student interval over {len(over)} seeds)."""
    missing = sorted({name for text in table["missing"].dropna() for name in str(text).split(", ") if name})
    yield f"Missing modes that the rounds named: {', '.join(missing) or 'none'}."


def asking_section(table: pd.DataFrame) -> Iterator[str]:
    """Clicks to two shots a class."""
    yield """
## Clicks to two shots a class

`python -m benchmarks.asking` (after `python -m benchmarks.rounds`, whose first classifiers disagree with CLIP here). Who answers
the page of `figment ask` knows the classes: one click names a group if most of its four images are of one class that still lacks
shots, one more takes each odd one out. The heads are linear, on CLIP's features of the generated images and the shots; a class's
shots weigh as much as its generated images. `drawn by label`: two of each class by their true labels, which no one has.
"""
    yield "| seed | groups | clicks | shots | classes with two | groups pure, % | no shots, % | asked, % | drawn by label, % |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in table.to_dict("records"):
        heads = " | ".join(f"{100 * row[f'top1 {name}']:.1f}" for name in ("no shots", "asked", "drawn by label"))
        yield (
            f"| {row['seed']} | {row['clusters']} | {row['clicks']} | {row['shots']} | {row['classes with two']} | "
            f"{100 * row['pure']:.0f} | {heads} |"
        )
