"""The stages of ``pipelines/custom.py`` whose step depends on the kind that a config chooses."""

import sys
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import torch

from figment.adaptation.config import TuningConfig
from figment.clip.label_vectors import make_label_vectors
from figment.clip.scorer import load_clip
from figment.datasets.config import PhotosConfig, RealConfig, ZeroShotConfig
from figment.datasets.labelled import open_labelled
from figment.datasets.photos import draw_photos, open_kept
from figment.datasets.real import check_data
from figment.datasets.tagged import read_tagged
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops.steps import step
from figment.planning.bag_of_tricks import COMBINED
from figment.prompts.chat import ANSWERS
from figment.recipes.stages import DualPrompt, LabelledData, SemanticMatrix, Stages, TextEncoder, Timm, base_of, wanted
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.sources import keep_photos
from figment.synthesis.weights import check_generator, unknown_names
from figment.training.acceptance import FilterPolicy
from figment.training.backbone import load_backbone
from figment.training.classifier import check_classifier
from figment.training.config import DualPromptConfig, SemanticConfig, TrainingConfig
from figment.training.dual_prompt import build_dual_prompts
from figment.training.semantic import build_semantic_matrix
from figment.validation.config import GateConfig
from figment.validation.duplicates import SIDE
from figment.validation.hashes import hash_set, hash_tagged, joined
from steps.errors import explain_errors
from steps.evaluation import evaluate_classifiers
from steps.few_shot.concepts import learn_words
from steps.gates import check_real, check_real_sets, check_sets, check_splits, check_tagged
from steps.semantic.images import prepare_images
from steps.semantic.training import train_matrix
from steps.tailored.training import train_classifier
from steps.tailored.tuning import tune_generator
from steps.training import train_classifiers


@step
def choose_stage_labels(
    stages: Stages, output: str
) -> tuple[Annotated[LabelSpace, "label_space"], Annotated[LabelSpace, "wanted_labels"]]:
    """All classes, and those that images are made for. Fails here, before anything is asked or rendered, if a later stage's model
    or data are not there, or do not fit."""
    space = stages.space()
    asked, generator = wanted(space), stages.planning.generator
    check_generator(generator, [label.prompt_name for label in asked.labels])
    load_clip(stages.clip, [label.clip_name for label in space.labels])
    for kind in stages.planning.prompts:
        kind.check(asked, Path(output) / ANSWERS)
    if stages.photos:
        draw_photos(stages.photos, asked)
    if isinstance(stages.acceptance, FilterPolicy):
        load_backbone(stages.acceptance.backbone)
    if isinstance(stages.data, LabelledData):
        check_data(stages.data.real, space)
    training = stages.training
    if isinstance(training, Timm):
        check_classifier(base_of(training, TrainingConfig), len(space))
    elif isinstance(training, DualPrompt):
        build_dual_prompts(base_of(training, DualPromptConfig), training.backbone, space)
    else:
        vectors = make_label_vectors(space, training.vectors)
        with torch.random.fork_rng():
            build_semantic_matrix(base_of(training, SemanticConfig), vectors.dim)
    for name, near in unknown_names(generator.model, [label.prompt_name for label in asked.labels]).items():
        nearest = ", ".join(near) or "none"
        print(f"warning: {generator.model} never saw {name!r}; the nearest it knows: {nearest}", file=sys.stderr)
    return space, asked


@step(experiment_tracker=True)
def choose_few_photos(asked: LabelSpace, photos: PhotosConfig, output: str) -> Annotated[FileRef, "photos"]:
    """photos.parquet, a row a photo: its class, where it came from, the SHA-256 of its file, which now lies in sources/ too."""
    return FileRef.of(keep_photos(draw_photos(photos, asked), asked, Path(output)))


