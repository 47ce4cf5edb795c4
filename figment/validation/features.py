"""CLIP features of a pool's images, a file a shard: taken while the images are tensors, or later from their files.

A verdict is then a matrix product away: another threshold or another rule costs seconds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from figment import store
from figment.clip.scorer import ClipConfig, ClipScorer, clip_digest
from figment.columns import Ids, Wanted
from figment.files import atomic
from figment.images import decode
from figment.progress import Progress
from figment.synthesis.pool import Pool, Shard


def open_features(clip: ClipConfig, pool: Pool) -> "FeatureStore":
    """The features of a pool by a CLIP that is loaded now."""
    return FeatureStore(pool, ClipScorer(clip))


class FeatureStore:
    """Unit feature vectors (D,) of images by one CLIP, in ``features/<CLIP>/`` beside the pool."""

    what = "CLIP features"

    def __init__(self, pool: Pool, scorer: ClipScorer):
        self.pool, self.scorer, self.batch_size = pool, scorer, scorer.config.batch_size
        self.folder = pool.folder.parent / "features" / clip_digest(scorer.config)[:16]

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[np.ndarray]:
        """Features of images that are being made (``figment.synthesis.executor.Observer``)."""
        return list(self.scorer.image_features(pixels).cpu().numpy())

    def keep(self, file: str, kept: Mapping[str, np.ndarray]) -> None:
        """Write the features of a shard's images, by id."""
        table = pa.table({"image_id": list(kept), "feature": list(np.stack(list(kept.values())))})
        with atomic(self.folder / file) as partial:
            pq.write_table(table, partial)

    def progress(self) -> dict[str, float]:
        return {}

    def lacking(self) -> list[Shard]:
        """The shards without features: all of them, if the pool came from elsewhere."""
        return [shard for file, shard in self.pool.shards.items() if not store.exists(self.folder / file)]

    def complete(self) -> None:
        """Look at the images of all shards without features."""
        todo = self.lacking()
        with Progress(sum(shard.rows for shard in todo), self.what, "img", shown=bool(todo)) as bar:
            for shard in todo:
                for seen in self.look_at(shard.file):
                    bar.update(seen)

    def look_at(self, file: str) -> Iterator[int]:
        """Look at a shard's images, a batch at a time, and keep their features. Yields how many images each batch has."""
        kept: dict[str, np.ndarray] = {}
        ids = self.pool.ids_of(file).to_pylist()
        for batch in self.pool.read(ids, ["image_id", "image"], self.batch_size):
            rows = batch.to_pylist()
            images = [np.asarray(decode(row["image"]["bytes"], row["image"]["path"])) for row in rows]
            for shape in {image.shape for image in images}:
                same = [i for i, image in enumerate(images) if image.shape == shape]
                pixels = torch.from_numpy(np.stack([images[i] for i in same])).permute(0, 3, 1, 2)
                features = self.look([rows[i] for i in same], pixels)
                kept |= {rows[i]["image_id"]: feature for i, feature in zip(same, features, strict=True)}
            yield len(rows)
        self.keep(file, kept)

    def by_id(self, image_ids: Ids) -> dict[str, Tensor]:
        """(D,) float32 of each of the images wanted; call ``complete`` first."""
        parts = self.read(image_ids)
        return {image_id: row.float() for ids, rows in parts for image_id, row in zip(ids, rows, strict=True)}

    def read(self, image_ids: Ids) -> Iterable[tuple[list[str], Tensor]]:
        """(ids, features (n, D)) of the images wanted, a shard at a time; call ``complete`` first. An image that two shards hold
        counts once."""
        wanted = Wanted(image_ids)
        files = [file for file, shard in self.pool.shards.items() if wanted.has_between(shard.first, shard.last)]
        store.fetch(*(self.folder / file for file in files))
        for file in files:
            table = pq.read_table(self.folder / file)
            chosen, _ = wanted.places(table["image_id"])
            if len(chosen):
                table = table.take(chosen)
                yield table["image_id"].to_pylist(), torch.from_numpy(np.stack(table["feature"].to_numpy()))
