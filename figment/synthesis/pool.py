"""The pool: rendered images in immutable Parquet shards, ``image: {bytes, path}`` as ``datasets`` reads them.

A pool is a folder of shards and a MANIFEST.json that lists each with its row count and SHA-256. A shard is written
under a temporary name, flushed and renamed; then the manifest, likewise. What the manifest does not vouch for does not
exist: a kill at any moment loses the shard under way and nothing else.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from figment.errors import InputError
from figment.files import atomic, digest, sha256_file, write_json

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Shard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    sha256: str


class Pool:
    """Images on disk, keyed by ``image_id``."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest_file = folder / "MANIFEST.json"
        self.shards: dict[str, Shard] = {}
        if self.manifest_file.exists():
            try:
                listed = json.loads(self.manifest_file.read_text(encoding="utf-8"))["shards"]
                self.shards = {item["file"]: Shard.model_validate(item) for item in listed}
            except (ValueError, KeyError, TypeError, ValidationError) as error:
                raise InputError(
                    f"{self.manifest_file}: not a manifest that Figment wrote ({error}); move it away to start anew"
                ) from error
        self._set_aside_damaged()

    def _set_aside_damaged(self) -> None:
        """Keep, under another name, every shard whose bytes are not what the manifest says; its rows are missing again."""
        for shard in list(self.shards.values()):
            path = self.folder / shard.file
            if not path.exists():
                del self.shards[shard.file]
            elif sha256_file(path) != shard.sha256:
                path.rename(path.with_suffix(f".damaged-{sha256_file(path)[:8]}"))
                del self.shards[shard.file]

    @cached_property
    def image_ids(self) -> set[str]:
        """The ids of all images present."""
        return {
            i
            for shard in self.shards
            for i in pq.read_table(self.folder / shard, columns=["image_id"])["image_id"].to_pylist()
        }

    def missing(self, plan: pa.Table) -> pa.Table:
        """The rows of ``plan`` not yet rendered, in the plan's order."""
        present = pa.array(sorted(self.image_ids), pa.string())
        return plan.filter(pc.invert(pc.is_in(plan["image_id"], present)))

    def add(self, rows: pa.Table, images: Sequence[bytes], extension: str) -> None:
        """Write one shard (plan columns and encoded images), then the manifest that vouches for it."""
        ids = rows["image_id"].to_pylist()
        cells = [{"bytes": data, "path": f"{i}.{extension}"} for i, data in zip(ids, images, strict=True)]
        table = rows.append_column("image", pa.array(cells, IMAGE_TYPE))
        name = f"{digest(ids)[:24]}.parquet"
        with atomic(self.folder / name) as partial:
            pq.write_table(table, partial, compression="none", row_group_size=256)
        self.shards[name] = Shard(file=name, rows=len(ids), sha256=sha256_file(self.folder / name))
        listed = [shard.model_dump() for _, shard in sorted(self.shards.items())]
        write_json(self.manifest_file, {"rows": sum(s["rows"] for s in listed), "shards": listed})
        self.__dict__.pop("image_ids", None)

    def read(
        self, image_ids: Iterable[str], columns: Sequence[str], batch_rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the images wanted, with ``columns``; each image once, in the shards' order."""
        wanted = pa.array(sorted(set(image_ids)), pa.string())
        if not self.shards or not len(wanted):
            return
        dataset = ds.dataset([str(self.folder / name) for name in sorted(self.shards)], format="parquet")
        scanner = dataset.scanner(
            columns=list(columns), filter=ds.field("image_id").isin(wanted), batch_size=batch_rows
        )
        yield from (batch for batch in scanner.to_batches() if batch.num_rows)
