"""The pool: rendered images in immutable Parquet shards, ``image: {bytes, path}`` as ``datasets`` reads them.

A shard is written under a temporary name, flushed and renamed; then a small JSON, its record, is written beside it with its
row count and SHA-256. A shard without a record does not exist: a kill at any moment loses the shard under way and nothing
else, and any number of processes may add shards at once. ``seal`` gathers the voices into MANIFEST.json.

With a store (``figment.store``) shards of other machines are there without being here: their columns are read in place, and
those whose images are wanted are fetched.
"""

import contextlib
import fcntl
import logging
import os
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from figment import store
from figment.columns import Ids, Wanted
from figment.errors import InputError
from figment.files import atomic, digest, sha256_file, write_json
from figment.planning.row import SCHEMA as PLAN_SCHEMA
from figment.reading import read_json
from figment.text import reason_of

logger = logging.getLogger(__name__)
logger.setLevel(logging.WARNING)  # whatever the tools around set for everybody

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema([*PLAN_SCHEMA, ("image", IMAGE_TYPE), ("contrast", pa.float32()), ("unsafe", pa.bool_())])
OURS = "a manifest that Figment wrote; move it away to start again"
ROW_GROUP = 128  # images read together when a few are wanted


class Shard(BaseModel):
    """A file of images whose ids lie between ``first`` and ``last``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    sha256: str
    first: str
    last: str


def shard_file(ids: Sequence[str]) -> str:
    """What the shard of these images is called."""
    return f"{digest(ids)[:24]}.parquet"


class Pool:
    """Images on disk, keyed by ``image_id``. Opening it reads the manifest; ``verify`` reads the images."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.manifest_file = self.folder / "MANIFEST.json"
        self._verified: set[str] = set()
        self._index: tuple[dict[str, Shard], list[Shard], list[str], list[str]] | None = None
        self.ids_of = lru_cache(maxsize=256)(self._ids_of)
        self.refresh()

    def refresh(self) -> None:
        """See what other processes have added. A shard whose file is gone is not there."""
        elsewhere = self._other_records()
        singles = [_read(path) for path in self.folder.glob("*.shard.json")]  # before a manifest that may swallow them
        manifest = _read(self.manifest_file)
        manifest = {"shards": []} if manifest is None else manifest
        try:
            shards = [Shard.model_validate(item) for item in [*manifest["shards"], *filter(None, singles)]]
        except (KeyError, TypeError, ValidationError) as error:
            raise InputError(f"{self.manifest_file}: not readable ({reason_of(error)}); expected {OURS}") from error
        self.shards = {
            s.file: s
            for s in sorted(shards, key=lambda s: s.file)
            if s.file in elsewhere or (self.folder / s.file).is_file()
        }

    def _other_records(self) -> set[str]:
        """The names of all files that the store has of this pool, after bringing the records of shards that the manifest
        does not list. In the store a record stays: two processes that seal at once may not know of each other's shards."""
        elsewhere = store.names(self.folder)
        records = [name for name in elsewhere if name.endswith(".shard.json")]
        listed = self.manifest_file.read_text(encoding="utf-8") if records and self.manifest_file.is_file() else ""
        store.fetch(*(self.folder / name for name in records if name.partition(".")[0] not in listed))
        return elsewhere

    def verify(self, files: Collection[str] | None = None) -> list[str]:
        """Read every shard here (of ``files``, if given) not read before; keep under another name each whose bytes are not what
        is in its record, so that its images count as missing. Returns the names it gave."""
        chosen = self.shards.keys() if files is None else self.shards.keys() & set(files)
        todo = sorted(file for file in chosen - self._verified if (self.folder / file).is_file())
        with ThreadPoolExecutor(4) as readers:
            hashes = dict(zip(todo, readers.map(sha256_file, (self.folder / file for file in todo)), strict=True))
        damaged = [file for file in todo if hashes[file] != self.shards[file].sha256]
        aside = []
        for file in damaged:
            path = self.folder / file
            with contextlib.suppress(FileNotFoundError):  # another process noticed too
                aside.append(path.rename(path.with_suffix(f".damaged-{hashes[file][:8]}")).name)
        self.shards = {file: shard for file, shard in self.shards.items() if file not in damaged}
        self._verified |= self.shards.keys() & set(todo)
        for name in aside:
            logger.warning("%s: damaged, set aside as %s; its images are rendered again", self.folder, name)
        return aside

    def bring(self, files: Iterable[str]) -> None:
        """Fetch those of these shards that are only in the store. Raises InputError if what came is not what its record says."""
        absent = [file for file in files if not (self.folder / file).is_file()]
        store.fetch(*(self.folder / file for file in absent))
        for file in absent:
            if sha256_file(self.folder / file) != self.shards[file].sha256:
                raise InputError(
                    f"{store.url()}/{self.folder / file}: its content is not what its record says; "
                    "remove it there and run again to render its images"
                )

    def _open(self, file: str) -> Any:
        """A shard to read columns from: here, or where it is."""
        path = self.folder / file
        return store.read(path) if store.url() and not path.is_file() else path

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards.values())

    def near(self, rows: pa.Table) -> list[str]:
        """The files of shards that may hold some of a sorted part of a plan, found by bisection."""
        first, last = rows["image_id"][0].as_py(), rows["image_id"][-1].as_py()
        shards, index = self.shards, self._index
        if index is None or index[0] is not shards:
            by_first = sorted(shards.values(), key=lambda shard: shard.first)
            reach = list(accumulate((shard.last for shard in by_first), max))  # the last id of any shard up to here
            index = self._index = (shards, by_first, [shard.first for shard in by_first], reach)
        _, by_first, firsts, reach = index
        some = by_first[bisect_left(reach, first) : bisect_right(firsts, last)]
        return [shard.file for shard in some if shard.last >= first]

    def _ids_of(self, file: str) -> pa.ChunkedArray:
        return pq.read_table(self._open(file), columns=["image_id"])["image_id"]

    def missing(self, rows: pa.Table) -> pa.Table:
        """The rows of a sorted part of a plan that are not yet rendered, in their order."""
        if not len(rows):
            return rows
        present = pa.chunked_array(
            [chunk for file in self.near(rows) for chunk in self.ids_of(file).chunks], pa.string()
        )
        return rows.filter(pc.invert(pc.is_in(rows["image_id"], present)))

    def add(self, rows: pa.Table, images: Mapping[str, Sequence[Any]]) -> Shard:
        """Write one shard, sorted by id: plan columns, and ``images`` with the pool's own columns; then its record."""
        table = rows
        for name in ("image", "contrast", "unsafe"):
            table = table.append_column(name, pa.array(images[name], SCHEMA.field(name).type))
        ids = rows["image_id"].to_pylist()
        path = self.folder / shard_file(ids)
        with atomic(path) as partial:
            pq.write_table(table.cast(SCHEMA), partial, compression="none", row_group_size=ROW_GROUP)
        return self._record(Shard(file=path.name, rows=len(ids), sha256=sha256_file(path), first=ids[0], last=ids[-1]))

    def take(self, other: "Pool", file: str) -> Shard:
        """A whole shard of another pool, which was verified: the same file under a second name, or a copy on another disk."""
        other.bring([file])
        with atomic(self.folder / file) as partial:
            try:
                os.link(other.folder / file, partial)
            except OSError:
                shutil.copyfile(other.folder / file, partial)
        return self._record(other.shards[file])

    def _record(self, shard: Shard) -> Shard:
        write_json(self.folder / f"{Path(shard.file).stem}.shard.json", shard.model_dump())
        self.shards = {**self.shards, shard.file: shard}  # a new one: other threads may be going through the old
        self._verified.add(shard.file)
        return shard

    def seal(self) -> None:
        """Gather the records of single shards into the one MANIFEST.json, which is left alone if nothing is new."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            singles = list(self.folder.glob("*.shard.json"))
            self.refresh()
            listed = [shard.model_dump() for _, shard in sorted(self.shards.items())]
            manifest = {"rows": len(self), "shards": listed}
            if _read(self.manifest_file) != manifest:
                write_json(self.manifest_file, manifest)
            for single in singles:
                single.unlink()
        finally:
            os.close(lock)

    def read(self, image_ids: Ids, columns: Sequence[str], batch_rows: int = 1024) -> Iterator[pa.RecordBatch]:
        """Batches of the images wanted, with ``columns``; each image once, in the shards' order."""
        wanted = Wanted(image_ids)
        near = [file for file, shard in self.shards.items() if wanted.has_between(shard.first, shard.last)]
        if "image" in columns:
            self.bring(near)
        for file in near:
            ids = self.ids_of(file)
            here = np.zeros(len(ids), bool)
            here[wanted.places(ids)[0]] = True
            if here.any():
                with pq.ParquetFile(self._open(file)) as parquet:
                    yield from _chosen_rows(parquet, here, columns, batch_rows)


def _chosen_rows(
    parquet: pq.ParquetFile, here: np.ndarray, columns: Sequence[str], size: int
) -> Iterator[pa.RecordBatch]:
    """The rows where ``here``, reading only the row groups that hold some."""
    groups = sorted(set(np.flatnonzero(here) // ROW_GROUP))
    table = parquet.read_row_groups([int(g) for g in groups], columns=list(columns))
    mask = np.concatenate([here[g * ROW_GROUP : (g + 1) * ROW_GROUP] for g in groups])
    yield from table.filter(pa.array(mask)).combine_chunks().to_batches(max_chunksize=size)


def _read(path: Path) -> Any:
    """The JSON in ``path``, None if there is no such file."""
    try:
        return read_json(path, OURS)
    except InputError:
        if path.exists():
            raise
        return None
