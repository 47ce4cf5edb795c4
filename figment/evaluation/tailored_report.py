"""The report of the tailored recipe, self-contained: what was asked, what passed, what tuning changed, and the measures."""

import base64
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from figment.adaptation.text_encoder import Tuned
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.validation.multilabel import label_yields
from figment.validation.policies import REASONS
from figment.validation.verdicts import reasons

TEMPLATE = Path(__file__).parent / "tailored.html.j2"
PROTOCOLS = {"zsl": "unseen classes alone (ZSL)", "gzsl": "all classes together (GZSL)"}
MEASURES = ("mAP", "P@3", "R@3", "F1@3", "F1@5")
SHOWN = 10  # pictures a set of labels, at most
SETS = 40  # sets of labels


class Example(NamedTuple):
    """A generated picture with its prompt and CLIP's verdict."""

    image_id: str
    prompt: str
    reason: str
    predicted: str
    uri: str


def render_tailored_report(
    space: LabelSpace,
    plan: pa.Table,
    verdicts: pa.Table,
    pool: Pool,
    history: Mapping[str, Any],
    tuned: Tuned | None,
    provenance: Mapping[str, str],
) -> str:
    """The HTML text. ``history`` has ``kept``, ``epochs``, and the measures on the ``test`` pictures and those of ``clip`` as
    it is."""
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(
        names=space.names,
        protocols=PROTOCOLS,
        measures=MEASURES,
        rows={"CLIP as it is": history["clip"], "trained": history["test"]},
        history=history,
        planned=len(plan),
        reasons={name: count for name, count in reasons(verdicts, REASONS).items() if count},
        yields=label_yields(verdicts),
        tuned=tuned,
        examples=pick_examples(plan, verdicts, pool),
        provenance=provenance,
    )


def pick_examples(plan: pa.Table, verdicts: pa.Table, pool: Pool) -> dict[str, list[Example]]:
    """For the first sets of labels some of their pictures, rejected ones last."""
    prompts = dict(zip(plan["image_id"].to_pylist(), plan["prompt"].to_pylist(), strict=True))
    by_labels: dict[str, list[dict]] = defaultdict(list)
    for verdict in verdicts.to_pylist():
        by_labels[" and ".join(verdict["labels"])].append(verdict)
    chosen = {
        name: sorted(rows[:SHOWN], key=lambda row: not row["accepted"])
        for name, rows in sorted(by_labels.items())[:SETS]
    }
    pictures: dict[str, dict[str, Any]] = {}
    for batch in pool.read([row["image_id"] for rows in chosen.values() for row in rows], ["image_id", "image"]):
        pictures |= {row["image_id"]: row["image"] for row in batch.to_pylist()}
    return {
        name: [
            Example(
                row["image_id"],
                prompts[row["image_id"]],
                row["reason"],
                ", ".join(row["predicted"]),
                uri_of(pictures[row["image_id"]]),
            )
            for row in rows
        ]
        for name, rows in chosen.items()
    }


def uri_of(image: Mapping[str, Any]) -> str:
    """A data URI of a pool's image."""
    kind = Path(image["path"]).suffix.lstrip(".").replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(image['bytes']).decode()}"
