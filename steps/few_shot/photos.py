"""A few photos of every class: drawn, checked, and put where images will be made from them."""

from pathlib import Path
from typing import Annotated

from figment.clip.scorer import ClipConfig, load_clip
from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import read_splits
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.planning.methods import Method
from figment.prompts.chat import ANSWERS
from figment.prompts.contexts import ContextConfig, check_contexts
from figment.synthesis.families import Requests
from figment.synthesis.sources import keep_photos
from figment.synthesis.weights import check_family, check_generator


@step(experiment_tracker=True)
def choose_photos(
    classes: list[str],
    labels: str | None,
    data: FewShotDataConfig,
    shots: int,
    methods: dict[str, Method],
    generator: GeneratorConfig,
    clip: ClipConfig,
    contexts: ContextConfig,
    seed: int,
    output: str,
) -> tuple[Annotated[LabelSpace, "label_space"], Annotated[FileRef, "photos"]]:
    """The classes, and photos.parquet with a row a shot: its class, where it came from, the SHA-256 of its file, which now
    lies in sources/ too. Fails here, before anything is asked or rendered, if a later step's model is not there."""
    space = LabelSpace.chosen(classes, labels)
    load_clip(clip, [label.clip_name for label in space.labels])
    if made := [method for method in methods.values() if method.images]:
        scales = (generator.guidance_scale if m.guidance_scale is None else m.guidance_scale for m in made)
        check_family(generator, Requests(tuple(scales), strengths=tuple(s for m in made for s in m.strengths)))
        check_generator(generator)
    if any(method.images and method.contexts for method in methods.values()):
        check_contexts(space, contexts, Path(output) / ANSWERS)
    path = keep_photos(read_splits(data, space, shots, seed).shots, space, Path(output))
    return space, FileRef.of(path)
