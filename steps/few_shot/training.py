"""A linear head for every method, with the same settings: only what it learns from differs."""

import json
from pathlib import Path
from typing import Annotated

import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.few_shot import Method
from figment.planning.plan import read_plan
from figment.training.banks import load_features
from figment.training.few_shot import FewShotTrainingConfig, Made, learn
from figment.training.saved_few_shot import HeadCard, load_head, save_head
from figment.validation.weights import mean_effective_size


@step(experiment_tracker=True)
def train_heads(
    labels: LabelSpace,
    methods: dict[str, Method],
    photo_features: FileRef,
    training: FewShotTrainingConfig,
    seed: int,
    output: str,
    plan: FileRef | None = None,
    pictures: FileRef | None = None,
    picture_features: FileRef | None = None,
    weights: FileRef | None = None,
) -> Annotated[Classifiers, "heads"]:
    """``output``/heads/METHOD: weights, card and loss curve. What is there already under the same inputs is not learnt again."""
    tracking.log_parameters("training", training.model_dump())
    photos = load_features(photo_features.open())
    made: dict[str, Made] = {}
    if plan and pictures and picture_features:
        made = made_for_each(plan, pictures, picture_features, weights)
    inputs = [file.sha256 for file in (photo_features, pictures, picture_features, weights) if file]
    items = []
    for name, method in methods.items():
        folder = Path(output) / "heads" / name
        file = folder / "head.safetensors"
        key = caching.key_of(
            labels=labels.model_dump(mode="json"),
            method=method.model_dump(mode="json"),
            inputs=inputs,
            training=training.model_dump(mode="json"),
            seed=seed,
        )
        if not caching.is_current(file, key):
            own = made.get(name)
            found, use = learn(method, photos["shots"], own, len(labels), training.head, seed, photos.get("held_out"))
            card = HeadCard(
                key=key,
                labels=labels.names,
                name=name,
                method=method,
                backbone=training.backbone,
                made=len(own.sources) if own else 0,
                effective_size=mean_effective_size(use, own.sources) if own else 0.0,
                kept=found.kept,
            )
            write_json(folder / "history.json", found.history)
            save_head(found.head, card, folder)
            caching.mark_current(file, key)
        for at, metrics in json.loads((folder / "history.json").read_text(encoding="utf-8")):
            tracking.log_metrics(f"training/{name}", metrics, at)
        items.append(ClassifierRef(name=name, images=load_head(folder)[1].made, weights=FileRef.of(file)))
    return Classifiers(items=tuple(items))


def made_for_each(plan: FileRef, pictures: FileRef, features: FileRef, weights: FileRef | None) -> dict[str, Made]:
    """What each method learns from beside the photos. Features and weights are in the plan's order."""
    ids = read_plan(plan.open())["image_id"].combine_chunks()
    seen = load_features(features.open())["made"].features
    weight = torch.ones(len(ids), dtype=torch.float64)
    if weights:
        weight = torch.tensor(pq.read_table(weights.open())["weight"].to_pylist(), dtype=torch.float64)
    used, found = pq.read_table(pictures.open()), {}
    for name in pc.unique(used["method"]).to_pylist():
        mine = used.filter(pc.equal(used["method"], name))
        rows = torch.tensor(pc.index_in(mine["image_id"], ids).to_pylist())
        found[name] = Made(seen[rows], torch.tensor(mine["photo"].to_pylist()), weight[rows])
    return found
