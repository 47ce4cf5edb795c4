"""A linear head for every method, with the same settings: only what it learns from differs."""

import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from figment.datasets.config import CROSS_VALIDATED
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.methods import Method
from figment.planning.plan import read_plan
from figment.planning.sample_weights import mean_effective_size
from figment.synthesis.pool import Pool
from figment.training.backbone import load_backbone
from figment.training.banks import load_features
from figment.training.config import FewShotTrainingConfig
from figment.training.few_shot import Made, cross_validate, learn
from figment.training.histories import read_curve
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD, FewShotClassifier, HeadSettings, head_preprocessing
from figment.training.lists import write_list
from figment.training.saved import WEIGHTS, Provenance, SavedModel, save_model
from figment.validation.verdicts import empty_images

CROSS_LOGITS = "cross_validated.safetensors"  # of the shots, by heads that did not learn from them


@step(role="train", experiment_tracker=True)
def train_heads(
    labels: LabelSpace,
    methods: dict[str, Method],
    photo_features: FileRef,
    training: FewShotTrainingConfig,
    seed: int,
    output: str,
    plan: FileRef | None = None,
    uses: FileRef | None = None,
    images: FileRef | None = None,
    image_features: FileRef | None = None,
    weights: FileRef | None = None,
) -> Annotated[Classifiers, "heads"]:
    """``output``/heads/METHOD: weights, card and loss curve. What is there already under the same inputs is not learned again."""
    photos = load_features(photo_features.open())
    made: dict[str, Made] = {}
    used: dict[str, Used] = {}
    if plan and uses and images and image_features:
        features = load_features(image_features.open())["made"].features
        used = used_by_each(plan, uses, images, weights)
        made = {name: Made(features[own.rows], own.sources, own.weights) for name, own in used.items()}
    inputs = [file.sha256 for file in (photo_features, uses, image_features, weights) if file]
    items, backbone = [], None
    for name, method in methods.items():
        folder = Path(output) / "heads" / name
        file = folder / WEIGHTS
        key = caching.result_key(
            __name__,
            labels=labels.model_dump(mode="json"),
            method=method.model_dump(mode="json"),
            inputs=inputs,
            training=training.model_dump(mode="json", exclude={"finetune"}),
            seed=seed,
        )
        if name in used:
            write_list(used[name].listed, folder)
        if not caching.is_current(file, key):
            own = made.get(name)
            found, use = learn(method, photos["shots"], own, len(labels), training.head, seed, photos.get("held_out"))
            settings = HeadSettings(
                name=name,
                method=method,
                backbone=training.backbone,
                made=len(own.sources) if own else 0,
                effective_size=mean_effective_size(use, own.sources) if own else 0.0,
                kept=found.kept,
            )
            if f"test/{CROSS_VALIDATED}" in photos:
                rest = (len(labels), training.head, seed, photos.get("held_out"))
                logits = cross_validate(method, photos["shots"], own, *rest)
                with atomic(folder / CROSS_LOGITS) as partial:
                    save_file({"logits": logits}, partial)
            write_json(folder / "history.json", found.history)
            backbone = backbone or load_backbone(training.backbone)
            saved = SavedModel(
                labels=labels,
                preprocessing=head_preprocessing(backbone, training.backbone.image_size),
                images=len(photos["shots"].labels) + settings.made,
                training=described(settings),
                provenance=Provenance(key=key, data={"features": photo_features.sha256}),
            )
            save_model(FEW_SHOT_HEAD, FewShotClassifier(backbone, found.head), settings, saved, folder)
            caching.mark_current(file, key)
        with tracking.classifier(name):
            tracking.log_curve("training", list(read_curve(folder)))
        count = len(made[name].sources) if name in made else 0
        items.append(ClassifierRef(name=name, images=count, weights=FileRef.of(file)))
    return Classifiers(items=tuple(items))


def described(settings: HeadSettings) -> str:
    """A sentence on the network and its training."""
    backbone = settings.backbone
    return (
        f"Method {settings.name}: a linear head on the {'fine-tuned' if settings.finetuned else 'frozen'} {backbone.model}, "
        f"{backbone.image_size} px, step {settings.kept}."
    )


class Used(NamedTuple):
    """What a method learns from beside the photos: images, by their ``rows`` (S,) in the plan, of the photos ``sources``
    (S,), with ``weights`` (S,) before they are put to the method's use; and the list that says so: image_id, label, weight."""

    rows: Tensor
    sources: Tensor
    weights: Tensor
    listed: pa.Table


def used_by_each(plan: FileRef, uses: FileRef, images: FileRef, weights: FileRef | None) -> dict[str, Used]:
    """By method. Weights are in the plan's order. An image that shows nothing, or that the generator's own safety checker
    blanked, is no one's, which is said aloud."""
    planned = read_plan(plan.open())
    ids, labels = planned["image_id"].combine_chunks(), pc.list_element(planned["labels"], 0)
    weight = torch.ones(len(ids), dtype=torch.float64)
    if weights:
        weight = torch.tensor(pq.read_table(weights.open())["weight"].to_pylist(), dtype=torch.float64)
    empty = empty_images(Pool(images.open().parent), ids.to_pylist())
    if empty:
        print(f"warning: {len(empty)} of {len(ids)} images are blank or unsafe and not learned from", file=sys.stderr)
    used = pq.read_table(uses.open())
    used = used.filter(pc.invert(pc.is_in(used["image_id"], pa.array(sorted(empty), pa.string()))))
    found = {}
    for name in pc.unique(used["method"]).to_pylist():
        mine = used.filter(pc.equal(used["method"], name))
        rows = torch.tensor(pc.index_in(mine["image_id"], ids).to_pylist())
        at = pa.array(sorted(set(rows.tolist())))  # the plan is sorted by id
        listed = {"image_id": ids.take(at), "label": labels.take(at), "weight": weight.numpy()[at.to_numpy()]}
        found[name] = Used(rows, torch.tensor(mine["photo"].to_pylist()), weight[rows], pa.table(listed))
    return found
