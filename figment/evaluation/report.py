"""The report: one self-contained HTML file. Everything a model or a user wrote is escaped."""

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw

from figment.evaluation.results import Results
from figment.images import decode
from figment.synthesis.pool import Pool

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TEMPLATE = Path(__file__).parent / "report.html.j2"


@dataclass(frozen=True)
class Thumbnail:
    """One picture of a contact sheet, with what was asked and what was found."""

    image_id: str
    label: str
    trick: str
    prompt: str
    reason: str
    predicted: str
    probability: float
    guidance: float
    uri: str


def pick_thumbnails(plan: pa.Table, verdicts: pa.Table, pool: Pool, accepted: int, rejected: int) -> list[Thumbnail]:
    """For every class up to ``accepted`` accepted pictures, spread over the tricks, and ``rejected`` rejected ones."""
    rows = {row["image_id"]: row for row in plan.to_pylist()}
    queues: dict[tuple[str, bool], dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts.to_pylist():
        queues[verdict["label"], verdict["accepted"]][verdict["trick"]].append(verdict)
    chosen = []
    for (_, passed), by_trick in queues.items():
        in_turn = [v for group in _round_robin(list(by_trick.values())) for v in group]
        chosen += in_turn[: accepted if passed else rejected]
    pictures: dict[str, dict[str, Any]] = {}
    for batch in pool.read([v["image_id"] for v in chosen], ["image_id", "image"]):
        pictures |= {row["image_id"]: row["image"] for row in batch.to_pylist()}
    return [
        Thumbnail(
            image_id=v["image_id"],
            label=v["label"],
            trick=v["trick"],
            prompt=rows[v["image_id"]]["prompt"],
            reason=v["reason"],
            predicted=v["predicted"],
            probability=v["probability"],
            guidance=rows[v["image_id"]]["guidance_scale"],
            uri=_uri(pictures[v["image_id"]]),
        )
        for v in chosen
    ]


def contact_sheet(thumbnails: Sequence[Thumbnail], labels: Sequence[str], columns: int, cell: int = 64) -> Image.Image:
    """A picture of the thumbnails, one row a class with its name, under each its trick or why it was rejected."""
    margin, caption = 96, 12
    sheet = Image.new("RGB", (margin + columns * (cell + 4), len(labels) * (cell + caption + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(labels):
        y = row * (cell + caption + 4)
        draw.text((4, y + cell // 2 - 6), label, fill="black")
        for column, thumbnail in enumerate([t for t in thumbnails if t.label == label][:columns]):
            x = margin + column * (cell + 4)
            data = base64.b64decode(thumbnail.uri.partition(",")[2])
            picture = decode(data, thumbnail.image_id).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(picture, (x, y))
            if thumbnail.reason == "accepted":
                words, colour = thumbnail.trick, "gray"
            else:
                seen_as = f"is {thumbnail.predicted}?"
                words, colour = (seen_as if thumbnail.reason == "wrong_class" else thumbnail.reason), "firebrick"
            draw.text((x, y + cell), words.replace("_", " ")[:14], fill=colour, font_size=9)
    return sheet


def curves(histories: Mapping[str, Sequence[tuple[int, Mapping[str, float]]]], metric: str) -> str:
    """An inline SVG of one metric of several runs."""
    figure, axes = plt.subplots(figsize=(7, 2.6))
    for name, history in histories.items():
        axes.plot([step for step, _ in history], [values[metric] for _, values in history], label=name, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel(metric)
    axes.legend(fontsize=7, frameon=False, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]


def render_report(
    title: str,
    results: Results,
    thumbnails: Sequence[Thumbnail],
    reasons: Mapping[str, int],
    yields: Mapping[str, Mapping[str, float]],
    histories: Mapping[str, Sequence[tuple[int, Mapping[str, float]]]],
    provenance: Mapping[str, Any],
    notices: Sequence[str],
    map_of_features: Image.Image | None = None,
) -> str:
    """The HTML text."""
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(
        title=title,
        results=results,
        thumbnails=thumbnails,
        reasons=reasons,
        yields=yields,
        loss_svg=curves(histories, "loss"),
        provenance=provenance,
        notices=notices,
        feature_map=map_of_features and _png(map_of_features),
    )


def _round_robin(groups: Sequence[Sequence[dict]]) -> list[list[dict]]:
    longest = max((len(group) for group in groups), default=0)
    return [[group[i] for group in groups if i < len(group)] for i in range(longest)]


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _uri(image: Mapping[str, Any]) -> str:
    kind = image["path"].rpartition(".")[2].replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(image['bytes']).decode()}"
