"""Models: what one came from, how good it is, what it becomes elsewhere; and what was made elsewhere."""

import argparse
import os
from pathlib import Path

from figment.commands.command import argument, command
from figment.errors import InputError


def folder_or_name(text: str) -> Path | str:
    """What was typed, as a path if a folder is there."""
    return Path(text) if os.path.isdir(os.path.expanduser(text)) else text


@command(
    "why",
    "say what a model was made of",
    argument(
        "model", type=folder_or_name, help="a model's folder, or one of the registry: NAME, NAME@ALIAS or NAME/VERSION"
    ),
)
def why_model(options: argparse.Namespace) -> None:
    from figment.ops.stack import use_tracker
    from figment.ops.trace import why

    use_tracker()
    print(why(str(options.model)))


@command(
    "evaluate",
    "measure a trained model of any kind on labelled images: intervals and a table of classes",
    argument("model", type=Path, metavar="FOLDER", help="a trained model"),
    argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="PATH",
        help="class folders, Parquet, CIFAR batches, or the folder of a run's split; once for each set",
    ),
    argument("--json", type=Path, metavar="FILE", help="write all of it there, with the confusion of classes"),
    argument("--device", default="auto"),
    argument(
        "--as-published",
        action="store_true",
        help="also top-1 without eval(), as the bag of tricks' code measures it: by batch statistics, in batches of 128",
    ),
)
def evaluate_model(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.evaluation.evaluate import evaluate, table_of
    from figment.files import write_json

    found = evaluate(options.model, options.data, options.device, options.as_published)
    if options.json:
        write_json(options.json, [each.model_dump(mode="json") for each in found])
    for each in found:
        Console().print(table_of(each))


@command(
    "transfer",
    "a head of real images on a run's generated ones and back, on a frozen network's features",
    argument("run_folder", type=Path, metavar="RUN", help="a run that generated images of one class each"),
    argument("--data", type=Path, required=True, metavar="PATH", help="labelled real images"),
    argument("--backbone", default="timm:resnet50", metavar="MODEL", help="timm:NAME or open_clip:MODEL"),
    argument("--weights", type=str, metavar="FILE", help="its weights; by default timm's"),
    argument("--size", type=int, default=224, metavar="PX", help="of the images; by default 224"),
    argument("--out", type=Path, metavar="DIR", help="for transfer.json and .png; by default RUN"),
)
def transfer_run(options: argparse.Namespace) -> None:
    import pyarrow as pa
    from rich.console import Console

    from figment.evaluation.transfer import Generated, table_of, transfer
    from figment.exports.run_images import RunImages, run_space
    from figment.labels import LabelSpace
    from figment.training.config import BackboneConfig

    folder, images = options.run_folder, RunImages(options.run_folder)
    if images.classes.multi_label:
        raise InputError(f"{folder}: its images show several classes each; transfer is between images of one class")
    names = images.classes.names
    labels = {"image_id": [i.decode() for i in images.ids], "label": [names[i] for i in images.positions]}
    made = Generated(images.pool, pa.table(labels), run_space(folder / "config.yaml") or LabelSpace.of(names))
    backbone = BackboneConfig(model=options.backbone, weights=options.weights, image_size=options.size)
    cells = transfer(made, options.data, options.out or folder, backbone)
    Console().print(table_of(cells))


@command(
    "import",
    "bring in what was made elsewhere, in the form that configs name, with its digest and origin",
    argument(
        "kind",
        metavar="KIND",
        help="folder, parquet, coco or nus (images); prompts, weights, text-encoder, words, sdl, generator",
    ),
    argument("source", type=Path, metavar="SOURCE", help="a file or folder, as the kind has it"),
    argument("--out", type=Path, metavar="DIR", help="a new folder; by default artifacts/imported/NAME"),
    argument("--name", default="", help="what the images are called as a training set; by default as SOURCE"),
    argument("--images", type=Path, metavar="DIR", help="of coco and nus: the folder of the images"),
    argument("--labels", type=Path, metavar="FILE", help="of nus a list of names, of prompts a label file"),
    argument("--model", default="", help="of weights: timm's name of the network that they are of"),
    argument("--vectors", type=Path, metavar="PLACE", help="of sdl: the label vectors, or their folder"),
    argument("--config", type=Path, metavar="DIR", help="of generator: a folder of diffusers of its architecture"),
)
def import_made(options: argparse.Namespace) -> None:
    from figment.imports.contract import Options
    from figment.imports.registry import import_source

    given = Options(**{name: getattr(options, name) for name in vars(Options()) if hasattr(options, name)})
    print(import_source(options.kind, options.source, given, options.out))


@command(
    "export",
    "write a run's images as a data set; or a trained model of any kind as ONNX, check it against torch, time both",
    argument("model", type=Path, metavar="FOLDER", help="of a run, such as artifacts/tailored, or of a trained model"),
    argument("--format", help="of a run's images: folder, coco, hf (Parquet), webdataset or yolo"),
    argument("--out", type=Path, metavar="DIR", help="a new folder; by default RUN_FORMAT beside the run"),
    argument("--all", action="store_true", help="images that were not accepted, too"),
    argument(
        "--images", type=Path, help="what ONNX and torch are shown; by default the real images of the model's run"
    ),
)
def export_folder(options: argparse.Namespace) -> None:
    """A run's folder has a plan; any other is a model's."""
    from figment.exports.export import FORMATS, export_run

    if options.format is not None:
        print(export_run(options.model, options.format, options.out, options.all))
    elif (options.model / "plan.parquet").exists():
        raise InputError(f"{options.model}: is the folder of a run; give --format, one of {', '.join(FORMATS)}")
    elif options.out or options.all:
        raise InputError("--out and --all are for the images of a run; give --format, too")
    else:
        export_model(options)


def export_model(options: argparse.Namespace) -> None:
    from itertools import islice

    import torch

    from figment.image_files import find_files, read_images
    from figment.images import to_tensor
    from figment.training.kinds.registry import open_model
    from figment.training.onnx_export import compare, export_onnx

    trained = open_model(options.model)
    model, file = trained.scorer(), options.model / "model.onnx"
    files = find_files([options.images or real_images(options.model)])
    images = (image for path in files for image in read_images(path))
    pixels = torch.stack([to_tensor(p, *trained.preparation) for p in islice(images, 256)])
    pixels = pixels.float() / 255
    export_onnx(model, trained.saved, file)
    found = compare(model, file, pixels)
    print(f"{file}: scores within {found.difference:.1e} of torch's on {found.images} images")
    for batch, milliseconds in found.onnx_ms.items():
        print(f"batch {batch}: {milliseconds:.2f} ms, torch {found.torch_ms[batch]:.2f} ms")


def real_images(model: Path) -> Path:
    """Where the run of a model read real images, or else those of a clone. Raises InputError if none are here."""
    from figment.evaluation.provenance import output_of
    from figment.ops.lineage_file import LINEAGE, Lineage
    from figment.reading import read_artifact

    lineage = output_of(model) / LINEAGE
    named = read_artifact(lineage, Lineage).real if lineage.is_file() else {}
    for path in map(Path, [*named, "data/real"]):
        if path.is_dir() or (path.is_file() and path.suffix == ".parquet"):
            return path
    raise InputError(f"{model}: the real images of its run are not here; give images, such as --images photos")