@step(experiment_tracker=True)
def check_few_photos(
    asked: LabelSpace,
    photos: FileRef,
    gates: GateConfig,
    output: str,
    space: LabelSpace,
    real: RealConfig | None = None,
    splits: FileRef | None = None,
) -> Annotated[list[str], "checked"]:
    """No photo that a stage learns from is there twice, or a test image."""
    file = photos.open()
    taken = hash_set(open_kept(pq.read_table(file), asked, SIDE, file.parent / "sources"))
    if splits:
        root = splits.open().parent
        test = joined([hash_tagged(read_tagged(root / name), name) for name in ("zsl", "gzsl")])
    elif real:
        test = hash_set(open_labelled(Path(real.path), real.test, space, SIDE, real.test_per_class))
    else:
        raise ValueError("no test images are named: real or splits")
    return [check_real("shots", taken, test, asked, gates, Path(output), every_class=True)]


def prepare_data(stages: Stages, space: LabelSpace, gates: GateConfig, output: str) -> tuple[Any, Any]:
    """(splits, the gates that real images passed); of labelled data there are no splits."""
    if isinstance(stages.data, LabelledData):
        return None, check_real_sets(space, stages.data.real, gates, output)
    splits = prepare_images(space, base_of(stages.data, ZeroShotConfig), stages.training.image_size, output)
    return splits, check_splits(space, splits, gates, output)


def adapt_generator(
    stages: Stages,
    rivals: LabelSpace,
    asked: LabelSpace,
    prompts: Any,
    photos: Any,
    synthesis: SynthesisConfig,
    output: str,
    before: list[Any],
) -> Any:
    """What changes the generator, if anything does: tuning.json or words.json."""
    adaptation, generator = stages.adaptation, stages.planning.generator
    if adaptation is None:
        return None
    if isinstance(adaptation, TextEncoder):
        tuning, negative = base_of(adaptation, TuningConfig), stages.planning.negative_prompt
        made_by = (generator, negative, stages.clip, stages.acceptance)
        return tune_generator(rivals, prompts, *made_by, tuning, output, after=before)
    inversion, probe = adaptation.inversion, adaptation.probe
    made_by = (generator, inversion, probe, synthesis, stages.clip)
    return learn_words(asked, photos, *made_by, output, after=before)


def train_and_measure(
    stages: Stages,
    space: LabelSpace,
    splits: Any,
    images: Any,
    verdicts: Any,
    real_checked: Any,
    gates: GateConfig,
    output: str,
) -> tuple[list[Any], Any]:
    """What the report shows of a training on the accepted images, which have passed their gate first; and the model."""
    data, training = stages.data, stages.training
    if isinstance(data, LabelledData) and isinstance(training, Timm):
        config, sets = base_of(training, TrainingConfig), {COMBINED: stages.shares()}
        checked = check_sets(space, images, verdicts, sets, data.real, gates, output, real_checked)
        classifiers = train_classifiers(space, images, verdicts, sets, config, data.real, output, after=[checked])
        measured = (space, images, classifiers, stages.clip, data.real, config.image_size, output)
        results, model = evaluate_classifiers(*measured)
        errors = explain_errors(space, images, classifiers, results, stages.clip, data.real, output)
        return [checked, classifiers, results, errors], model
    checked = check_tagged(space, splits, images, verdicts, gates, output)
    if isinstance(training, DualPrompt):
        config, size = base_of(training, DualPromptConfig), training.image_size
        learn_from = (space, splits, images, verdicts, size, training.backbone, config, output)
        return [checked], train_classifier(*learn_from, after=[checked])
    if not isinstance(training, SemanticMatrix):
        raise ValueError(f"{training.kind}: no step trains it on this data")
    config, size = base_of(training, SemanticConfig), training.image_size
    joined_splits = prepare_images(space, base_of(data, ZeroShotConfig), size, output, images, verdicts)
    learn_from = (space, joined_splits, training.vectors, config, training.twin_cosine, output, verdicts)
    return [checked, joined_splits], train_matrix(*learn_from, after=[checked])
