"""CLIP's verdicts on pictures that were asked to show one class or several (Zhang et al. 2024, CLIP validation)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.metrics.calibration import Threshold
from figment.planning.plan import CHUNK, ranges
from figment.synthesis.pool import Pool
from figment.validation.features import FeatureStore
from figment.validation.grouping import grouping_softmax, presence_probabilities
from figment.validation.policies import SCHEMA, AcceptancePolicy, is_settled, make_multilabel_verdicts, settle

COLUMNS = ("image_id", "labels", "contrast", "unsafe")


class Seen(NamedTuple):
    """What is known of some pictures: CLIP's ``logits`` (N, C) and ``requested`` (N, C) bool over all classes, and (N,) else."""

    image_ids: Sequence[str]
    labels: Sequence[Sequence[str]]
    contrasts: np.ndarray
    unsafe: np.ndarray
    logits: Tensor
    requested: Tensor


def validate_multilabel(
    plan: Path | pa.Table, pool: Pool, space: LabelSpace, clip: ClipConfig, policy: AcceptancePolicy
) -> pa.Table:
    """Verdicts (``figment.validation.policies.SCHEMA``) on those of the plan's images that ``pool`` holds, sorted by id.

    A class that a picture was asked to show competes with all classes of ``space`` that it was not. Features are taken
    from beside the pool and worked out, and kept there, where missing. One shard's pictures are in memory at a time.
    Raises InputError if a picture was asked to show what is no class of ``space``.
    """
    policy = settle_on_pool(plan, pool, space, clip, policy)
    verdicts = [SCHEMA.empty_table()]
    for seen in look(plan, pool, space, clip):
        probabilities = grouping_softmax(seen.logits, seen.requested).numpy()
        verdicts.append(
            make_multilabel_verdicts(
                seen.image_ids, seen.labels, probabilities, seen.contrasts, space, policy, seen.unsafe.tolist()
            )
        )
    return pa.concat_tables(verdicts).sort_by("image_id")


def settle_on_pool(
    plan: Path | pa.Table, pool: Pool, space: LabelSpace, clip: ClipConfig, policy: AcceptancePolicy
) -> AcceptancePolicy:
    """``policy``, with thresholds from those of the plan's images that ``pool`` holds if it has a target precision.

    What is unsafe or blank, and so never passes, says nothing here.
    """
    if is_settled(policy):
        return policy
    presence, requested = [np.zeros((0, len(space)))], [np.zeros((0, len(space)), bool)]
    for seen in look(plan, pool, space, clip):
        counts = ~seen.unsafe & (seen.contrasts >= policy.min_contrast)
        found = presence_probabilities(seen.logits, seen.requested).numpy()
        counts &= np.isfinite(found).all(1)
        presence.append(found[counts])
        requested.append(seen.requested.numpy()[counts])
    return settle(policy, np.concatenate(presence), np.concatenate(requested), space)


def missed_targets(thresholds: Mapping[str, Threshold], verdicts: pa.Table) -> list[str]:
    """A clause for each class that pictures were asked for and that no threshold holds to the target precision."""
    asked = {name for names in verdicts["labels"].to_pylist() for name in names}
    return [
        f"{name} (at {t.value:.3f} between {t.low:.0%} and {t.high:.0%})"
        for name, t in thresholds.items()
        if name in asked and not t.reached
    ]


def look(plan: Path | pa.Table, pool: Pool, space: LabelSpace, clip: ClipConfig) -> Iterator[Seen]:
    """What CLIP says of those of the plan's images that ``pool`` holds, a shard at a time."""
    scorer = ClipScorer(clip)
    store, text = FeatureStore(pool, scorer), scorer.text_features(space)
    store.complete()
    ids = [image_id for part in ranges(plan, CHUNK, ["image_id"]) for image_id in part["image_id"].to_pylist()]
    for found, features in store.read(ids):
        rows = {row["image_id"]: row for batch in pool.read(found, COLUMNS) for row in batch.to_pylist()}
        labels, contrasts, unsafe = ([rows[i][name] for i in found] for name in COLUMNS[1:])
        logits = scorer.compare(features, text).cpu()
        requested = requested_classes(found, labels, space)
        yield Seen(found, labels, np.array(contrasts), np.array(unsafe, bool), logits, requested)


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
