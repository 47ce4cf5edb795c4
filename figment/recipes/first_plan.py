"""The plan of a recipe before its run: of any recipe, without what a run learns before it plans."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from figment.adaptation.adapted import given_of
from figment.datasets.kinds import FewShotData
from figment.datasets.photos import draw_photos
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.planning.plan import write_plan
from figment.prompts.chat import ANSWERS
from figment.prompts.kinds import write_book
from figment.synthesis.adapter_files import place_loras
from figment.synthesis.families import Requests
from figment.synthesis.sources import keep_photos
from figment.synthesis.weights import check_family, warnings_of_unknown


class FirstPlan(NamedTuple):
    """``file``: plan.parquet, with the adapters and photos that its rows name beside it. ``lacks``: a sentence for all that the
    run's plan has and this one does not; ``warnings``: of classes that the generator does not know."""

    file: Path
    lacks: list[str]
    warnings: list[str]


@contextmanager
def first_plan(recipe: Any, keep: bool = False) -> Iterator[FirstPlan]:
    """The plan in a folder that is gone afterwards, or with ``keep``, if it lacks nothing, in that of a run that has not ended.
    What a chat model is asked for it is kept for the run. The recipe is one that renders images."""
    planning, output = recipe.planning, Path(recipe.output)
    space = recipe.dataset.space()
    asked, starts_from_photos = recipe.dataset.wanted(space), planning.planner.starts_from_photos
    check_family(planning.generator, Requests(planning.scales, planning.negative_prompt, planning.strengths))
    book = write_book(planning.prompts, asked, planning.generator.guidance_scale, output / ANSWERS)
    lacks = [f"Without {one.learns}, which the run learns first." for one in recipe.adaptations]
    lacks += ["Without the imported images, which join the rendered ones."] if planning.imported else []
    with ExitStack() as stack:
        ours = keep and not lacks and not (output / "config.yaml").exists()  # which a run writes at its end
        folder = output if ours else Path(stack.enter_context(TemporaryDirectory(prefix="figment-plan-")))
        place_loras(planning.generator, folder / "adapters")
        photos = FileRef.of(_photos(recipe, space, asked, folder)) if starts_from_photos else None
        given = given_of(space if recipe.against_all else asked, planning, photos=photos)
        write_plan(planning.planner.rows(replace(given, prompts=book.prompts), planning), folder / "plan.parquet")
        unknown = [] if starts_from_photos else warnings_of_unknown(planning.generator.model, asked)
        yield FirstPlan(folder / "plan.parquet", lacks, unknown)


def _photos(recipe: Any, space: LabelSpace, asked: LabelSpace, folder: Path) -> Path:
    """photos.parquet of the photos that images are made from."""
    if isinstance(recipe.dataset, FewShotData):
        return keep_photos(recipe.dataset.splits(space).shots, space, folder)
    return keep_photos(draw_photos(recipe.photos_config, asked), asked, folder)
