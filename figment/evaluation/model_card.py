"""The model card: what a classifier is for, what it learnt from, under whose terms, and how well it does."""

from collections.abc import Mapping, Sequence

from figment.evaluation.provenance import Recipe
from figment.evaluation.results import Result, Results
from figment.images import Resize
from figment.training.saved import ClassifierCard

PREPARED: Mapping[Resize, str] = {  # figment/images.py, to_tensor
    "bicubic": "centre-cropped to a square, then resized bicubically",
    "bilinear": "centre-cropped to a square, then resized bilinearly",
    "bilinear_no_antialias": "centre-cropped to a square, then resized bilinearly without antialiasing",
    "squash": "whole, squashed to the square",
}


def model_card(
    title: str,
    about: str,
    image_size: int,
    resize: Resize,
    labels: Sequence[str],
    measured: Sequence[str],
    training: str,
    recipe: Recipe | None,
    licences: Mapping[str, str],
    scores: str = "probabilities",
) -> str:
    """Markdown. ``resize`` is how pictures of other sizes become square, ``measured`` and ``training`` are what the recipe has to
    say of its numbers and its network, ``scores`` what comes out, ``licences`` the terms of each model that the training
    pictures owe something to, by what it did."""
    lines = [
        f"# {title}",
        "",
        about,
        "",
        "## Use",
        "",
        f"In: pictures (N, 3, {image_size}, {image_size}) float32 in [0, 1], RGB; any N; of other sizes "
        f"{PREPARED[resize]}. Out: {scores} (N, {len(labels)}), in this order. It knows nothing else, and says one of these of "
        "whatever it is shown.",
        "",
        ", ".join(labels),
        "",
        "## Measured",
        "",
        *measured,
        "",
        "## Network and training",
        "",
        training,
        "",
        *(_data(recipe) if recipe else []),
        "## Licences",
        "",
        "The weights are this project's. What they were made with has terms of its own:",
        "",
    ]
    for terms in dict.fromkeys(licences.values()):
        whose = " and ".join(what for what, found in licences.items() if found == terms)
        lines += [f"* {whose}:", *(f"      {line}".rstrip() for line in terms.splitlines())]
    return "\n".join(lines) + "\n"


def measured(result: Result, results: Results) -> str:
    """One clause: top-1 with its interval, and on what."""
    interval = f"{100 * result.low:.1f}, {100 * result.high:.1f}"
    return f"top-1 {100 * result.top1:.1f} % [{interval}] on {results.test_images} real pictures of {len(results.labels)} classes"


def classifier_card(
    title: str, name: str, card: ClassifierCard, results: Results, recipe: Recipe | None, licences: Mapping[str, str]
) -> str:
    """The card of a bag of tricks' classifier."""
    result, training = results[name], card.training
    numbers = [
        f"{measured(result, results)} (95 % bootstrap interval); expected calibration error "
        f"{100 * (result.calibration_error or 0):.1f} %.",
        "",
        "| class | top-1 |",
        "|---|---|",
        *(f"| {label} | {100 * share:.0f} % |" for label, share in zip(results.labels, result.per_class, strict=False)),
    ]
    network = (
        f"{training.model} of timm, stem {training.stem}; {card.images} pictures; "
        + (f"{training.steps} steps" if training.steps else f"{training.epochs} epochs")
        + f" of {training.batch_size}, AdamW {training.learning_rate:g}, seed {training.seed}."
    )
    about = (
        f"A classifier of {len(card.labels)} classes, trained from random weights on "
        f"{'synthetic pictures alone' if recipe else 'real pictures'}."
    )
    return model_card(
        title, about, training.image_size, training.resize, card.labels.names, numbers, network, recipe, licences
    )


def table_of(numbers: Mapping[str, float]) -> list[str]:
    """A Markdown table of measures in [0, 1]."""
    return ["| measure | % |", "|---|---|", *(f"| {name} | {100 * value:.1f} |" for name, value in numbers.items())]


def _data(recipe: Recipe) -> list[str]:
    counts = {
        "classes": recipe.by_class,
        "tricks": recipe.by_trick,
        "generators": recipe.generators,
        "verdicts of the whole run": recipe.judged,
    }
    return [
        "## Data",
        "",
        f"{recipe.images} generated pictures from {recipe.prompts} different prompts; "
        + ", ".join(f"{name} {value}" for name, value in recipe.settings.items())
        + ".",
        "",
        *(
            f"* {name}: {', '.join(f'{n} {key}' for key, n in found.items())}"
            for name, found in counts.items()
            if found
        ),
        "",
    ]
