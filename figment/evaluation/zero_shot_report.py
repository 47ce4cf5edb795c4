"""The report of a semantic matrix, self-contained: its measures, how they came about, and tagged test pictures."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from figment.datasets.tagged import TaggedPictures
from figment.evaluation.tagging import Tagger, predict_tags, render_tags

TEMPLATE = Path(__file__).parent / "zero_shot.html.j2"
PROTOCOLS = {
    "validation": "held-out training pictures, seen labels",
    "zsl": "unseen labels alone (ZSL)",
    "zsl_twin_free": "unseen labels without a twin among the seen",
    "gzsl": "all labels together (GZSL)",
}
TAGS = 5


def render_zero_shot_report(
    tagger: Tagger,
    test: TaggedPictures,
    rows: Sequence[int],
    metrics: Mapping[str, float],
    history: Mapping[str, Any],
    provenance: Mapping[str, str],
    checked: Mapping[str, Mapping[str, Any]],
) -> str:
    """The HTML text. ``metrics`` are ``PROTOCOL/MEASURE`` of the kept epoch; ``history`` has ``kept`` and ``epochs``;
    ``rows`` of ``test`` are shown with their tags. ``checked``: of the pictures made for unseen labels, if any, how many
    passed or failed for what reason (``reasons``), and the share that passed by label (``yields``)."""
    pictures = [Image.fromarray(test.pixels[row].permute(1, 2, 0).numpy()) for row in rows]
    truth = [[tagger.labels.names[j] for j in (test.targets[row] > 0).nonzero().flatten().tolist()] for row in rows]
    tagged = predict_tags(tagger, pictures, TAGS)
    protocols = {name: said for name, said in PROTOCOLS.items() if f"{name}/mAP" in metrics}
    measures = [name.partition("/")[2] for name in metrics if name.startswith("gzsl/")]
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(
        seen=[name for name in tagger.labels.names if name not in tagger.unseen],
        unseen=[name for name in tagger.labels.names if name in tagger.unseen],
        protocols=protocols,
        measures=measures,
        metrics=metrics,
        correlation=metrics.get("row_spread/two_or_more"),
        history=history,
        curve=["loss", *(f"{name}/mAP" for name in protocols)],
        examples=[
            {"image": _uri(render_tags(picture, tags)), "truth": ", ".join(shown)}
            for picture, tags, shown in zip(pictures, tagged, truth, strict=True)
        ],
        provenance=provenance,
        checked=checked,
    )


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
