"""Configs: write one, check it, run it; what it will cost, and how its first images look."""

import argparse
import sys
from pathlib import Path
from typing import Any

from figment.commands.command import CONFIG, argument, command, config_option
from figment.commands.options import read_parameters, setting
from figment.errors import InputError
from figment.files import write_text
from figment.ops.new_config import RECIPES, Wanted, new_config
from figment.ops.run import OPTIONS


@command(
    "new",
    "write a first config, for classes and images of your own",
    argument("config", type=Path, metavar="CONFIG", help="the file to write, such as excavators.yaml"),
    argument("--recipe", choices=RECIPES, default=RECIPES[0], help=f"by default {RECIPES[0]}"),
    argument(
        "--classes",
        default="",
        metavar="NAMES",
        help="'excavator, crane', or a text file; by default the folders' names",
    ),
    argument(
        "--test",
        type=Path,
        metavar="DIR",
        help="real images that measure: a folder a class, or an annotation file of COCO's format; few_shot can do without",
    ),
    argument("--photos", type=Path, metavar="DIR", help="real images to learn from, of recipes that do, as of --test"),
    argument("--labels", type=Path, metavar="FILE", help="YAML: the labels, and which are unseen, of those recipes"),
    argument(
        "--model", default="pocket", metavar="MODEL", help="a hub id or folder; by default the small embedded models"
    ),
    argument("--out", default="", metavar="DIR", help="where its run writes; by default artifacts/NAME"),
)
def write_config(options: argparse.Namespace) -> None:
    from figment.ops.config_check import checked, refuse_faults

    file = options.config
    warnings = new_config(
        file,
        Wanted(
            options.recipe, options.classes, options.photos, options.test, options.labels, options.model, options.out
        ),
    )
    try:
        refuse_faults([checked(file)])
    except InputError:
        file.unlink()
        raise
    print("\n".join(warnings), end="\n" if warnings else "", file=sys.stderr)
    print(f"{file}: written; look at it first: figment preview {file}; then run it with: figment run {file}")


@command("run", "run a config; a finished run does nothing again, an interrupted one resumes", CONFIG, *OPTIONS)
def run_config(options: argparse.Namespace) -> None:
    from figment.ops.run import run

    run(options.config, seeds=options.seeds, again=options.again, output=options.out)


@command(
    "check",
    "say all that is wrong with a pipeline's config, with an example of what would be right",
    argument("config", type=Path, nargs="+", metavar="CONFIG", help="a pipeline's YAML file"),
)
def check_configs(options: argparse.Namespace) -> None:
    from figment.ops.config_check import checked, refuse_faults

    refuse_faults([checked(path) for path in options.config])
    print("\n".join(f"{path}: ok" for path in options.config))


@command(
    "estimate",
    "say what a plan will cost; without one, write that of the config first",
    argument("plan", type=Path, nargs="?", metavar="PLAN", help="plan.parquet of a run of any recipe"),
    config_option(),
)
def estimate_config(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.recipes.first_plan import first_plan
    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.generator import Inputs
    from figment.synthesis.renderers import Renderers

    if options.plan:
        if not options.plan.is_file():
            raise InputError(f"{options.plan}: there is no such plan; a run writes it before it renders")
        synthesis = setting(options.config, read_parameters(options.config), "synthesis", SynthesisConfig)
        Console().print(estimated(options.plan, options.plan.parent, Renderers(synthesis, Inputs.beside(options.plan))))
        return
    recipe = recipe_of_config(options.config)
    with first_plan(recipe, keep=True) as plan:
        renderers = Renderers(recipe.synthesis, Inputs.beside(plan.file))
        Console().print(estimated(plan.file, Path(recipe.output), renderers))


@command(
    "preview",
    "show a config before its run: cost, first prompts, and a page of a few rendered images",
    CONFIG,
    argument("--count", type=int, default=8, metavar="N", help="images of each set, each of another class or pair"),
)
def preview_config(options: argparse.Namespace) -> None:
    from rich.console import Console

    from figment.evaluation.preview import page, prompts_table, render_rows, sets_of
    from figment.recipes.first_plan import first_plan
    from figment.synthesis.generator import Inputs
    from figment.synthesis.renderers import Renderers

    if options.count < 1:
        raise InputError(f"preview: --count is {options.count}; give 1 or more")
    recipe, console = recipe_of_config(options.config), Console()
    output = Path(recipe.output)
    with first_plan(recipe) as plan:
        renderers = Renderers(recipe.synthesis, Inputs.beside(plan.file))
        cost = estimated(plan.file, output, renderers)
        console.print(cost)
        sets = sets_of(plan.file, options.count)
        console.print(prompts_table(sets))
        told = [*plan.warnings, *plan.lacks]
        print("\n".join(told), end="\n" if told else "", file=sys.stderr)
        html = page(str(options.config), str(getattr(cost, "title", cost)), told, sets, render_rows(sets, renderers))
    file = output.with_name(f"{output.name}.preview.html")
    write_text(file, html)
    print(f"{file}: at most {options.count} images of each set, none of them kept in the run; open it in a browser")


def recipe_of_config(path: Path) -> Any:
    """The recipe of a config without a fault that renders images; that its files are there is known once they are read."""
    from figment.ops.checking import parameters_model
    from figment.ops.config_check import before_steps, checked, refuse_faults
    from figment.recipes.base import Recipe

    found = checked(path, on_disk=False)
    refuse_faults([found])
    kind = parameters_model(before_steps(found.pipeline)[0])
    if not issubclass(kind, Recipe):
        raise InputError(
            f"{path}: {found.pipeline} renders nothing; give the config of a recipe, such as bag_of_tricks"
        )
    recipe = kind(**found.parameters)
    if not recipe.renders:
        raise InputError(
            f"{path}: nothing is rendered by this config, so there is nothing to plan or to look at before its run"
        )
    return recipe


def estimated(plan: Path, output: Path, renderers: Any) -> Any:
    """What rendering the plan will cost, as the console prints it."""
    from figment.synthesis.estimate import estimate
    from figment.synthesis.pool import Pool

    expected = estimate(plan, Pool(output / "images"), renderers.config, renderers)
    return expected.table() if expected else "every planned image is rendered already"
