"""Trainer of ``dual_prompt``: prompts and fusion on real images of seen classes and accepted ones of unseen classes."""

import math
from collections.abc import Iterator
from functools import partial

import pyarrow.parquet as pq

from figment.checkpoint import Checkpoint
from figment.clip.scorer import clip_digest
from figment.datasets.tagged import read_tagged
from figment.keys import model_digest
from figment.loop import Log
from figment.synthesis.pool import Pool
from figment.training.best_on_test import save_best_on_test
from figment.training.config import DualPromptConfig, DualPromptTraining
from figment.training.dual_prompt import CHECKPOINT_VERSION, Scorer
from figment.training.jobs import Job, Material, Trained
from figment.training.kinds.dual_prompt import DUAL_PROMPT, DualPromptSettings, dual_prompt_preprocessing
from figment.training.lists import multilabel_list
from figment.training.protocols import ranking_gains
from figment.training.saved import Measure, SavedModel
from figment.training.tailored import accepted_images, clip_scorer, test_evaluator, train_tailored
from figment.validation.verdicts import shown_labels

FOLDER = "classifier"


def jobs(config: DualPromptTraining, material: Material) -> Iterator[Job]:
    """One classifier; its history has every epoch's validation, the kept one's measures on the test images and those of CLIP as
    it is."""
    assert material.splits is not None  # the pipeline sees to it
    assert material.images is not None
    assert material.verdicts is not None
    data = {name: getattr(material, name).sha256 for name in ("splits", "images", "verdicts")}
    yield Job(
        "dual_prompt",
        material.output / FOLDER,
        __name__,
        CHECKPOINT_VERSION,
        {
            "labels": material.space,
            "data": list(data.values()),
            "backbone": model_digest(config.backbone.model),
            "training": config,
        },
        partial(_train, config, material),
        listed=multilabel_list(pq.read_table(material.verdicts.open())),
        data=data,
        compared=False,
    )


def _train(config: DualPromptTraining, material: Material, checkpoint: Checkpoint, log: Log) -> Trained:
    backbone = config.backbone
    space, root = material.space, material.splits.open().parent  # type: ignore[union-attr]
    shown = shown_labels(pq.read_table(material.verdicts.open()))  # type: ignore[union-attr]
    made = accepted_images(shown, Pool(material.images.open().parent), space, config.image_size)  # type: ignore[union-attr]
    trained, measured = train_tailored(root, made, space, config, checkpoint, log)
    zsl, gzsl = (read_tagged(root / name) for name in ("zsl", "gzsl"))
    clip = clip_scorer(backbone, space)
    baseline = test_evaluator(space, zsl, gzsl)(clip)
    history = {
        "kept": trained.best_epoch,
        "made": len(made),
        "test": measured,
        "clip": baseline,
        "gains": ranking_gains(Scorer(trained.model), clip, zsl, gzsl, space.unseen_ids),
        "epochs": trained.history,
    }
    numbers = measured | {f"CLIP as it is: {name}": value for name, value in baseline.items()}
    saved = SavedModel(
        labels=space,
        preprocessing=dual_prompt_preprocessing(trained.model, config.image_size),
        training=(
            f"Prompts and fusion trained on the frozen CLIP {backbone.model}; epoch {trained.best_epoch} of "
            f"{len(trained.history)}, chosen by images held out from training; {len(made)} generated images."
        ),
        metrics=tuple(Measure(name=name, value=value) for name, value in numbers.items() if math.isfinite(value)),
    )
    settings = DualPromptSettings(
        clip=backbone, clip_digest=clip_digest(backbone), training=config.as_base(DualPromptConfig)
    )
    folder = material.output / FOLDER
    beside = partial(save_best_on_test, trained, DUAL_PROMPT, trained.model, settings, folder=folder)
    return Trained(DUAL_PROMPT, trained.model, settings, saved, history, beside)
