"""The report of a few-shot run, self-contained: accuracies, diversity, the photos with what was made of them, the prompts."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from rich.table import Table

from figment.evaluation.few_shot_results import Accuracy, FewShotResults
from figment.evaluation.report import curves

TEMPLATE = Path(__file__).parent / "few_shot.html.j2"
SIDE = 64  # px of a picture in the report


@dataclass(frozen=True)
class Shown:
    """A picture of the report: a photo, or one made of it with the prompt, its weight and what the filter saw."""

    uri: str
    caption: str
    title: str = ""


def results_table(results: FewShotResults) -> Table:
    """For a terminal."""
    table = Table(title=f"macro accuracy, {results.shots} shots of {len(results.labels)} classes", title_justify="left")
    table.add_column("trained on")
    table.add_column("made", justify="right")
    for test, count in results.pictures.items():
        table.add_column(f"{test.replace('_', ' ')} ({count}), %", justify="right")
        table.add_column("over standard", justify="right")
    for row in results.rows:
        cells = [cell for test in results.pictures for cell in (said(row.tests[test]), gained(row.tests[test]))]
        table.add_row(row.name.replace("_", " "), "" if row.made is None else str(row.made), *cells)
    return table


def said(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.value:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"


def gained(accuracy: Accuracy) -> str:
    return "" if accuracy.gain is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * g for g in accuracy.gain))


def render_few_shot_report(
    results: FewShotResults,
    sheet: Mapping[str, Sequence[Sequence[Shown]]],
    contexts: Mapping[str, Sequence[str]],
    probes: Mapping[str, Mapping[str, Any]],
    numbers: Mapping[str, float],
    histories: Mapping[str, Sequence[tuple[int, Mapping[str, float]]]],
    provenance: Mapping[str, str],
    notices: Sequence[str] = (),
) -> str:
    """The HTML text. ``sheet`` has, by class, a row for each photo shown: the photo, then what was made of it. ``numbers`` are
    the filter's; ``probes`` and ``contexts``, by class, may be empty."""
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"said": said, "gained": gained}
    return environment.get_template(TEMPLATE.name).render(
        results=results,
        sheet=sheet,
        contexts=contexts,
        probes=probes,
        numbers=numbers,
        loss_svg=curves(histories, "loss"),
        provenance=provenance,
        notices=notices,
    )


def thumbnail(image: Image.Image) -> str:
    """A data URI; small pictures as they are, larger ones fitted into ``SIDE`` px."""
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
