"""The command line of the library: ``figment new``, ``run``, ``check``, ``estimate``, ``render``, ``generate``, ``replay``,
``trace``, ``why``, ``predict``, ``evaluate``, ``export``, ``import``, ``payload``,
``dataset list | get | add``, ``stack apply``.

``figment run CONFIG`` does what ``zenml pipeline run`` does; the others look into its folders or lend a hand from other machines.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from figment.errors import InputError
from figment.files import atomic
from figment.ops.checking import CONFIG, read_config
from figment.ops.endings import ended
from figment.ops.environment import load_environment
from figment.ops.new_config import RECIPES
from figment.ops.run import add_options, quieten
from figment.text import shown
from figment.types import Count, PathText, Seed, expanded_path

PICTURES = Path("data/real/test.parquet")
SERVED = "figment-bag-of-tricks@challenger"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0, or 2 after one sentence on what the user can mend."""
    parser = argparse.ArgumentParser(prog="figment", description="From the names of classes to a trained classifier.")
    parser.add_argument("--version", action=Version, nargs=0, help="say the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("new", help="write a first config, for classes and images of your own")
    command.add_argument("config", type=Path, metavar="CONFIG", help="the file to write, such as excavators.yaml")
    command.add_argument("--recipe", choices=RECIPES, default=RECIPES[0], help=f"by default {RECIPES[0]}")
    command.add_argument(
        "--classes",
        default="",
        metavar="NAMES",
        help="'excavator, crane', or a text file; by default the folders' names",
    )
    command.add_argument("--test", type=Path, metavar="DIR", help="real images that measure: a folder a class")
    command.add_argument("--photos", type=Path, metavar="DIR", help="real images to learn from, of recipes that do")
    command.add_argument(
        "--labels", type=Path, metavar="FILE", help="YAML: the labels, and which are unseen, of those recipes"
    )
    command.add_argument(
        "--model", default="pocket", metavar="MODEL", help="a hub id or folder; by default the small embedded models"
    )
    command.add_argument("--out", default="", metavar="DIR", help="where its run writes; by default artifacts/NAME")
    command.set_defaults(run=write_config)

    command = commands.add_parser(
        "run", help="run a config; a finished run does nothing again, an interrupted one resumes"
    )
    command.add_argument("config", type=Path, metavar="CONFIG", help="a pipeline's YAML file")
    add_options(command)
    command.set_defaults(run=run_config)

    command = commands.add_parser(
        "check", help="say all that is wrong with a pipeline's config, with an example of what would be right"
    )
    command.add_argument("config", type=Path, nargs="+", metavar="CONFIG", help="a pipeline's YAML file")
    command.set_defaults(run=check_configs)

    command = commands.add_parser(
        "estimate", help="say what a plan will cost; without one, write that of a bag-of-tricks config first"
    )
    command.add_argument("plan", type=Path, nargs="?", metavar="PLAN", help="plan.parquet of a run of any recipe")
    command.add_argument("-c", "--config", type=Path, required=True, help="a pipeline's YAML file")
    command.set_defaults(run=estimate_config)

    command = commands.add_parser("render", help="render a plan, or every n-th shard of it, into images/ beside it")
    command.add_argument("plan", type=Path, help="plan.parquet")
    command.add_argument("-c", "--config", type=Path, required=True, help="a pipeline's YAML file: how to render")
    command.add_argument("--shard", default="0/1", metavar="I/N", help="the I-th of N shares of the work, from 0")
    command.set_defaults(run=render_plan)

    command = commands.add_parser(
        "generate", help="render images of a prompt of your own, which may say a learned word"
    )
    command.add_argument("prompt", metavar="PROMPT", help="such as 'a photo of a <bus> on a beach'")
    command.add_argument(
        "-c", "--config", type=Path, required=True, help="a pipeline's YAML file: generator, synthesis"
    )
    command.add_argument(
        "--adapter", type=Path, metavar="PLACE", help="what holds the word: a file, a run's folder, an import's"
    )
    command.add_argument("--out", type=Path, default=Path("artifacts/generated"), metavar="DIR")
    command.add_argument("--count", type=int, default=1, metavar="N")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=generate_images)

    command = commands.add_parser("replay", help="render one image again from its plan and compare it with the pool's")
    command.add_argument("image_id", help="or its beginning")
    command.add_argument(
        "--plan", type=Path, help="plan.parquet; by default the one under artifacts/ that holds the id"
    )
    command.add_argument("--save", type=Path, help="write the picture there")
    command.set_defaults(run=replay_image)

    command = commands.add_parser("trace", help="say where an image came from, and which models learned from it")
    command.add_argument("image_id", help="or its beginning")
    command.add_argument("--plan", type=Path, help="plan.parquet; by default all under artifacts/ that hold the id")
    command.set_defaults(run=trace_image)

    command = commands.add_parser("why", help="say what a model was made of")
    command.add_argument(
        "model", type=folder_or_name, help="a model's folder, or one of the registry: NAME, NAME@ALIAS or NAME/VERSION"
    )
    command.set_defaults(run=why_model)

    command = commands.add_parser(
        "predict", help="classify or tag pictures, folders of them or Parquet files: a line of JSON a class or tag"
    )
    command.add_argument("image", type=Path, nargs="+", metavar="IMAGE")
    command.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a trained model; by default that of the last run in artifacts/"
    )
    command.add_argument("--top-k", type=int, metavar="K", help="lines a picture; by default 10 tags, 1 class")
    command.add_argument("--tags", type=Path, metavar="FILE", help="only these tags, one a line, new ones too")
    command.add_argument(
        "--rendered", type=Path, metavar="FOLDER", help="write each picture with its tags beside there"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="write a table: .csv, .parquet or .jsonl")
    command.add_argument("--batch-size", type=int, default=32, metavar="N")
    command.add_argument("--device", default="auto")
    command.set_defaults(run=predict_pictures)

    command = commands.add_parser(
        "evaluate", help="measure a trained model of any kind on labelled images: intervals and a table of classes"
    )
    command.add_argument("model", type=Path, metavar="FOLDER", help="a trained model")
    command.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="PATH",
        help="class folders, Parquet, CIFAR batches, or the folder of a run's split; once for each set",
    )
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write all of it there, with the confusion of classes"
    )
    command.add_argument("--device", default="auto")
    command.set_defaults(run=evaluate_model)

    command = commands.add_parser(
        "export",
        help="write a run's images as a data set; or a trained model of any kind as ONNX, check it against torch, time both",
    )
    command.add_argument(
        "model", type=Path, metavar="FOLDER", help="of a run, such as artifacts/tailored, or of a trained model"
    )
    command.add_argument("--format", help="of a run's images: folder, coco, hf (Parquet), webdataset or yolo")
    command.add_argument("--out", type=Path, metavar="DIR", help="a new folder; by default RUN_FORMAT beside the run")
    command.add_argument("--all", action="store_true", help="images that were not accepted, too")
    command.add_argument("--pictures", type=Path, help=f"what ONNX and torch are shown; by default {PICTURES}")
    command.set_defaults(run=export_folder)

    command = commands.add_parser(
        "import", help="bring in what was made elsewhere, in the form that configs name, with its digest and origin"
    )
    command.add_argument(
        "kind", metavar="KIND", help="folder, parquet, coco or nus (images); prompts, weights, text-encoder, words"
    )
    command.add_argument("source", type=Path, metavar="SOURCE", help="a file or folder, as the kind has it")
    command.add_argument("--out", type=Path, metavar="DIR", help="a new folder; by default artifacts/imported/NAME")
    command.add_argument(
        "--name", default="", help="what the images are called as a training set; by default as SOURCE"
    )
    command.add_argument("--images", type=Path, metavar="DIR", help="of coco and nus: the folder of the images")
    command.add_argument("--labels", type=Path, metavar="FILE", help="of nus a list of names, of prompts a label file")
    command.add_argument("--model", default="", help="of weights: timm's name of the network that they are of")
    command.add_argument("--vectors", type=Path, metavar="PLACE", help="of sdl: the label vectors, or their folder")
    command.set_defaults(run=import_made)

    command = commands.add_parser(
        "payload", help="pictures as the JSON that `mlflow models predict` and an MLflow server take"
    )
    command.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help="a picture, a folder or a Parquet file")
    command.add_argument("--model", default=SERVED, help=f"a registered classifier; by default {SERVED}")
    command.set_defaults(run=print_payload)

    command = commands.add_parser("dataset", help="runs' images, plans, verdicts and models as DVC keeps them")
    datasets = command.add_subparsers(required=True, metavar="COMMAND")
    command = datasets.add_parser("list", help="the runs whose dataset has a pointer: size, and whether git has it")
    command.add_argument("--rev", metavar="REV", help="at a git revision")
    command.set_defaults(run=list_datasets)
    command = datasets.add_parser(
        "get", help="bring a run's dataset: from the remote; of a revision; of another repository"
    )
    command.add_argument("name", metavar="RUN", help="such as bag_of_tricks, or its folder")
    command.add_argument("--rev", metavar="REV", help="as of a git revision, into a folder of its own")
    command.add_argument("--repo", metavar="URL", help="of another clone of Figment, by its address or path")
    command.add_argument("--out", type=Path, metavar="DIR", help="a new folder; by default RUN_REV beside the run")
    command.set_defaults(run=get_dataset)
    command = datasets.add_parser("add", help="version a run's folder now, as its last step does")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="such as artifacts/bag_of_tricks")
    command.add_argument("--keep", choices=["all", "accepted"], default="all")
    command.set_defaults(run=add_dataset)

    command = commands.add_parser("stack", help="where pipelines run: configs/stacks/")
    command = command.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "apply", help="register a stack file's components and stack, or update what differs, and make it the active one"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="such as configs/stacks/local.yaml")
    command.set_defaults(run=apply_stack_file)

    options = parser.parse_args(arguments)

    def work() -> None:
        load_environment()
        expand_paths(options)
        quieten()
        options.run(options)

    try:
        return ended(work)
    except BrokenPipeError:  # whoever read the lines has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


class Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"figment {version('figment')}")
        parser.exit()


def folder_or_name(text: str) -> Path | str:
    """What was typed, as a path if a folder is there."""
    return Path(text) if os.path.isdir(os.path.expanduser(text)) else text


def expand_paths(options: argparse.Namespace) -> None:
    """Replace ``~`` in all paths."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, expanded_path(value))
        elif isinstance(value, list) and value and isinstance(value[0], Path):
            setattr(options, name, [expanded_path(path) for path in value])


def write_config(options: argparse.Namespace) -> None:
    from figment.ops.config_check import checked, refuse_faults
    from figment.ops.new_config import new_config

    file = options.config
    given = (options.recipe, options.classes, options.photos, options.test, options.labels, options.model, options.out)
    warnings = new_config(file, *given)
    try:
        refuse_faults([checked(file)])
    except InputError:
        file.unlink()
        raise
    print("\n".join(warnings), end="\n" if warnings else "", file=sys.stderr)
    print(f"{file}: written; run it with: figment run {file}")


def run_config(options: argparse.Namespace) -> None:
    from figment.ops.run import run

    run(options.config, seeds=options.seeds, again=options.again, output=options.out)


def check_configs(options: argparse.Namespace) -> None:
    from figment.ops.config_check import checked, refuse_faults

    refuse_faults([checked(path) for path in options.config])
    print("\n".join(f"{path}: ok" for path in options.config))


def estimate_config(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.estimate import estimate
    from figment.synthesis.generator import Inputs
    from figment.synthesis.pool import Pool
    from figment.synthesis.renderers import Renderers

    parameters = read_parameters(options.config)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    plan = options.plan or plan_config(options.config, parameters)
    if not plan.is_file():
        raise InputError(f"{plan}: there is no such plan; a run writes it before it renders")
    expected = estimate(plan, Pool(plan.parent / "images"), synthesis, Renderers(synthesis, Inputs.beside(plan)))
    if expected is None:
        print("every planned image is rendered already")
    else:
        Console().print(expected.table())


def plan_config(path: Path, parameters: dict[str, Any]) -> Path:
    """Write the plan of a bag-of-tricks config: those of the other recipes need what a run makes first."""
    from figment.labels import LabelSpace
    from figment.planning.bag_of_tricks import plan_bag_of_tricks, replicates_of, training_sets
    from figment.planning.generator_config import GeneratorConfig
    from figment.planning.plan import write_plan
    from figment.prompts.tricks import Wording, build_tricks, scales_of, write_prompts
    from figment.synthesis.adapter_files import place_loras
    from figment.synthesis.families import Requests
    from figment.synthesis.weights import check_family, model_revision

    plan = Path(setting(path, parameters, "output", PathText)) / "plan.parquet"
    if "tricks" not in parameters:
        raise InputError(
            f"{path}: no parameters.tricks, and only a bag-of-tricks config can be planned without a run; "
            f"name the plan that a run writes before it renders: figment estimate {plan} -c {path}"
        )
    generator = setting(path, parameters, "generator", GeneratorConfig)
    classes, names = (setting(path, parameters, name, list[str]) for name in ("classes", "tricks"))
    domains = setting(path, parameters, "domains", list[str] | None)
    labels = LabelSpace.chosen(classes, setting(path, parameters, "labels", PathText | None))
    tricks = build_tricks(names, domains, generator.guidance_scale, setting(path, parameters, "wording", Wording))
    check_family(generator, Requests(scales_of(tricks)))
    count = setting(path, parameters, "images_per_class", Count)
    seed = setting(path, {"seed": 0, **parameters}, "seed", Seed)
    unions = setting(path, parameters, "unions", dict[str, dict[str, Count]] | None)
    book = write_prompts(labels, tricks)
    images = replicates_of(training_sets(names, count, unions, fixed_size=False), book)
    rows = plan_bag_of_tricks(book, tricks, generator, model_revision(generator), images, seed)
    place_loras(generator, plan.parent / "adapters")
    write_plan(rows, plan)
    return plan


def render_plan(options: argparse.Namespace) -> None:
    from figment.clip.scorer import ClipConfig, ClipScorer
    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.generator import Inputs
    from figment.synthesis.pool import Pool
    from figment.synthesis.renderers import Renderers
    from figment.synthesis.workers import synthesise_by_workers
    from figment.validation.features import FeatureStore

    parameters = read_parameters(options.config)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    if not options.plan.is_file():
        raise InputError(f"{options.plan}: there is no such plan; 'figment estimate' writes one")
    pool = Pool(options.plan.parent / "images")
    clip = setting(options.config, parameters, "clip", ClipConfig) if parameters.get("clip") else None
    report = synthesise_by_workers(
        options.plan,
        pool,
        synthesis,
        part=read_share(options.shard),
        clip=clip and clip.model_dump(),
        renderers=Renderers(synthesis, Inputs.beside(options.plan)),
        observer=clip and FeatureStore(pool, ClipScorer(clip)),
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
            partial.write_bytes(again.picture)
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


def predict_pictures(options: argparse.Namespace) -> None:
    from figment.evaluation.prediction import predict_files
    from figment.evaluation.prediction_files import check_ending, write_predictions
    from figment.ops.summary import last_model
    from figment.pictures import find_files

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


def evaluate_model(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.evaluation.evaluate import evaluate, table_of
    from figment.files import write_json

    found = evaluate(options.model, options.data, options.device)
    if options.json:
        write_json(options.json, [each.model_dump(mode="json") for each in found])
    for each in found:
        Console().print(table_of(each))


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

    from figment.images import to_tensor
    from figment.pictures import find_files, read_pictures
    from figment.training.kinds.registry import open_model
    from figment.training.onnx_export import compare, export_onnx

    trained = open_model(options.model)
    model, size, file = trained.scorer(), trained.preparation[0], options.model / "model.onnx"
    pictures = (picture for path in find_files([options.pictures or PICTURES]) for picture in read_pictures(path))
    pixels = torch.stack([to_tensor(p, *trained.preparation) for p in islice(pictures, 256)])
    pixels = pixels.float() / 255
    export_onnx(model, size, file)
    found = compare(model, file, pixels)
    print(f"{file}: scores within {found.difference:.1e} of torch's on {found.pictures} pictures")
    for batch, milliseconds in found.onnx_ms.items():
        print(f"batch {batch}: {milliseconds:.2f} ms, torch {found.torch_ms[batch]:.2f} ms")


def print_payload(options: argparse.Namespace) -> None:
    from figment.ops.registry import payload
    from figment.ops.stack import use_tracker

    use_tracker()
    print(payload(options.model, options.image))


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
    from figment.ops.versioning_config import VersioningConfig

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
    """The parameters of a pipeline's config file."""
    parameters = read_config(path).get("parameters")
    if parameters is None:
        raise InputError(f"{path}: has no 'parameters:'; expected {CONFIG}")
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
