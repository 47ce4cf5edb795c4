"""Configs: write one, check it, run it; what it will cost, and how its first images look."""

import argparse
import sys
from pathlib import Path
from typing import Any

from figment.commands.options import read_parameters, setting
from figment.errors import InputError
from figment.files import atomic


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
