"""CLIP's verdicts on a plan's images, which were asked to show one class or several (Zhang et al. 2024, CLIP validation)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from figment.clip.scorer import ClipScorer
from figment.columns import sorted_by_id
from figment.errors import InputError
from figment.images import contrasts_of
from figment.labels import LabelSpace
from figment.metrics.calibration import Threshold
from figment.planning.plan import CHUNK, ranges
from figment.synthesis.pool import Pool
from figment.validation.features import FeatureStore
from figment.validation.grouping import grouping_softmax, presence_probabilities
from figment.validation.policies import Policy, Top1Policy, is_settled, settle
from figment.validation.verdicts import SCHEMA, make_verdicts

COLUMNS = ("image_id", "labels", "trick", "contrast", "unsafe")


class Seen(NamedTuple):
    """What is known of some images: their ``rows`` of the pool (``COLUMNS``), CLIP's ``logits`` (N, C), and ``requested`` (N, C)
    bool over all classes."""

    rows: Sequence[Mapping[str, Any]]
    logits: Tensor
    requested: Tensor


def validate(plan: Path | pa.Table, pool: Pool, space: LabelSpace, scorer: ClipScorer, policy: Policy) -> pa.Table:
    """Verdicts on those of the plan's images that ``pool`` holds, sorted by id.

    A class that an image was asked to show competes with all classes of ``space`` that it was not. Features are taken
    from beside the pool and worked out, and kept there, where missing. One shard's images are in memory at a time.
    Raises InputError if an image was asked to show what is no class of ``space``.
    """
    policy = settle_on_pool(plan, pool, space, scorer, policy)
    verdicts = [SCHEMA.empty_table()]
    for seen in look(plan, pool, space, scorer):
        verdicts.append(
            make_verdicts(seen.rows, probabilities_of(policy, scorer, seen.logits, seen.requested), space, policy)
        )
    return sorted_by_id(pa.concat_tables(verdicts))


def probabilities_of(policy: Policy, scorer: ClipScorer, logits: Tensor, requested: Tensor) -> np.ndarray:
    """(N, C) what a policy decides by: the grouping softmax, which of one requested class is the softmax; or, of a SigLIP, the
    sigmoid."""
    if isinstance(policy, Top1Policy) and policy.scores == "sigmoid":
        return scorer.presence(logits).cpu().numpy()
    if isinstance(policy, Top1Policy) and bool((requested.sum(1) == 1).all()):
        return logits.softmax(1).cpu().numpy()
    return grouping_softmax(logits, requested).cpu().numpy()


def settle_on_pool(plan: Path | pa.Table, pool: Pool, space: LabelSpace, scorer: ClipScorer, policy: Policy) -> Policy:
    """``policy``, with thresholds from those of the plan's images that ``pool`` holds if it has a target precision.

    What is unsafe or blank, and so never passes, says nothing here.
    """
    if is_settled(policy):
        return policy
    presence, requested = [np.zeros((0, len(space)))], [np.zeros((0, len(space)), bool)]
    for seen in look(plan, pool, space, scorer):
        clear = [not row["unsafe"] and row["contrast"] >= policy.min_contrast for row in seen.rows]
        found = presence_probabilities(seen.logits, seen.requested).numpy()
        counts = np.array(clear) & np.isfinite(found).all(1)
        presence.append(found[counts])
        requested.append(seen.requested.numpy()[counts])
    return settle(policy, np.concatenate(presence), np.concatenate(requested), space)


def missed_targets(thresholds: Mapping[str, Threshold], verdicts: pa.Table) -> list[str]:
    """A clause for each class that images were asked for and that no threshold holds to the target precision."""
    asked = set(pc.list_flatten(verdicts["labels"]).unique().to_pylist())
    return [
        f"{name} (at {t.value:.3f} between {t.low:.0%} and {t.high:.0%})"
        for name, t in thresholds.items()
        if name in asked and not t.reached
    ]


def look(plan: Path | pa.Table, pool: Pool, space: LabelSpace, scorer: ClipScorer) -> Iterator[Seen]:
    """What CLIP says of those of the plan's images that ``pool`` holds, a shard at a time."""
    store, text = FeatureStore(pool, scorer), scorer.text_features(space)
    store.complete()
    ids = pa.chunked_array(
        [c for part in ranges(plan, CHUNK, ["image_id"]) for c in part["image_id"].chunks], pa.string()
    )
    for found, features in store.read(ids):
        rows = {row["image_id"]: row for batch in pool.read(found, COLUMNS) for row in batch.to_pylist()}
        chosen = [rows[image_id] for image_id in found]
        yield Seen(chosen, scorer.compare(features, text).cpu(), requested_classes(chosen, space))


def requested_classes(rows: Sequence[Mapping[str, Any]], space: LabelSpace) -> Tensor:
    """(N, C) bool: which classes each image was asked to show."""
    columns = {name: column for column, name in enumerate(space.names)}
    requested = torch.zeros(len(rows), len(space), dtype=torch.bool)
    for number, row in enumerate(rows):
        for name in row["labels"]:
            if name not in columns:
                raise InputError(
                    f"image {row['image_id']:.12}: was asked to show {name!r}, which is not among the {len(space)} classes to "
                    "check against; give the label space that the plan was made with"
                )
            requested[number, columns[name]] = True
    return requested


class LiveAcceptance(FeatureStore):
    """Keeps CLIP's features of images that are being made, and counts how many of them a settled policy will accept."""

    def __init__(self, pool: Pool, scorer: ClipScorer, labels: LabelSpace, policy: Policy):
        super().__init__(pool, scorer)
        self.labels, self.policy = labels, policy
        if isinstance(policy, Top1Policy) and policy.scores == "sigmoid":
            scorer.check_presence()
        self.text = scorer.text_features(labels)
        self.counts: list[tuple[int, int]] = []  # (accepted, seen) of each batch; appending is safe between threads

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[np.ndarray]:
        features = self.scorer.image_features(pixels)
        logits = self.scorer.compare(features, self.text).cpu()
        contrasts = contrasts_of(pixels).tolist()  # what a safety checker stops is black
        known = [{**row, "contrast": value, "unsafe": False} for row, value in zip(rows, contrasts, strict=True)]
        probabilities = probabilities_of(self.policy, self.scorer, logits, requested_classes(known, self.labels))
        accepted = make_verdicts(known, probabilities, self.labels, self.policy)["accepted"].to_pylist()
        self.counts.append((sum(accepted), len(rows)))
        return list(features.cpu().numpy())

    def progress(self) -> dict[str, float]:
        accepted, seen = np.sum(self.counts or [(0, 0)], axis=0)
        return {"accepted_share": accepted / max(1, seen)}
