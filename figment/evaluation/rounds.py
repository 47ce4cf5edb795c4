"""What rounds found, for the report: the data-efficiency curve, and classes of which the generator lacks how they look."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import nn

from figment.evaluation.errors import WorstError, explain_errors
from figment.evaluation.report import History, Plot, Section, Table, curve, percent, signed
from figment.evaluation.verdict import Verdict
from figment.planning import rounds
from figment.training.classifier import predict_all
from figment.training.round_stages import Stages
from figment.validation.features import FeatureStore

ROUNDS_FILE = "rounds"  # .json, beside the plan
SHOWN = 4  # real images of a missing class
HELP = {
    "error": "the share of real validation images that are called something else, with its 95 % interval",
    "gain": "points of top-1 over the round before, on the same images; ?: undecided",
    "next": "what the fitted curve says a further round gains, in points",
    "rendered": "images made in the round, of which CLIP accepted and the classifier found hard as many as were kept",
}


class RoundsFile(rounds.History):
    """With real images of the ``missing`` classes, each beside the generated ones that are nearest."""

    shown: tuple[WorstError, ...] = ()


def show_missing(history: rounds.History, stages: Stages, network: nn.Module, verdicts: pa.Table) -> RoundsFile:
    """``history`` with what its missing classes look like: real images that the ``network`` is surest of and wrong about, and the
    accepted ones of the class that are nearest."""
    shown: list[WorstError] = []
    for name in history.missing:
        images = stages.validation()
        own = images.subset((images.labels == stages.space.names.index(name)).nonzero().flatten())
        accepted = verdicts.filter(verdicts["accepted"])
        made = accepted.filter(pc.equal(pc.list_element(accepted["labels"], 0), name))["image_id"].to_pylist()
        store = FeatureStore(stages.pool, stages.scorer)
        logits = predict_all(network, own)
        shown += explain_errors(logits, own, made, store, stages.space.names, SHOWN)
    return RoundsFile(**history.model_dump(), shown=tuple(shown))


def sentences(found: rounds.History) -> list[Verdict]:
    """How the rounds went and ended, and what the generator cannot draw, in words."""
    first, last = found.rounds[0], found.rounds[-1]
    text = (
        f"Rounds: {len(found.rounds) - 1} rounds took the error on {found.validation_images} validation images from "
        f"{percent(first.error[0])} ({first.images} images) to {percent(last.error[0])} ({last.images}). {found.stop}"
    )
    return [Verdict(text=text), *(missing_sentence(found, name) for name in found.missing)]


def missing_sentence(found: rounds.History, name: str) -> Verdict:
    """What a missing mode is, and what helps."""
    last = found.rounds[-1]
    instead = f", which are called {last.confused[name]}" if name in last.confused else ""
    text = (
        f"Missing mode: {percent(last.synthetic[name], 0)} of its own generated images are called {name}, but only "
        f"{percent(1 - last.errors[name], 0)} of the real ones{instead}: the generator does "
        f"not draw {name} as it looks there, and no number of its images mends that; give 1 to 4 real ones."
    )
    return Verdict(text=text, outcome="worse")


def rounds_section(found: rounds.History) -> Section:
    """A row a round, and error against images with the fitted curve and where it stopped."""
    rows = [_row("first training" if not each.number else f"round {each.number}", each) for each in found.rounds]
    if found.control:
        rows.append((*_row("random images instead", found.control)[:4], "", "", str(found.control.rendered), ""))
    columns = ("", "images", "error", "95 % interval", "gain", "next", "rendered", "most of")
    lead = f"Error on {found.validation_images} real images that do not measure. {found.stop}"
    return Section("Rounds", [efficiency_curve(found), Table(columns, rows, HELP)], lead)


def _row(name: str, each: rounds.Round) -> tuple[str, ...]:
    _, low, high = each.error
    most = sorted(each.budget, key=lambda label: -each.budget[label])[:3]
    return (
        name,
        str(each.images),
        percent(each.error[0]),
        f"{100 * low:.1f} – {100 * high:.1f}",
        signed(each.gain),
        f"{100 * each.expected[0]:.1f}" if each.expected else "",
        str(each.rendered or ""),
        ", ".join(f"{label} {each.budget[label]}" for label in most),
    )


def efficiency_curve(found: rounds.History) -> Plot:
    """Error by images: what was measured, the fitted curve, where it stopped, and the control."""
    points = [(each.images, each.error[0]) for each in found.rounds]
    histories: dict[str, History] = {"rounds": _as_history(points)}
    if found.curve:
        sizes = np.geomspace(points[0][0], 1.5 * points[-1][0], 40)
        a, b, k = found.curve
        histories[f"{a:.3f} + {b:.3g} n^-{k:.1f}"] = _as_history([(n, found.curve.at(n)) for n in sizes])
    errors = [error for _, error in points]
    histories["stop"] = _as_history([(points[-1][0], min(errors)), (points[-1][0], max(errors))])
    if found.control:
        histories["random images instead"] = _as_history([points[0], (found.control.images, found.control.error[0])])
    return curve(histories, "error", "training images", "error on validation images")


def _as_history(points: Sequence[tuple[float, float]]) -> History:
    return [(int(images), {"error": error}) for images, error in points]
