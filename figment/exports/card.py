"""The data card, README.md: what a set holds, what made it, under whose terms, and the command that writes it again."""

import json
from collections.abc import Iterable

from figment.exports.folder import METADATA
from figment.exports.run_images import Summary
from figment.exports.samples import Classes
from figment.licences import licence_of
from figment.names import file_names
from figment.planning.row import IMPORTED
from figment.text import one_line

LAYOUTS = {
    "folder": f"One folder a class; an image of several classes is in the folder of each. {METADATA} has its classes and prompt.",
    "coco": "images/ and annotations.json (MS-COCO). A label's box is the whole image: where in it is not known.",
    "hf": 'data/train-*.parquet with features, for `datasets.load_dataset("parquet", data_files="data/*.parquet")`.',
    "webdataset": "train-*.tar (WebDataset): ID.jpg, .txt (prompt), .json (classes), and .cls where an image has one class.",
    "yolo": "data.yaml, images/ and labels/ (Ultralytics). A label's box is the whole image; `val` is to be real images.",
}


def data_card(classes: Classes, summary: Summary, layout: str, command: str, everything: bool) -> str:
    """Markdown, with the front matter that the Hugging Face Hub reads."""
    kind = "several labels an image" if classes.multi_label else "one label an image"
    which = "All images of a run, rejected ones among them" if everything else "The images that a run accepted"
    lines = [
        "---",
        "license: other",
        "task_categories: [image-classification]",
        "tags: [synthetic, figment]",
        *(["configs: [{config_name: default, data_files: data/train-*.parquet}]"] if layout == "hf" else []),
        "---",
        "",
        f"# {summary.images:,} synthetic images of {len(classes.names)} classes",
        "",
        f"{which}; {kind}. {LAYOUTS[layout]}",
        "",
        f"    {one_line(command)}",
        "",
        *_classes(classes, summary),
        *(_escaped(classes.names) if layout == "folder" else []),
        *_generators(summary),
        *_licences(summary),
        "## Digest",
        "",
        "SHA-256 of a line `[image_id, SHA-256 of its file, positions of its classes]` (JSON without spaces) an image, in the "
        f"order of the run's shards: `{summary.content.hexdigest()}`",
    ]
    return "\n".join(lines) + "\n"


def _classes(classes: Classes, summary: Summary) -> list[str]:
    rows = [
        f"| {position} | {number} | {_cell(name)} | {summary.by_class[position]} |"
        for position, (number, name) in enumerate(zip(classes.ids, classes.names, strict=True))
    ]
    return ["## Classes", "", "| position | id | name | images |", "|---|---|---|---|", *rows, ""]


def _generators(summary: Summary) -> list[str]:
    """What made the images, and by which prompts."""
    made_by = [
        f"* {_cell(model)} at {_cell(revision)}{f' with adapter {_cell(adapter)}' if adapter else ''}: {count:,} images"
        for (model, revision, adapter), count in sorted(summary.generators.items())
    ]
    photos = [f"* {summary.from_photos:,} images started from a photo"] if summary.from_photos else []
    prompts = [f"    {one_line(prompt)}" for prompt in summary.examples]
    heading = f"## Prompts ({len(summary.prompts):,} different)"
    return ["## Generator", "", *made_by, *photos, "", heading, "", *prompts, ""]


def _licences(summary: Summary) -> list[str]:
    text = (
        "The images were generated; what they may be used for follows from the terms of the generator"
        + (" and of the photos that some started from" if summary.from_photos else "")
        + ". Labels are what a prompt asked for and, where a run validates, CLIP saw; they can be wrong."
    )
    models = sorted({key[:2] for key in summary.generators})
    terms = [line for model, revision in models for line in _terms(model, revision)]
    return ["## Licence", "", text, "", *terms, ""]


def _cell(text: str) -> str:
    """Untrusted text in a table or line of Markdown."""
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"


def _escaped(names: Iterable[str]) -> list[str]:
    """The folders that are not called as their class is."""
    changed = {name: folder for name, folder in file_names(names).items() if name != folder}
    listed = [f"    {json.dumps(folder)}: {json.dumps(name, ensure_ascii=False)}" for name, folder in changed.items()]
    return ["Names that not every file system takes, by their folder:", "", *listed, ""] if listed else []


def _terms(model: str, revision: str) -> list[str]:
    if model.startswith(IMPORTED):
        return [f"* {_cell(model)}: made elsewhere; the terms are those of where the images came from"]
    return [
        f"* {_cell(model)}:",
        *(f"      {one_line(line)}".rstrip() for line in licence_of(model, revision).splitlines()),
    ]
