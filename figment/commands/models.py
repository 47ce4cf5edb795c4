"""Models: what one came from, how good it is, what it becomes elsewhere; and what was made elsewhere."""

import argparse
from pathlib import Path

from figment.errors import InputError


def why_model(options: argparse.Namespace) -> None:
    from figment.ops.stack import use_tracker
    from figment.ops.trace import why

    use_tracker()
    print(why(str(options.model)))


def evaluate_model(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.evaluation.evaluate import evaluate, table_of
    from figment.files import write_json

    found = evaluate(options.model, options.data, options.device, options.as_published)
    if options.json:
        write_json(options.json, [each.model_dump(mode="json") for each in found])
    for each in found:
        Console().print(table_of(each))


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


def import_made(options: argparse.Namespace) -> None:
    from figment.imports.contract import Options
    from figment.imports.registry import import_source

    given = Options(**{name: getattr(options, name) for name in vars(Options()) if hasattr(options, name)})
    print(import_source(options.kind, options.source, given, options.out))


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
