"""The command line of the library: ``figment new``, ``run``, ``check``, ``estimate``, ``preview``, ``render``, ``generate``,
``replay``, ``trace``, ``why``, ``predict``, ``ask``, ``evaluate``, ``transfer``, ``export``, ``import``, ``payload``,
``dataset list | get | add``, ``stack apply``.

``figment run CONFIG`` does what ``zenml pipeline run`` does; the others look into its folders or lend a hand from other machines.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from figment.commands.configs import check_configs, estimate_config, preview_config, run_config, write_config
from figment.commands.images import (
    ask_images,
    generate_images,
    predict_images,
    print_payload,
    render_plan,
    replay_image,
    trace_image,
)
from figment.commands.models import evaluate_model, export_folder, import_made, transfer_run, why_model
from figment.commands.runs import add_dataset, apply_stack_file, clean, get_dataset, list_datasets
from figment.ops.endings import ended
from figment.ops.environment import load_environment
from figment.ops.new_config import RECIPES
from figment.ops.run import add_options, quieten
from figment.types import expanded_path


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
    command.add_argument(
        "--test", type=Path, metavar="DIR", help="real images that measure: a folder a class; few_shot can do without"
    )
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
        "estimate", help="say what a plan will cost; without one, write that of the config first"
    )
    command.add_argument("plan", type=Path, nargs="?", metavar="PLAN", help="plan.parquet of a run of any recipe")
    command.add_argument("-c", "--config", type=Path, required=True, help="a pipeline's YAML file")
    command.set_defaults(run=estimate_config)

    command = commands.add_parser(
        "preview", help="show a config before its run: cost, first prompts, and a page of a few rendered images"
    )
    command.add_argument("config", type=Path, metavar="CONFIG", help="a pipeline's YAML file")
    command.add_argument(
        "--count", type=int, default=4, metavar="N", help="images of each set, each of another class or pair"
    )
    command.set_defaults(run=preview_config)

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
    command.add_argument("--save", type=Path, help="write the image there")
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
        "predict", help="classify or tag images, folders of them or Parquet files: a line of JSON a class or tag"
    )
    command.add_argument("image", type=Path, nargs="+", metavar="IMAGE")
    command.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a trained model; by default that of the last run in artifacts/"
    )
    command.add_argument("--top-k", type=int, metavar="K", help="lines an image; by default 10 tags, 1 class")
    command.add_argument("--tags", type=Path, metavar="FILE", help="only these tags, one a line, new ones too")
    command.add_argument("--rendered", type=Path, metavar="FOLDER", help="write each image with its tags beside there")
    command.add_argument("--out", type=Path, metavar="FILE", help="write a table: .csv, .parquet or .jsonl")
    command.add_argument("--batch-size", type=int, default=32, metavar="N")
    command.add_argument("--device", default="auto")
    command.set_defaults(run=predict_images)

    command = commands.add_parser(
        "ask", help="a page of images that a run is in doubt about; its answers are shots for the next run"
    )
    command.add_argument("run_folder", type=Path, metavar="RUN", help="its folder, such as artifacts/bag_of_tricks")
    command.add_argument("--data", type=Path, metavar="PATH", help="images without labels; by default real.unlabelled")
    command.add_argument("--clusters", type=int, default=30, metavar="N", help="groups of like images to be named")
    command.add_argument(
        "--answers", type=Path, metavar="FILE", help="what the page saved, or the run's review.html: for the next run"
    )
    command.set_defaults(run=ask_images)

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
    command.add_argument(
        "--as-published",
        action="store_true",
        help="also top-1 without eval(), as the bag of tricks' code measures it: by batch statistics, in batches of 128",
    )
    command.set_defaults(run=evaluate_model)

    command = commands.add_parser(
        "transfer", help="a head of real images on a run's generated ones and back, on a frozen network's features"
    )
    command.add_argument("run_folder", type=Path, metavar="RUN", help="a run that generated images of one class each")
    command.add_argument("--data", type=Path, required=True, metavar="PATH", help="labelled real images")
    command.add_argument("--backbone", default="timm:resnet50", metavar="MODEL", help="timm:NAME or open_clip:MODEL")
    command.add_argument("--weights", type=str, metavar="FILE", help="its weights; by default timm's")
    command.add_argument("--size", type=int, default=224, metavar="PX", help="of the images; by default 224")
    command.add_argument("--out", type=Path, metavar="DIR", help="for transfer.json and .png; by default RUN")
    command.set_defaults(run=transfer_run)

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
    command.add_argument(
        "--images", type=Path, help="what ONNX and torch are shown; by default the real images of the model's run"
    )
    command.set_defaults(run=export_folder)

    command = commands.add_parser(
        "import", help="bring in what was made elsewhere, in the form that configs name, with its digest and origin"
    )
    command.add_argument(
        "kind",
        metavar="KIND",
        help="folder, parquet, coco or nus (images); prompts, weights, text-encoder, words, sdl, generator",
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
    command.add_argument(
        "--config", type=Path, metavar="DIR", help="of generator: a folder of diffusers of its architecture"
    )
    command.set_defaults(run=import_made)

    command = commands.add_parser("payload", help="images as the JSON that `mlflow models serve` takes")
    command.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help="an image, a folder or a Parquet file")
    command.set_defaults(run=print_payload)

    command = commands.add_parser("clean", help="what can be deleted without a loss, with sizes; or whole runs")
    command.add_argument("runs", nargs="*", metavar="RUN", help="such as bag_of_tricks; none: caches and leftovers")
    command.add_argument("--yes", action="store_true", help="delete it")
    command.set_defaults(run=clean)

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
