"""The model card: what a classifier is for, what it was trained on, under whose terms, and how well it does."""

from collections.abc import Iterable, Mapping

from figment.evaluation.provenance import Recipe
from figment.images import Resize
from figment.training.saved import Measure, Preprocessing, SavedModel

PREPARED: Mapping[Resize, str] = {  # figment/images.py, to_tensor
    "bicubic": "centre-cropped to a square, then resized bicubically",
    "bilinear": "centre-cropped to a square, then resized bilinearly",
    "bilinear_no_antialias": "centre-cropped to a square, then resized bilinearly without antialiasing",
    "squash": "whole, squashed to the square",
    "squash_bicubic": "whole, squashed bicubically to the square",
}
ONNX = """```python
import json, numpy, onnxruntime
from PIL import Image, ImageOps
session = onnxruntime.InferenceSession("model.onnx")
image = {prepared}
scores = session.run(None, {{"pixels": numpy.float32(image).transpose(2, 0, 1)[None] / 255}})[0][0]
print(json.loads(session.get_modelmeta().custom_metadata_map["labels"])[scores.argmax()])
```"""


def model_card(
    title: str, saved: SavedModel, recipe: Recipe | None, licences: Mapping[str, str], scores: str = "probabilities"
) -> str:
    """Markdown, of a model of any kind. ``scores`` is what comes out, ``licences`` the terms of each model that the training
    images owe something to, by what it did."""
    size = saved.preprocessing.image_size
    lines = [
        f"# {title}",
        "",
        about(saved, recipe),
        "",
        "## Use",
        "",
        f"In: images (N, 3, {size}, {size}) float32 in [0, 1], RGB; any N; of other sizes "
        f"{PREPARED[saved.preprocessing.resize]}. Out: {scores} (N, {len(saved.labels)}), in this order. It knows nothing else, "
        "and says one of these of whatever it is shown.",
        "",
        ", ".join(saved.labels.names),
        "",
        "As ONNX, written by `figment export FOLDER`:",
        "",
        ONNX.format(prepared=_prepared(saved.preprocessing)),
        "",
        "## Measured",
        "",
        *table_of(saved.metrics),
        "",
        "## Network and training",
        "",
        saved.training,
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


def _prepared(said: Preprocessing) -> str:
    """The Python of Pillow that makes an image the network's input, but for ``native_size``."""
    whole, filter_name = said.resize.startswith("squash"), "BICUBIC" if "bicubic" in said.resize else "BILINEAR"
    opened, size = 'Image.open("image.jpg").convert("RGB")', f"({said.image_size}, {said.image_size})"
    resampling = f"{size}, Image.Resampling.{filter_name}"
    return f"{opened}.resize({resampling})" if whole else f"ImageOps.fit({opened}, {resampling})"


def about(saved: SavedModel, recipe: Recipe | None) -> str:
    """What it was trained on, and of which classes it has seen no real image."""
    names, unseen = saved.labels.names, saved.labels.unseen_ids
    if not recipe:
        source = ", trained on real images alone"
    elif 0 < saved.images <= recipe.images:
        source = ", trained on generated images alone"
    else:
        source = ", trained on real and generated images"
    without = f" No real image of {', '.join(names[i] for i in unseen)} was trained on." if unseen else ""
    return f"A classifier of {len(names)} classes{source}.{without}"


def measured(saved: SavedModel) -> str:
    """One clause: the mean average precisions where there are any, else the first measure."""
    ranking = [found for found in saved.metrics if found.name in ("gzsl/mAP", "zsl/mAP")]
    return ", ".join(f"{found.name} {_value(found)}" for found in ranking or saved.metrics[:1])


def _value(found: Measure) -> str:
    text = f"{100 * found.value:.1f} %"
    if found.low is not None and found.high is not None:
        text += f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return text + (f" on {found.images} real images" if found.images else "")


def table_of(metrics: Iterable[Measure]) -> list[str]:
    """A Markdown table of measures in [0, 1]; intervals are of 95 %."""
    return ["| measure | value |", "|---|---|", *(f"| {found.name} | {_value(found)} |" for found in metrics)]


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
        f"{recipe.images} generated images from {recipe.prompts} different prompts; "
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
