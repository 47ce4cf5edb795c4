"""The whole network of every method learns on from its linear head: same photos, same images, same sampling probabilities."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import torch

from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import open_photos, read_splits
from figment.datasets.labelled import LabelledImages
from figment.devices import choose_device
from figment.files import write_json
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.methods import Method
from figment.planning.plan import read_plan
from figment.synthesis.pool import Pool
from figment.training.config import FewShotTrainingConfig
from figment.training.few_shot import law_of
from figment.training.finetune import CHECKPOINT_VERSION, finetune
from figment.training.histories import read_curve
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD, FewShotClassifier
from figment.training.lists import open_training_list, write_list
from figment.training.saved import WEIGHTS, load_model, save_model
from steps.few_shot.training import Used, described, used_by_each


@step(role="train", experiment_tracker=True)
def finetune_heads(
    labels: LabelSpace,
    methods: dict[str, Method],
    data: FewShotDataConfig,
    shots: int,
    heads: Classifiers,
    training: FewShotTrainingConfig,
    seed: int,
    output: str,
    plan: FileRef | None = None,
    uses: FileRef | None = None,
    images: FileRef | None = None,
    weights: FileRef | None = None,
) -> Annotated[Classifiers, "finetuned"]:
    """``output``/finetuned/METHOD: backbone, head, card and loss curve. What is there already under the same inputs is not
    learned again; photos and images are in memory at the backbone's size meanwhile."""
    if not training.finetune:
        return heads
    todo = {}
    for item in heads.items:
        folder = Path(output) / "finetuned" / item.name
        inputs = {
            "head": item.weights.sha256,  # which depends on all photos and images already
            "made": [file.sha256 for file in (plan, uses, weights) if file],
            "method": methods[item.name],
            "training": training,
            "seed": seed,
        }
        key = caching.result_key(__name__, **inputs)
        if not caching.is_current(folder / WEIGHTS, key):
            checkpoint = Checkpoint(folder / CHECKPOINT, checkpoint_key(CHECKPOINT_VERSION, **inputs))
            todo[item.name] = item.weights.open().parent, folder, key, checkpoint
    if todo:
        size = training.backbone.image_size
        splits = read_splits(data, labels, shots, seed)
        photos = open_photos(splits.shots, size).load()
        held_out = open_photos(splits.held_out, size).load() if training.validate_on == "held_out" else None
        used: dict[str, Used] = {}
        made = photos.pixels[:0]
        if plan and uses and images:
            used = used_by_each(plan, uses, images, weights)
            planned = read_plan(plan.open())
            listed = pa.table({"image_id": planned["image_id"], "label": pa.compute.list_element(planned["labels"], 0)})
            pool = Pool(images.open().parent)
            made = open_training_list(listed, pool, labels, size, "of made images", "squash").load().pixels
        nothing = Used(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0), pa.table({}))
        for name, (start, folder, key, checkpoint) in todo.items():
            own, method = used.get(name, nothing), methods[name]
            base = load_model(start, FEW_SHOT_HEAD)
            backbone = base.network.backbone.to(choose_device(training.backbone.device))
            learned_from = LabelledImages(
                torch.cat([photos.pixels, made[own.rows]]), torch.cat([photos.labels, photos.labels[own.sources]])
            )
            law, _ = law_of(method, photos.labels, own.sources, own.weights)
            augmentation = training.augmentation if method.augment else None
            found = finetune(
                backbone,
                base.network.head,
                learned_from,
                law,
                augmentation,
                training.finetune,
                seed,
                held_out,
                checkpoint,
            )
            write_json(folder / "history.json", found.history)
            if name in used:
                write_list(own.listed, folder)
            settings = base.settings.model_copy(update={"kept": found.kept, "finetuned": True})
            provenance = base.saved.provenance.model_copy(update={"key": key})
            update = {"training": described(settings), "provenance": provenance, "metrics": ()}
            network = FewShotClassifier(backbone, found.head)
            save_model(FEW_SHOT_HEAD, network, settings, base.saved.model_copy(update=update), folder)
            caching.mark_current(folder / WEIGHTS, key)
            checkpoint.path.unlink(missing_ok=True)
    items = []
    for item in heads.items:
        folder = Path(output) / "finetuned" / item.name
        with tracking.classifier(item.name):
            tracking.log_curve("finetuning", list(read_curve(folder)))
        items.append(ClassifierRef(name=item.name, images=item.images, weights=FileRef.of(folder / WEIGHTS)))
    return Classifiers(items=tuple(items))
