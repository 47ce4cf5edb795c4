"""The report: one self-contained HTML file. Everything a model or a user wrote is escaped."""

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw

from figment.clip.scorer import ClipConfig
from figment.evaluation.errors import WorstError
from figment.evaluation.fonts import drawable
from figment.evaluation.provenance import span
from figment.evaluation.results import Results
from figment.images import data_uri, decode
from figment.synthesis.pool import Pool
from figment.training.config import TrainingConfig
from figment.validation.verdicts import AcceptanceConfig

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


@dataclass(frozen=True)
class Asked:
    """What the plan asks for by one trick."""

    trick: str
    images: int
    prompts: int
    how: str
    examples: tuple[str, ...]


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


def what_was_asked(plan: pa.Table, examples: int = 3) -> list[Asked]:
    """The plan in a few lines: for each trick its images, how they are made, and some of its prompts."""
    asked = []
    for trick in sorted(plan["trick"].unique().to_pylist()):
        rows = plan.filter(pc.equal(plan["trick"], trick))
        prompts = rows["prompt"].unique().to_pylist()
        steps, guidance, width, height = (
            span(rows[name]) for name in ("num_inference_steps", "guidance_scale", "width", "height")
        )
        how = f"{span(rows['scheduler'])}, {steps} steps, guidance {guidance}, {width} x {height} px"
        asked.append(Asked(trick, len(rows), len(prompts), how, tuple(sorted(prompts)[:examples])))
    return asked


def what_was_chosen(
    generator: str, clip: ClipConfig, acceptance: AcceptanceConfig, review: str | None, training: TrainingConfig
) -> dict[str, str]:
    """The choices behind a run, in words."""
    most = ", and more than any other" if acceptance.require_top1 else ""
    return {
        "generator": generator,
        "checked by": f"CLIP {clip.model} {clip.pretrained or ''}".rstrip()
        + f": the class has probability {acceptance.min_probability:g} or more{most}",
        "reviewed": f"by a person, in {review}" if review else "by nobody",
        "classifier": f"{training.model}, {training.image_size} px, from random weights, seed {training.seed}",
    }


def costs(metrics: Mapping[str, float], seconds: float, price_per_hour: float | None) -> dict[str, str]:
    """What a run cost, from what it logged and how long it took."""
    rendered = int(metrics.get("synthesis/rendered", 0))
    rate = metrics.get("synthesis/images_per_second")
    found = {"rendered": f"{rendered:,} pictures" + (f", {rate:.1f} a second" if rendered and rate else "")}
    found["time"] = f"{seconds:,.0f} s ({seconds / 3600:.2f} hours)"
    if price_per_hour is not None:
        found["money"] = f"{seconds / 3600 * price_per_hour:,.2f} at {price_per_hour:g} an hour"
    return found


def curves(histories: Mapping[str, Sequence[tuple[int, Mapping[str, float]]]], metric: str) -> str:
    """An inline SVG of one metric of several runs, of those points that have it."""
    shown, families = drawable(list(histories))
    plt.rcParams["font.family"] = families
    figure, axes = plt.subplots(figsize=(7, 2.6))
    for name, history in zip(shown, histories.values(), strict=True):
        points = [(step, values[metric]) for step, values in history if metric in values]
        axes.plot(*zip(*points, strict=True), label=name.replace("_", " "), linewidth=1.2) if points else None
    axes.set_xlabel("step")
    axes.set_ylabel(metric.replace("_", " "))
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
    licences: Mapping[str, str],
    map_of_features: Image.Image | None = None,
    *,
    asked: Sequence[Asked] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
    errors: Sequence[WorstError] = (),
    gates: Mapping[str, int] = MappingProxyType({}),
    costs: Mapping[str, str] = MappingProxyType({}),
    seconds: Mapping[str, float] = MappingProxyType({}),
    reviewed: Mapping[str, bool] = MappingProxyType({}),
) -> str:
    """The HTML text. ``settings``: what the user chose; ``gates``: expectations that each gate held the run to; ``costs``: in
    words; ``seconds``: of each step; ``reviewed``: the decisions that this run took, which the page exports with the new ones.
    What is left out has no section."""
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    measured = {name for history in histories.values() for _, values in history for name in values}
    return environment.get_template(TEMPLATE.name).render(
        title=title,
        results=results,
        thumbnails=thumbnails,
        reasons=reasons,
        yields=yields,
        curves=[curves(histories, metric) for metric in ("loss", "validation_top1") if metric in measured],
        provenance=provenance,
        licences=licences,
        feature_map=map_of_features and _png(map_of_features),
        asked=asked,
        settings=settings,
        errors=errors,
        gates=gates,
        costs=costs,
        seconds=seconds,
        reviewed=[(image_id, "keep" if kept else "drop") for image_id, kept in reviewed.items()],
    )


def _round_robin(groups: Sequence[Sequence[dict]]) -> list[list[dict]]:
    longest = max((len(group) for group in groups), default=0)
    return [[group[i] for group in groups if i < len(group)] for i in range(longest)]


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return data_uri(buffer.getvalue(), "png")


def _uri(image: Mapping[str, Any]) -> str:
    return data_uri(image["bytes"], image["path"].rpartition(".")[2].replace("jpg", "jpeg"))
