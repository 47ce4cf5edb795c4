"""A first config for somebody's own classes, short enough to be read at once: ``figment new``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from figment.errors import InputError
from figment.files import write_text
from figment.labels import LabelSpace, key, nearest
from figment.ops.environment import RESOURCES

POCKET = "models/pocket"
CLIP = f"{{model: local-dir:{POCKET}/clip}}"
RECIPES = ("bag_of_tricks", "few_shot", "tailored", "semantic_diversity")
CLASSES = ("bag_of_tricks", "few_shot")  # recipes that are told class names; the others read them from a label file
GENERATORS = {
    POCKET: f"{{model: {POCKET}/diffusion, width: 32, height: 32, guidance_scale: 4.0, num_inference_steps: 12, "
    "scheduler: DDIMScheduler}  # embedded: 32 px, 32 objects",
    "": "{{model: {model}}}  # any text-to-image model of diffusers: a hub id or a folder",
}


class Wanted(NamedTuple):
    """``classes`` are names with commas between them, a text file with a name a line, or empty: the folders in ``photos`` or
    ``test`` are the classes then."""

    recipe: str
    classes: str
    photos: Path | None
    test: Path | None
    labels: Path | None
    model: str
    output: str


def new_config(file: Path, wanted: Wanted) -> list[str]:
    """Write ``file``. Returns what the user should know of it. Raises InputError."""
    recipe, model = wanted.recipe, wanted.model
    if file.exists():
        raise InputError(f"{file}: is there already; give another name")
    parameters: dict[str, str] = {}
    names: list[str] = []
    if recipe in CLASSES:
        names = class_names(wanted.classes, wanted.photos if recipe == "few_shot" else wanted.test)
        parameters["classes"] = _flow(names)
    parameters |= _data(recipe, wanted.photos, wanted.test, wanted.labels)
    parameters |= _settings(recipe, POCKET if model == "pocket" else model)
    parameters["output"] = _flow(wanted.output or f"artifacts/{file.stem}")
    lines = [f"# recipe: {recipe}; run it with: figment run {file}", "parameters:"]
    write_text(file, "\n".join([*lines, *(f"  {name}: {value}" for name, value in parameters.items())]) + "\n")
    return unknown_to_pocket(names) if model == "pocket" else []


def class_names(classes: str, folder: Path | None) -> list[str]:
    """At least two names. Raises InputError where there are none."""
    if classes:
        path = Path(classes).expanduser()
        text = path.read_text(encoding="utf-8") if path.is_file() else classes.replace(",", "\n")
        found = [name.strip() for name in text.splitlines() if name.strip()]
        where = f"--classes {classes}"
    elif folder is not None and folder.is_dir():
        found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        where = f"the folders in {folder}"
    else:
        raise InputError(
            "the classes are not known; give --classes 'excavator, crane', a text file with a name a line, or a folder with a "
            "folder a class"
        )
    try:
        return list(LabelSpace.of(found).choose(found).names)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def unknown_to_pocket(names: Sequence[str]) -> list[str]:
    """A warning for classes that the embedded generator never saw."""
    known = yaml.safe_load((RESOURCES / POCKET / "diffusion" / "vocabulary.json").read_text(encoding="utf-8"))
    keys = {key(word) for word in known}
    unknown = [name for name in names if key(name) not in keys]
    if not unknown:
        return []
    near = ", ".join(dict.fromkeys(word for name in unknown for word in nearest(name, known, 2))) or ", ".join(
        known[:8]
    )
    return [
        f"warning: the embedded generator paints 32 objects, and not {', '.join(unknown)}; images of them will show something "
        f"else. Take names that it knows ({near}, ...), or another model: --model stable-diffusion-v1-5/stable-diffusion-v1-5"
    ]


def _data(recipe: str, photos: Path | None, test: Path | None, labels: Path | None) -> dict[str, str]:
    if recipe == "bag_of_tricks":
        if test is None:
            raise InputError(
                "--test is not given; real images measure the classifier: a folder with a folder a class, or Parquet"
            )
        return {"real": f"{{path: {_flow(test)}}}  # these measure, nothing is trained on them"}
    if photos is None:
        raise InputError(f"--photos is not given; {recipe} learns from real images, too: give their folder")
    if recipe == "few_shot":
        root = Path(os.path.commonpath([place.absolute() for place in (photos, test or photos.parent)]))
        inside = root.is_relative_to(Path.cwd())
        shown = root.relative_to(Path.cwd()) if inside else root
        train = photos.absolute().relative_to(root)
        tests = f"{{test: {_flow(test.absolute().relative_to(root))}}}" if test else "{}"
        return {
            "data": f"{{source: folders, root: {_flow(shown)}, train: {_flow(train)}, tests: {tests}}}"
            + ("" if test else "  # each shot is measured by classifiers that did not learn from it"),
            "shots": "4  # photos of each class to learn from",
        }
    if photos.suffix == ".json":
        return _coco(photos, test)
    if labels is None:
        raise InputError(
            f"--labels is not given; {recipe} reads the labels from a YAML file: "
            "'labels: [{name: cat}, {name: dog, unseen: true}, ...]'; or give annotation files of COCO's format: --photos "
            "train.json --test test.json"
        )
    return {"data": f"{{source: parquet, root: {_flow(photos)}, labels: {_flow(labels)}}}"}


def _coco(train: Path, test: Path | None) -> dict[str, str]:
    """Annotation files of COCO's format: what the training images show is seen, what only the test images show is unseen."""
    from figment.datasets.coco import load_coco

    if test is None or test.suffix != ".json":
        raise InputError("--test: give the annotation file of the images that measure, such as --test test.json")
    places: list[str] = []
    shown: list[list[str]] = []
    for field, file in (("train", train), ("test", test)):
        coco = load_coco(file)
        folder = _images_of(file, [image["file_name"] for image in coco.imgs.values()])
        places.append(f"{field}: {{json: {_flow(file)}, images: {_flow(folder)}}}")
        used = {annotation["category_id"] for annotation in coco.anns.values()}
        shown.append([category["name"] for category in coco.cats.values() if category["id"] in used])
    seen, unseen = shown[0], [name for name in shown[1] if name not in shown[0]]
    if not unseen:
        raise InputError(
            f"{test}: shows no category that {train} does not show; this recipe is for labels without images to train on"
        )
    return {"data": f"{{source: coco, {', '.join(places)}, seen: {_flow(seen)}, unseen: {_flow(unseen)}}}"}


