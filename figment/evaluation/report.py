"""A report is a list of sections: one HTML file from one template. What models and users wrote is escaped."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw

from figment.evaluation.fonts import drawable
from figment.evaluation.verdict import Summary, Verdict, outcome_of
from figment.images import data_uri, decode, encode

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TEMPLATE = Path(__file__).parent / "report.html.j2"
EMBEDDED = 128  # px of an image in the page, at most; twice what is shown, for sharp screens

History = Sequence[tuple[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Cell:
    """A cell of a table. ``bar`` in [0, 1] draws a bar in place of the text, ``heat`` in [0, 1] colours the cell."""

    text: str
    strong: bool = False
    code: bool = False
    bar: float | None = None
    heat: float | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """``help`` explains columns, one line each, below the table. ``marked`` are the numbers of the rows that stand out. A table
    of ``words`` has a name and a text in each row; a ``matrix`` has upright column titles."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    help: Mapping[str, str] = field(default_factory=dict)
    marked: frozenset[int] = frozenset()
    kind: Literal["numbers", "words", "matrix"] = "numbers"

    def filled(self) -> "Table":
        """Without the named columns that no row fills, and without their help."""
        kept = [n for n, name in enumerate(self.columns) if not name or any(str(row[n]) for row in self.rows)]
        columns = [self.columns[n] for n in kept]
        return replace(
            self,
            columns=columns,
            rows=[[row[n] for n in kept] for row in self.rows],
            help={name: text for name, text in self.help.items() if name in columns},
        )


@dataclass(frozen=True)
class Thumbnail:
    """A small image with its caption."""

    uri: str
    caption: str
    alt: str
    title: str = ""
    kind: Literal["", "rejected", "source"] = ""


@dataclass(frozen=True)
class Images:
    """A contact sheet: by group, such as a class, rows of thumbnails. ``natural``: at their own size."""

    groups: Sequence[tuple[str, Sequence[Sequence[Thumbnail]]]]
    natural: bool = False


@dataclass(frozen=True)
class Plot:
    """An SVG that matplotlib drew, or an image as a data URI; ``alt`` says what it shows."""

    alt: str
    svg: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph; ``preformatted`` keeps its lines, as those of a licence."""

    text: str
    preformatted: bool = False


@dataclass(frozen=True)
class Section:
    """``lead`` says in a sentence what is shown."""

    heading: str
    blocks: Sequence[Table | Images | Plot | Text]
    lead: str = ""

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.heading.lower())


@dataclass(frozen=True)
class Report:
    """The first section has the headline table. ``model``: the folder of the model that is registered; ``metrics``: what
    goes into metrics.json, if the report writes it."""

    title: str
    lead: str
    verdict: Sequence[Verdict]
    sections: Sequence[Section]
    model: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    logged: Mapping[str, Image.Image] = field(default_factory=dict)  # images for the experiment tracker, by file name
    price_per_hour: float | None = None

    def summary(self, file: Path) -> Summary:
        """The end of the run for a terminal; ``file`` is the rendered report."""
        table = next(block for block in self.sections[0].blocks if isinstance(block, Table))
        kept = [number for number, name in enumerate(table.columns) if name or not number]
        return Summary(
            title=self.title,
            heading=self.sections[0].heading,
            columns=tuple(table.columns[number] for number in kept),
            rows=tuple(tuple(str(row[number]) for number in kept) for row in table.rows),
            verdict=tuple(self.verdict),
            report=file.as_posix(),
            model=self.model,
        )


def render(
    report: Report,
    more: Sequence[Section] = (),
    provenance: Mapping[str, str] = MappingProxyType({}),
    review: str = "",
) -> str:
    """The HTML text; ``more`` follows the report's own sections, ``provenance`` its own; ``review`` is a page beside this one, on
    which verdicts are overruled."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda block, kind: type(block).__name__ == kind
    sections = [*report.sections, *more, *_origins({**report.provenance, **provenance}, report.licences)]
    return environment.get_template(TEMPLATE.name).render(report=report, sections=sections, review=review)


def _origins(provenance: Mapping[str, str], licences: Mapping[str, str]) -> list[Section]:
    rows = [(name, Cell(value, code=True)) for name, value in provenance.items()]
    found = [Section("Provenance", [Table((), rows, kind="words")])] if rows else []
    blocks: list[Text] = []
    for terms in dict.fromkeys(licences.values()):
        blocks.append(Text(", ".join(name for name, its in licences.items() if its == terms) + ":"))
        blocks.append(Text(terms, preformatted=True))
    return [*found, Section("Licences", blocks)] if blocks else found


