"""What each command of the command line does, with the options that were typed; libraries are imported when they are needed."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from figment.errors import InputError
from figment.files import atomic
from figment.ops.checking import CONFIG, read_config
from figment.text import shown


def write_config(options: argparse.Namespace) -> None:
    from figment.ops.config_check import checked, refuse_faults
    from figment.ops.new_config import RECIPES, new_config

    file = options.config
    given = (options.recipe, options.classes, options.photos, options.test, options.labels, options.model, options.out)
    warnings = new_config(file, *given)
    try:
        refuse_faults([checked(file)])
    except InputError:
        file.unlink()
        raise
    print("\n".join(warnings), end="\n" if warnings else "", file=sys.stderr)
    look = f"look at it first: figment preview {file}; then " if options.recipe == RECIPES[0] else ""
    print(f"{file}: written; {look}run it with: figment run {file}")


def run_config(options: argparse.Namespace) -> None:
    from figment.ops.run import run

    run(options.config, seeds=options.seeds, again=options.again, output=options.out)


def check_configs(options: argparse.Namespace) -> None:
    from figment.ops.config_check import checked, refuse_faults

    refuse_faults([checked(path) for path in options.config])
    print("\n".join(f"{path}: ok" for path in options.config))


def estimate_config(options: argparse.Namespace) -> None:
    from rich.console import Console

    plan, renderers = planned(options)
    Console().print(estimated(plan, renderers))


def preview_config(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.evaluation.preview import prompts_table, sets_of, sheet

    if options.count < 1:
        raise InputError(f"preview: --count is {options.count}; give 1 or more")
    plan, renderers = planned(options)
    console = Console()
    console.print(estimated(plan, renderers))
    sets = sets_of(plan, options.count)
    console.print(prompts_table(sets))
    file = plan.parent.with_name(f"{plan.parent.name}.preview.png")
    with atomic(file) as partial:
        sheet(sets, renderers).save(partial, "PNG")
    print(f"{file}: {options.count} images of each set at most, none of them kept in the run")


def planned(options: argparse.Namespace) -> tuple[Path, Any]:
    """The plan that is named, or that of the config, and what renders it."""
    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.generator import Inputs
    from figment.synthesis.renderers import Renderers

    plan, path = getattr(options, "plan", None), options.config
    synthesis = setting(path, read_parameters(path), "synthesis", SynthesisConfig)
    plan = plan or plan_config(path)
    if not plan.is_file():
        raise InputError(f"{plan}: there is no such plan; a run writes it before it renders")
    return plan, Renderers(synthesis, Inputs.beside(plan))


def estimated(plan: Path, renderers: Any) -> Any:
    """What rendering the plan will cost, as the console prints it."""
    from figment.synthesis.estimate import estimate
    from figment.synthesis.pool import Pool

    expected = estimate(plan, Pool(plan.parent / "images"), renderers.config, renderers)
    return expected.table() if expected else "every planned image is rendered already"


def plan_config(path: Path) -> Path:
    """Write the plan of a bag-of-tricks config: those of the other recipes need what a run makes first."""
    from figment.ops.config_check import checked, refuse_faults
    from figment.planning.plan import write_plan
    from figment.planning.planners import Given
    from figment.prompts.kinds import write_book
    from figment.recipes.config import BagOfTricks
    from figment.synthesis.adapter_files import place_loras
    from figment.synthesis.families import Requests
    from figment.synthesis.weights import check_family, model_revision

    found = checked(path, on_disk=False)
    refuse_faults([found])
    plan = Path(found.parameters["output"]) / "plan.parquet"
    if found.pipeline != "bag_of_tricks":
        if plan.is_file():
            return plan
        raise InputError(
            f"{path}: only a bag-of-tricks config can be planned without a run; this one is of {found.pipeline}, whose "
            f"run writes {plan} before it renders; to see what its generator makes: figment generate 'a photo of a cat' -c {path}"
        )
    recipe = BagOfTricks(**found.parameters)
    planning, generator, labels = recipe.planning, recipe.generator, recipe.dataset.space()
    check_family(generator, Requests(planning.scales))
    book = write_book(planning.prompts, labels, generator.guidance_scale, plan.parent)
    place_loras(generator, plan.parent / "adapters")
    given = Given(labels, book.prompts, model_revision(generator))
    write_plan(planning.planner.rows(given, planning), plan)
    return plan


def render_plan(options: argparse.Namespace) -> None:
    from figment.clip.scorer import ClipConfig
    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.engines import render_plan as render
    from figment.synthesis.generator import Inputs
    from figment.synthesis.pool import Pool
    from figment.synthesis.renderers import Renderers
    from figment.validation.features import open_features

    parameters = read_parameters(options.config)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    if not options.plan.is_file():
        raise InputError(f"{options.plan}: there is no such plan; 'figment estimate' writes one")
    pool = Pool(options.plan.parent / "images")
    clip = setting(options.config, parameters, "clip", ClipConfig) if parameters.get("clip") else None
    report = render(
        options.plan,
        pool,
        synthesis,
        part=read_share(options.shard),
        observe=clip and partial(open_features, clip),
        renderers=Renderers(synthesis, Inputs.beside(options.plan)),
        observer=clip and open_features(clip, pool),
    )
    print(f"{report.rendered:,} images rendered, {report.images_per_second:.1f} images/s {report.stopped}".strip())


def generate_images(options: argparse.Namespace) -> None:
    from figment.adaptation.free_prompt import generate
    from figment.planning.generator_config import GeneratorConfig
    from figment.synthesis.config import SynthesisConfig

    parameters = read_parameters(options.config)
    if options.count < 1 or options.seed < 0 or not options.prompt.strip():
        raise InputError("generate: give a prompt, --count of 1 or more and --seed of 0 or more")
    generator = setting(options.config, parameters, "generator", GeneratorConfig)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    for path in generate(
        options.prompt, generator, synthesis, options.out, options.adapter, options.count, options.seed
    ):
        print(path)


def replay_image(options: argparse.Namespace) -> None:
    from figment.planning.lookup import find_plans
    from figment.synthesis.replay import replay

    again = replay(options.plan or find_plans(options.image_id)[0], options.image_id)
    if options.save:
        with atomic(options.save) as partial:
            partial.write_bytes(again.image)
    equality = "the files are equal" if again.equal else f"PSNR {again.psnr:.1f} dB, the files' bytes differ"
    print(f"{again.image_id}\n{again.prompt!r}: {equality}")


def trace_image(options: argparse.Namespace) -> None:
    from figment.ops.stack import use_tracker
    from figment.ops.trace import trace
    from figment.planning.lookup import find_plans

    use_tracker()
    print(trace([options.plan] if options.plan else find_plans(options.image_id), options.image_id))


def why_model(options: argparse.Namespace) -> None:
    from figment.ops.stack import use_tracker
    from figment.ops.trace import why

    use_tracker()
    print(why(str(options.model)))


def predict_images(options: argparse.Namespace) -> None:
    from figment.evaluation.prediction import predict_files
    from figment.evaluation.prediction_files import check_ending, write_predictions
    from figment.image_files import find_files
    from figment.ops.summary import last_model

    if options.out:
        check_ending(options.out)
    files, model = find_files(options.image), options.model or last_model()
    given = (options.tags, options.top_k, options.batch_size, options.rendered, options.device)
    lines = predict_files(model, files, *given)
    if options.out:
        print(f"{options.out}: {write_predictions(lines, options.out)} rows")
    else:
        for line in lines:
            print(line, flush=True)


def ask_images(options: argparse.Namespace) -> None:
    from figment.clip.config import ClipConfig
    from figment.datasets.config import RealConfig
    from figment.evaluation.ask_run import ask_about, ask_for_review, take_answers

    run, file = options.run_folder, options.run_folder / "config.yaml"
    if options.answers:
        path, given, shots = take_answers(run, options.answers)
        classes = len(set(shots["label"].to_pylist()))
        print(f"{path}: {len(shots)} images of {classes} classes for {given.clicks} clicks; real.shots: {path}")
        return
    if not file.is_file():
        raise InputError(f"{run}: holds no config.yaml; give the folder of a run that has ended")
    parameters = read_parameters(file)
    if options.review:
        print(f"{ask_for_review(run, setting(file, parameters, 'review', str | None))}: open it in a browser")
        return
    if options.clusters < 1:
        raise InputError(f"--clusters {options.clusters}: give 1 or more")
    data = options.data or setting(file, parameters.get("data", parameters), "real", RealConfig).unlabelled
    if data is None:
        raise InputError(f"{file}: no real.unlabelled; name a folder or Parquet file of images by --data")
    page = ask_about(run, str(data), setting(file, parameters, "clip", ClipConfig), options.clusters)
    print(f"{page}: open it in a browser; then figment ask {run} --answers FILE")


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


def print_payload(options: argparse.Namespace) -> None:
    from figment.ops.payload import payload

    print(payload(options.image))


def clean(options: argparse.Namespace) -> None:
    from figment.ops.clean import delete, find

    rows = find(options.runs)
    for path, size, what in rows:
        print(f"{size / 1e6:12,.1f} MB  {path}  ({what})")
    if options.yes:
        delete(rows)
    total = f"{sum(size for _, size, _ in rows) / 1e6:,.1f} MB in {len(rows)} places"
    print(f"{total}, deleted" if options.yes else f"{total}; nothing is deleted yet, --yes does it")


def list_datasets(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from figment.ops.dataset_commands import COLUMNS, list_datasets

    table = Table()
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 1 <= number <= 3 else "left")
    for row in list_datasets(options.rev):
        table.add_row(*map(Text, row))
    Console(width=120).print(table)


def get_dataset(options: argparse.Namespace) -> None:
    from figment.ops.dataset_commands import get_dataset

    print(get_dataset(options.name, options.rev, options.repo, options.out))


def add_dataset(options: argparse.Namespace) -> None:
    from figment.ops.dataset_commands import add_dataset
    from figment.recipes.base import VersioningConfig

    print(add_dataset(options.folder, VersioningConfig(keep=options.keep)))


def apply_stack_file(options: argparse.Namespace) -> None:
    from figment.ops import state
    from figment.ops.stack import initialise
    from figment.ops.stacks_apply import apply_stack, missing_packages
    from figment.ops.stacks_file import read_stack

    stack = read_stack(options.file)
    with state.locked():
        initialise()
        print("\n".join(apply_stack(stack) or [f"{stack.name}: nothing to change"]))
    if missing := missing_packages(stack):
        print(f"not installed here, and a run will ask for it: {', '.join(missing)}; see the extras in pyproject.toml")


def read_share(share: str) -> tuple[int, int]:
    """(i, n) from ``i/n``."""
    number, _, count = share.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise InputError(f"--shard {share!r}: expected I/N with I from 0 to N - 1, such as 0/4")
    return int(number), int(count)


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters of a pipeline's config file; embedded models that it names are where it names them then."""
    from figment.ops.embedded import link_embedded

    parameters = read_config(path).get("parameters")
    if parameters is None:
        raise InputError(f"{path}: has no 'parameters:'; expected {CONFIG}")
    link_embedded(parameters)
    return parameters


def setting(path: Path, parameters: dict[str, Any], name: str, kind: Any) -> Any:
    """One parameter, validated."""
    try:
        return TypeAdapter(kind).validate_python(parameters.get(name, {} if isinstance(kind, type) else None))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, (name, *first["loc"])))
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: parameters.{field}: {said}; found {shown(first['input'])}") from error
