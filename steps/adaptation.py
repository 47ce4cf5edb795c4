"""The generator learns what it lacks, in each of the ways that a recipe's adaptations name."""

import sys
from pathlib import Path
from typing import Annotated

from figment.adaptation.stage import Material
from figment.files import write_json
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import Adapted, FileRef, Prepared
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.recipes.config import AnyRecipe


@step(role="train", experiment_tracker=True)
def adapt_generator(
    recipe: AnyRecipe,
    labels: LabelSpace,
    wanted: LabelSpace,
    data: Prepared,
    prompts: FileRef | None = None,
) -> Annotated[Adapted, "adapted"]:
    """tuning.json, words.json or loras.json: the hashes of what was learned, which lies in adapters/, and how it was tried out.
    What is learned from photos is learned for the ``wanted`` classes; what is tuned by verdicts is beside all of ``labels``."""
    files = []
    for adaptation in recipe.adaptations:
        space = wanted if adaptation.from_photos else labels
        planning = recipe.planning
        material = Material(
            output=Path(recipe.output),
            space=space,
            generator=recipe.generator,
            clip=recipe.clip,
            synthesis=recipe.synthesis,
            policy=recipe.acceptance,
            negative_prompt=planning.negative_prompt,
            prompts=prompts,
            photos=data.photos,
        )
        job = adaptation.job(material)
        path, key = material.output / job.file, caching.result_key(job.module, **job.inputs)
        if not caching.is_current(path, key):
            found = job.adapt(
                checkpoint_key(job.version, **job.inputs),
                lambda step, metrics: tracking.log_metrics("adaptation", metrics, step),
            )
            for name, probe in getattr(found, "probes", {}).items():
                if not probe.usable:
                    print(
                        f"warning: the {found.learned} learned for {name!r} is not used: {probe.reason}",
                        file=sys.stderr,
                    )
            write_json(path, found.model_dump(mode="json"))
            caching.mark_current(path, key)
            tracking.log_metrics("adaptation", found.metrics)
        job.forget()
        tracking.log_file(path)
        files.append(FileRef.of(path))
    return Adapted(files=tuple(files))
