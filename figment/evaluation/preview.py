"""A first look at a plan before all of it is rendered: its prompts, and some images of every set on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from rich import table as console
from rich.text import Text

from figment.evaluation.report import Images, Report, Section, Table, Thumbnail, plain, png_uri, render
from figment.evaluation.verdict import Verdict
from figment.planning.plan import ranges
from figment.synthesis.batches import fill_batches
from figment.synthesis.renderers import Renderers

PROMPTS = 3  # of a set, shown
ROWS = 4096  # of a plan in memory at a time
SIDE = 160  # px of an image in the page


@dataclass
class Set:
    """The images of one trick: how many, their first prompts, and rows of different classes to render."""

    images: int = 0
    prompts: list[str] = field(default_factory=list)
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def sets_of(plan: Path, count: int) -> dict[str, Set]:
    """By trick; ``count`` rows of each at most, a class each. Rows are not checked: an estimate does that."""
    found: dict[str, Set] = {}
    for part in ranges(plan, ROWS):
        for row in part.to_pylist():
            own = found.setdefault(row["trick"], Set())
            own.images += 1
            if len(own.prompts) < PROMPTS and row["prompt"] not in own.prompts:
                own.prompts.append(row["prompt"])
            if len(own.rows) < count:
                own.rows.setdefault(" + ".join(row["labels"]), row)
    return dict(sorted(found.items()))


def prompts_table(sets: Mapping[str, Set]) -> console.Table:
    """For a terminal."""
    table = console.Table()
    for column in ("set", "images", "first prompts"):
        table.add_column(column, justify="right" if column == "images" else "left")
    for name, own in sets.items():
        table.add_row(Text(plain(name)), f"{own.images:,}", Text("\n".join(own.prompts)))
    return table


def render_rows(sets: Mapping[str, Set], renderers: Renderers) -> dict[str, Image.Image]:
    """The chosen rows as images, by id."""
    rows = [row for own in sets.values() for row in own.rows.values()]
    found: dict[str, Image.Image] = {}
    for batch in fill_batches(rows, lambda: renderers.batch_size):
        renderers.load(batch[0]["model"], batch[0]["revision"])
        for part, made in renderers.render(batch):
            arrays = made.pixels.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            found |= {
                row["image_id"]: Image.fromarray(np.ascontiguousarray(array))
                for row, array in zip(part, arrays, strict=True)
            }
    return found


def page(title: str, lead: str, told: Sequence[str], sets: Mapping[str, Set], images: Mapping[str, Image.Image]) -> str:
    """One HTML page: what rendering will cost, what the preview lacks or warns of, and each set's images and first prompts."""
    sections = []
    for name, own in sets.items():
        shown = [_thumbnail(images[row["image_id"]], label, row["prompt"]) for label, row in own.rows.items()]
        prompts = "; ".join(f"“{prompt}”" for prompt in own.prompts)
        asked = Table((), [(f"{own.images:,} images", f"such as {prompts}")], kind="words")
        sections.append(Section(plain(name), [Images([("", [shown])], natural=True), asked]))
    return render(Report(f"Preview of {title}", lead, [Verdict(text=text) for text in told], sections, model=""))


def _thumbnail(image: Image.Image, label: str, prompt: str) -> Thumbnail:
    way = Image.Resampling.NEAREST if max(image.size) < SIDE else Image.Resampling.LANCZOS
    return Thumbnail(png_uri(ImageOps.contain(image, (SIDE, SIDE), way)), label, prompt, prompt)