def cost_section(metrics: Mapping[str, float], seconds: Mapping[str, float], price_per_hour: float | None) -> Section:
    """What a run cost, from the ``metrics`` that it logged and the ``seconds`` of each step."""
    total, rendered = sum(seconds.values()), int(metrics.get("synthesis/rendered", 0))
    rate = metrics.get("synthesis/images_per_second")
    rows = [("rendered", f"{rendered:,} images" + (f", {rate:.1f} a second" if rendered and rate else ""))]
    rows.append(("time", f"{total:,.0f} s ({total / 3600:.2f} hours)"))
    if price_per_hour is not None:
        rows.append(("money", f"{total / 3600 * price_per_hour:,.2f} at {price_per_hour:g} an hour"))
    longest = max(seconds.values(), default=0) or 1
    by_step = [(plain(name), f"{value:.1f} s", Cell("", bar=value / longest)) for name, value in seconds.items()]
    tables = [Table((), rows, kind="words"), Table(("step", "time", ""), by_step)]
    return Section("Cost and time of this run", tables)


def gate_section(held: Mapping[str, int]) -> Section:
    """``held``: how many expectations each quality gate checked."""
    passed = ", ".join(f"{name} ({count})" for name, count in held.items())
    text = f"Passed: {passed}. In brackets: the number of expectations; their pages are in gates/ and in MLflow."
    return Section("Quality gates", [Text(text)])


def curve(histories: Mapping[str, History], metric: str, x: str = "step", y: str = "") -> Plot:
    """One metric of several runs over their steps or epochs, where they have it."""
    y = y or plain(metric)
    shown, families = drawable(list(histories))
    with plt.rc_context({"font.family": families}):
        figure, axes = plt.subplots(figsize=(7, 2.6))
        for name, history in zip(shown, histories.values(), strict=True):
            points = [(step, values[metric]) for step, values in history if metric in values]
            if points:
                axes.plot(*zip(*points, strict=True), label=plain(name).replace("$", r"\$"), linewidth=1.2)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if axes.lines:
            axes.legend(fontsize=7, frameon=False, ncols=3)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    svg = buffer.getvalue()
    return Plot(f"{y} by {x}: {', '.join(map(plain, histories))}", svg=svg[svg.index("<svg") :])


def contact_sheet(images: Images, columns: int, cell: int = 64) -> Image.Image:
    """One image of the thumbnails: a row a group with its name, under each thumbnail its caption."""
    margin, caption = 96, 12
    sheet = Image.new("RGB", (margin + columns * (cell + 4), len(images.groups) * (cell + caption + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, rows) in enumerate(images.groups):
        y = number * (cell + caption + 4)
        draw.text((4, y + cell // 2 - 6), name, fill="black")
        for column, thumbnail in enumerate([one for row in rows for one in row][:columns]):
            x = margin + column * (cell + 4)
            data = base64.b64decode(thumbnail.uri.partition(",")[2])
            sheet.paste(decode(data, thumbnail.alt).resize((cell, cell), Image.Resampling.NEAREST), (x, y))
            colour = "firebrick" if thumbnail.kind == "rejected" else "gray"
            text = thumbnail.caption
            size = next((size for size in (9, 8) if draw.textlength(text, font_size=size) <= cell + 3), 7)
            while draw.textlength(text, font_size=size) > cell + 3:
                text = text[:-1]
            draw.text((x, y + cell), text, fill=colour, font_size=size)
    return sheet


def png_uri(image: Image.Image, side: int | None = None) -> str:
    """A data URI; with ``side`` a larger image is fitted into that many px."""
    if side and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return data_uri(buffer.getvalue(), "png")


def pool_uri(image: Mapping[str, bytes | str], where: str) -> str:
    """A data URI of a pool's image, without its metadata: a PNG, of a larger one a JPEG fitted into ``EMBEDDED`` px."""
    found, kind = decode(image["bytes"], where), "png"  # type: ignore[arg-type]  # a pool's bytes
    if max(found.size) > EMBEDDED:
        found.thumbnail((EMBEDDED, EMBEDDED))
        kind = "jpeg"
    return data_uri(encode(np.asarray(found), kind), kind)  # type: ignore[arg-type]


def plain(name: str) -> str:
    return name.replace("_", " ")


def percent(share: float | None, digits: int = 1) -> str:
    """As ``12.3 %``; nothing for None."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def signed(gain: Sequence[float] | None) -> str:
    """A gain with its interval in points, as ``+1.2 [-0.3, +2.7] ?``, the mark if it is undecided; nothing for None."""
    if gain is None:
        return ""
    mark = " ?" if outcome_of(gain) == "undecided" else ""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in gain)) + mark


def counts(found: Mapping[str, int]) -> str:
    """As ``12 accepted, 3 wrong class``, without what has none."""
    return ", ".join(f"{count} {plain(name)}" for name, count in found.items() if count)
