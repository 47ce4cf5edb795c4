"""Tables that the reports of several recipes have."""

from collections.abc import Mapping, Sequence

from figment.evaluation import verdict
from figment.evaluation.report import Cell, Section, Table, curve, plain
from figment.metrics.diversity import Ledger
from figment.training.histories import ComparedEpochs, Epochs

MEASURES = {
    "mAP": "mean average precision: how well the images of a class are ranked before all others, in the mean over classes",
    "P@k": "precision: the share of right ones among the k best classes of an image",
    "R@k": "recall: the share of an image's classes that are among its k best",
    "F1@k": "the harmonic mean of the two",
}
DIVERSITY = {  # column, number of the ledger, digits, what it says
    "Vendi score": (lambda x: x.vendi, 2, "the effective number of different images of a class; higher is more varied"),
    "mean distance": (lambda x: x.distance, 3, "between two images of a class, 1 - cosine; higher is more varied"),
    "recall": (lambda x: x.reach.recall, 2, "the share of real images that lie among generated ones"),
    "coverage": (lambda x: x.reach.coverage, 2, "the share of real images that have a generated one near"),
    "precision": (lambda x: x.reach.precision, 2, "the share of generated images that lie among real ones"),
    "density": (lambda x: x.reach.density, 2, "how many real neighbourhoods hold a generated image, 1 for real ones"),
    "Fréchet distance": (
        lambda x: x.frechet,
        3,
        "between the distributions of real and generated images; lower is nearer",
    ),
}


def diversity_section(
    ledgers: Mapping[str, Ledger], against: str, effective: Mapping[str, float | None] | None = None
) -> Section:
    """``against``: which real images; ``effective``: the effective number of images of a photo, by method."""
    rows: list[Sequence[str]] = []
    for name, ledger in ledgers.items():
        row = [plain(name), *(f"{read(ledger):.{digits}f}" for read, digits, _ in DIVERSITY.values())]
        if effective is not None:
            size = effective.get(name)
            row.append("" if size is None else f"{size:.1f}")
        rows.append(row)
    columns, help_lines = ["set", *DIVERSITY], {name: line for name, (_, _, line) in DIVERSITY.items()}
    if effective is not None:
        columns.append("effective images a photo")
        help_lines["effective images a photo"] = "how many of those made from a photo count, as they are weighted"
    each = next(iter(ledgers.values())).classes[0].images
    lead = f"In CLIP features, against {against}, at {each} images of a class for every set."
    return Section("Diversity", [Table(columns, rows, help_lines)], lead)


def epochs_section(history: Epochs, columns: Mapping[str, str]) -> Section:
    """A row an epoch, the kept one marked, and the validation curve. ``columns``: titles by the measure's name."""
    rows = [
        (str(number), *(f"{row[name]:.4f}" if name in row else "" for name in columns))
        for number, row in enumerate(history.epochs, 1)
    ]
    points = list(enumerate(history.epochs, 1))
    table = Table(("epoch", *columns.values()), rows, marked=frozenset({history.kept - 1}))
    plots = [curve({"training": points}, "loss", "epoch", "training loss")]
    if any("validation/mAP" in row for row in history.epochs):
        plots.append(curve({"validation": points}, "validation/mAP", "epoch", "validation mAP"))
    return Section("Training", [*plots, table], f"Epoch {history.kept}, which validates best, was kept.")


def yields_table(yields: Mapping[str, float]) -> Table:
    rows = [(name, f"{100 * share:.1f} %", Cell("", bar=share)) for name, share in yields.items()]
    return Table(
        ("class", "accepted", ""), rows, {"accepted": "the share of generated images in which CLIP sees the class"}
    )


def ranked(
    subject: str,
    rival: str,
    protocols: Mapping[str, str],
    measured: Mapping[str, float],
    history: Epochs | ComparedEpochs,
) -> list[verdict.Verdict]:
    """The mean average precision of a ranking under each protocol, beside that of a rival."""
    found = []
    for name, protocol in protocols.items():
        value = 100 * measured[f"{name}/mAP"]
        found.append(verdict.Verdict(text=f"{subject}: {value:.1f} % mAP on {protocol}."))
        if gain := history.gains.get(name):
            found.append(verdict.compare("It", rival, gain, unit="points of mAP"))
    return found
