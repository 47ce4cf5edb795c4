"""CLIP's verdicts on pictures that were asked to show one class or several (Zhang et al. 2024, CLIP validation)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.planning.plan import CHUNK, ranges
from figment.synthesis.pool import Pool
from figment.validation.clip import ClipConfig, ClipScorer
from figment.validation.features import FeatureStore
from figment.validation.grouping import grouping_softmax
from figment.validation.policies import SCHEMA, AcceptancePolicy, make_multilabel_verdicts

COLUMNS = ("image_id", "labels", "contrast", "unsafe")


def validate_multilabel(
    plan: Path | pa.Table, pool: Pool, space: LabelSpace, clip: ClipConfig, policy: AcceptancePolicy
) -> pa.Table:
    """Verdicts (``figment.validation.policies.SCHEMA``) on those of the plan's images that ``pool`` holds, sorted by id.

    A class that a picture was asked to show competes with all classes of ``space`` that it was not. Features are taken
    from beside the pool and worked out, and kept there, where missing. One shard's pictures are in memory at a time.
    Raises InputError if a picture was asked to show what is no class of ``space``.
    """
    scorer = ClipScorer(clip)
    store, text = FeatureStore(pool, scorer), scorer.text_features(space)
    store.complete()
    ids = [image_id for part in ranges(plan, CHUNK, ["image_id"]) for image_id in part["image_id"].to_pylist()]
    verdicts = [SCHEMA.empty_table()]
    for found, features in store.read(ids):
        rows = {row["image_id"]: row for batch in pool.read(found, COLUMNS) for row in batch.to_pylist()}
        labels, contrasts, unsafe = ([rows[i][name] for i in found] for name in COLUMNS[1:])
        logits = scorer.compare(features, text).cpu()
        probabilities = grouping_softmax(logits, requested_classes(found, labels, space)).numpy()
        verdicts.append(
            make_multilabel_verdicts(found, labels, probabilities, np.array(contrasts), space, policy, unsafe)
        )
    return pa.concat_tables(verdicts).sort_by("image_id")


def requested_classes(image_ids: Sequence[str], labels: Sequence[Sequence[str]], space: LabelSpace) -> Tensor:
    """(N, C) bool: which classes each picture was asked to show."""
    columns = {name: column for column, name in enumerate(space.names)}
    requested = torch.zeros(len(labels), len(space), dtype=torch.bool)
    for row, (image_id, names) in enumerate(zip(image_ids, labels, strict=True)):
        for name in names:
            if name not in columns:
                raise InputError(
                    f"image {image_id:.12}: was asked to show {name!r}, which is not among the {len(space)} classes to "
                    "check against; give the label space that the plan was made with"
                )
            requested[row, columns[name]] = True
    return requested


def shown_labels(verdicts: pa.Table) -> dict[str, list[str]]:
    """What each accepted picture is trained on as, by id."""
    passed = verdicts.filter(verdicts["accepted"])
    return dict(zip(passed["image_id"].to_pylist(), passed["predicted"].to_pylist(), strict=True))


def label_yields(verdicts: pa.Table) -> dict[str, float]:
    """Of the pictures that were asked to show a label, alone or beside another, the share that passed."""
    asked = Counter(name for names in verdicts["labels"].to_pylist() for name in names)
    passed = Counter(name for names in verdicts.filter(verdicts["accepted"])["labels"].to_pylist() for name in names)
    return {name: passed[name] / asked[name] for name in sorted(asked)}