def _images_of(file: Path, names: Sequence[str]) -> Path:
    """The folder, beside an annotation file, of its images; of several with images of these names the one that it is called
    after."""
    beside = [file.parent, *sorted(path for path in file.parent.iterdir() if path.is_dir())]
    having = [path for path in beside if names and all((path / name).is_file() for name in names)]
    called = [path for path in having if path.name in file.stem] if len(having) > 1 else having
    if len(called) != 1:
        found = (
            f"are in {' and in '.join(map(str, having))}" if having else "are neither beside it nor in a folder there"
        )
        raise InputError(
            f"{file}: its {len(names)} images {found}; put them into a folder beside it whose name is part of its own, such as "
            "train for train.json"
        )
    return called[0]


def _settings(recipe: str, model: str) -> dict[str, str]:
    """The settings in which the embedded models and others differ."""
    pocket = model == POCKET
    generator = GENERATORS[POCKET] if pocket else GENERATORS[""].format(model=_flow(model))
    found = {"generator": generator}
    if pocket:
        found["clip"] = CLIP
        found["synthesis"] = "{batch_size: 64, image_format: png}"
    if recipe == "bag_of_tricks":
        found["images_per_class"] = f"{32 if pocket else 200}  # in each of four tricks"
        found["training"] = (
            "{model: test_resnet, image_size: 32, steps: 300, batch_size: 64, learning_rate: 0.003, weight_decay: 0.05}"
            if pocket
            else "{model: resnet18, image_size: 128, epochs: 60, weight_decay: 0.05, crop_scale: 0.35}"
        )
    elif recipe == "few_shot":
        backbone = f"open_clip:local-dir:{POCKET}/clip, image_size: 32" if pocket else "timm:resnet50"
        steps = (
            ", head: {steps: 2000, learning_rate: 0.001}, filter: {steps: 2000, learning_rate: 0.001}" if pocket else ""
        )
        found["training"] = f"{{backbone: {{model: {backbone}}}, validate_on: nothing{steps}}}"
        if pocket:
            found["adaptation"] = "{inversion: {steps: 200, learning_rate: 0.0005}}"
    elif recipe == "tailored" and pocket:
        found["training"] = (
            f"{{backbone: {CLIP}, image_size: 32, context: 4, fusion_scale: 0.1, batches: mixed, epochs: 8, learning_rate: 0.02, "
            "fusion_learning_rate: 0.01, warmup_rate: 0.001, cutout: 0.0, randaugment: false}"
        )
    elif recipe == "semantic_diversity":
        found["generated"] = "true  # images of the unseen labels join the training"
        if pocket:
            found["training"] = (
                f"{{vectors: {{clip: {CLIP}}}, model: test_resnet, image_size: 32, batch_size: 64, learning_rate: 0.01, "
                "cutout: 0.0, randaugment: false}"
            )
    return found


def _flow(value: object) -> str:
    """A value as YAML on one line."""
    plain = value if isinstance(value, list) else str(value)
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
