"""A first look at a plan before all of it is rendered: its prompts, and some images of every set on one sheet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table
from rich.text import Text

from figment.evaluation.report import Images, Thumbnail, contact_sheet, plain, png_uri
from figment.planning.plan import ranges
from figment.synthesis.batches import fill_batches
from figment.synthesis.renderers import Renderers

PROMPTS = 3  # of a set, shown
ROWS = 4096  # of a plan in memory at a time
CELL = 128  # px of an image on the sheet


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


def prompts_table(sets: Mapping[str, Set]) -> Table:
    """For a terminal."""
    table = Table()
    for column in ("set", "images", "first prompts"):
        table.add_column(column, justify="right" if column == "images" else "left")
    for name, own in sets.items():
        table.add_row(Text(plain(name)), f"{own.images:,}", Text("\n".join(own.prompts)))
    return table


def sheet(sets: Mapping[str, Set], renderers: Renderers) -> Image.Image:
    """The chosen rows, rendered: a line a set, under each image its class."""
    rows = [row for own in sets.values() for row in own.rows.values()]
    pictures: dict[str, Image.Image] = {}
    for batch in fill_batches(rows, lambda: renderers.batch_size):
        renderers.load(batch[0]["model"], batch[0]["revision"])
        for part, made in renderers.render(batch):
            arrays = made.pixels.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            pictures |= {
                row["image_id"]: Image.fromarray(np.ascontiguousarray(array))
                for row, array in zip(part, arrays, strict=True)
            }
    groups = [
        (
            plain(name),
            [[Thumbnail(png_uri(pictures[row["image_id"]]), label, label) for label, row in own.rows.items()]],
        )
        for name, own in sets.items()
    ]
    return contact_sheet(Images(groups), max(len(own.rows) for own in sets.values()), CELL)
