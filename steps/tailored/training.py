"""Train the classifier on real images of seen classes and accepted ones of unseen classes."""

import math
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.clip.scorer import ClipConfig, clip_digest
from figment.datasets.tagged import read_tagged
from figment.files import write_json
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.synthesis.pool import Pool
from figment.training.best_on_test import save_best_on_test
from figment.training.dual_prompt import CHECKPOINT_VERSION, DualPromptConfig, Scorer
from figment.training.kinds.dual_prompt import DUAL_PROMPT, DualPromptSettings, dual_prompt_preprocessing
from figment.training.lists import multilabel_list, write_list
from figment.training.protocols import ranking_gains
from figment.training.saved import WEIGHTS, Measure, Provenance, SavedModel, save_model
from figment.training.tailored import accepted_images, clip_scorer, test_evaluator, train_tailored
from figment.validation.verdicts import shown_labels


@step(role="train", experiment_tracker=True)
def train_classifier(
    labels: LabelSpace,
    splits: FileRef,
    images: FileRef,
    verdicts: FileRef,
    image_size: int,
    backbone: ClipConfig,
    classifier: DualPromptConfig,
    output: str,
) -> Annotated[FileRef, "classifier"]:
    """``output``/classifier: weights, card, and history.json with every epoch's validation, the kept one's measures on the
    test images and those of CLIP as it is. Killed, the next run goes on after the last epoch that was finished."""
    folder = Path(output) / "classifier"
    inputs = {
        "labels": labels,
        "data": [splits.sha256, images.sha256, verdicts.sha256, image_size],
        "backbone": [backbone, caching.model_digest(backbone.model)],
        "classifier": classifier,
    }
    key = caching.result_key(__name__, **inputs)
    path = folder / WEIGHTS
    checkpoint = Checkpoint(folder / CHECKPOINT, checkpoint_key(CHECKPOINT_VERSION, **inputs))
    judged = pq.read_table(verdicts.open())
    write_list(multilabel_list(judged), folder)
    if not caching.is_current(path, key):
        root = splits.open().parent
        shown = shown_labels(judged)
        made = accepted_images(shown, Pool(images.open().parent), labels, image_size)

        def log(epoch: int, row: dict[str, float]) -> None:
            tracking.log_metrics("training", row, epoch)

        trained, measured = train_tailored(root, made, labels, backbone, classifier, checkpoint, log)
        zsl, gzsl = (read_tagged(root / name) for name in ("zsl", "gzsl"))
        clip = clip_scorer(backbone, labels)
        baseline = test_evaluator(labels, zsl, gzsl)(clip)
        gains = ranking_gains(Scorer(trained.model), clip, zsl, gzsl, labels.unseen_ids)
        write_json(
            folder / "history.json",
            {
                "kept": trained.best_epoch,
                "made": len(made),
                "test": measured,
                "clip": baseline,
                "gains": gains,
                "epochs": trained.history,
            },
        )
        numbers = measured | {f"CLIP as it is: {name}": value for name, value in baseline.items()}
        saved = SavedModel(
            labels=labels,
            preprocessing=dual_prompt_preprocessing(trained.model, image_size),
            training=(
                f"Prompts and fusion trained on the frozen CLIP {backbone.model}; epoch {trained.best_epoch} of "
                f"{len(trained.history)}, chosen by images held out from training; {len(made)} generated images."
            ),
            metrics=tuple(Measure(name=name, value=value) for name, value in numbers.items() if math.isfinite(value)),
            provenance=Provenance(
                key=key, data={"splits": splits.sha256, "images": images.sha256, "verdicts": verdicts.sha256}
            ),
        )
        settings = DualPromptSettings(clip=backbone, clip_digest=clip_digest(backbone), training=classifier)
        save_model(DUAL_PROMPT, trained.model, settings, saved, folder)
        save_best_on_test(trained, DUAL_PROMPT, trained.model, settings, saved, folder)
        caching.mark_current(path, key)
    checkpoint.path.unlink(missing_ok=True)
    return FileRef.of(path)
