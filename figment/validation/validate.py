"""Score a plan's images with CLIP and write their verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from figment.clip.scorer import ClipScorer
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.validation.features import FeatureStore
from figment.validation.verdicts import AcceptanceConfig, judge, make_verdicts

COLUMNS = ("image_id", "labels", "trick", "contrast", "unsafe")


def validate(plan: pa.Table, pool: Pool, labels: LabelSpace, scorer: ClipScorer, config: AcceptanceConfig) -> pa.Table:
    """Verdicts for all of ``plan``'s images, sorted by id."""
    store, text = FeatureStore(pool, scorer), scorer.text_features(labels)
    store.complete()
    ids = plan["image_id"].to_pylist()
    rows = {row["image_id"]: row for batch in pool.read(ids, COLUMNS) for row in batch.to_pylist()}
    verdicts = []
    for found, features in store.read(ids):
        probabilities = scorer.compare(features, text).softmax(1).cpu().numpy()
        verdicts.append(make_verdicts([rows[i] for i in found], probabilities, labels, config))
    return pa.concat_tables(verdicts).sort_by("image_id")


class LiveAcceptance(FeatureStore):
    """Keeps CLIP's features of pictures that are being made, and counts how many of them will be accepted."""

    def __init__(self, pool: Pool, scorer: ClipScorer, labels: LabelSpace, config: AcceptanceConfig):
        super().__init__(pool, scorer)
        self.labels, self.config = labels, config
        self.text = scorer.text_features(labels)
        self.counts: list[tuple[int, int]] = []  # (accepted, seen) of each batch; appending is safe between threads

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[np.ndarray]:
        features = self.scorer.image_features(pixels)
        probabilities = self.scorer.compare(features, self.text).softmax(1).cpu().numpy()
        contrasts = (pixels.float() / 255).flatten(2).std(2).mean(1).tolist()  # what a safety checker stops is black
        accepted = 0
        for row, scores, contrast in zip(rows, probabilities, contrasts, strict=True):
            requested = self.labels.names.index(row["labels"][0])
            reason = judge(scores[requested], scores.argmax() == requested, contrast, False, self.config)
            accepted += reason == "accepted"
        self.counts.append((accepted, len(rows)))
        return list(features.cpu().numpy())

    def progress(self) -> dict[str, float]:
        accepted, seen = np.sum(self.counts or [(0, 0)], axis=0)
        return {"accepted_share": accepted / max(1, seen)}
