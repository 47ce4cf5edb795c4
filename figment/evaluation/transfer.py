"""What separates generated images from real ones (sec. 4.2.1 of "Diversity is Definitely Needed"): a linear head on a frozen
network's features of real images, tried on generated ones, and back; and a map of both in those features.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from figment.datasets.labelled import has_split, open_labelled
from figment.evaluation.feature_map import feature_map
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.metrics.accuracy import top1
from figment.metrics.diversity import Labelled
from figment.synthesis.pool import Pool
from figment.training.backbone import load_backbone, view_features
from figment.training.config import AugmentConfig, BackboneConfig, HeadConfig
from figment.training.head import FeatureSet, HeadTraining, logits_of, train_head
from figment.training.lists import open_training_list
from figment.training.sampling import class_uniform
from figment.training.semantic import hold_out_rows

REAL, GENERATED = "real", "generated"
HELD_OUT = 0.2  # of a set without a split of its own to test on
HEAD = HeadConfig(steps=2000, batch_size=128, learning_rate=1e-3)


class Cell(BaseModel):
    """Top-1 of a head, trained on ``images`` of one kind, on ``tested`` ones of another or the same, with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained_on: str
    images: int
    tested_on: str
    tested: int
    top1: float
    low: float
    high: float


@dataclass(frozen=True)
class Generated:
    """Images of one class each in a pool: ``listed`` (image_id, label)."""

    pool: Pool
    listed: pa.Table
    space: LabelSpace


def transfer(
    generated: Generated, data: Path, out: Path, backbone: BackboneConfig, head: HeadConfig = HEAD, seed: int = 0
) -> list[Cell]:
    """Four cells: heads of real and of generated images, each on both. Writes transfer.json and transfer.png, the map of the
    features, into the folder ``out``. Of images without a split to test on, a fifth is held out.

    Raises InputError for data without images of a class, and a backbone that is not there."""
    space, network, size = generated.space, load_backbone(backbone), backbone.image_size
    made = open_training_list(generated.listed, generated.pool, space, size, "of the run", "squash")
    splits = ("train", "test") if has_split(data, "train") and has_split(data, "test") else ("test",)
    sets = {GENERATED: [made], REAL: [open_labelled(data, split, space, size, None, "squash") for split in splits]}
    features: dict[str, tuple[FeatureSet, FeatureSet]] = {}
    for name, opened in sets.items():
        seen = [
            FeatureSet(view_features(each, network, backbone.batch_size, AugmentConfig(), 0, seed), each.labels)
            for each in opened
        ]
        if len(seen) == 1:
            learned, tested = hold_out_rows(len(seen[0]), HELD_OUT, seed)
            seen = [seen[0].subset(learned), seen[0].subset(tested)]
        features[name] = seen[0], seen[1]
    cells = []
    for trained_on, (learned_from, _) in features.items():
        law = class_uniform(learned_from.labels)
        found = train_head(learned_from, law, HeadTraining(len(space), head, seed)).head
        for tested_on, (_, tested_by) in features.items():
            score = top1(logits_of(found, tested_by.features[:, 0]), tested_by.labels)
            numbers = {"top1": score.top1, "low": score.low, "high": score.high}
            counts = {"images": len(learned_from), "tested": len(tested_by)}
            cells.append(Cell(trained_on=trained_on, tested_on=tested_on, **counts, **numbers))
    synthetic, real = (
        Labelled(features[name][1].features[:, 0], features[name][1].labels) for name in (GENERATED, REAL)
    )
    drawn = feature_map(synthetic, real, space.names, seed=seed)
    with atomic(out / "transfer.png") as partial:
        drawn.save(partial, "PNG")
    write_json(out / "transfer.json", {"backbone": backbone.model, "cells": [cell.model_dump() for cell in cells]})
    return cells


def table_of(cells: list[Cell]) -> Table:
    """For a terminal."""
    table = Table(title="top-1 in % of a linear head on a frozen network's features")
    for column in ("trained on", "tested on", "%", "95 % interval"):
        table.add_column(column, justify="right" if "%" in column else "left")
    for cell in cells:
        kinds = (f"{cell.images} {cell.trained_on}", f"{cell.tested} {cell.tested_on}")
        table.add_row(*kinds, f"{100 * cell.top1:.1f}", f"{100 * cell.low:.1f} to {100 * cell.high:.1f}")
    return table
