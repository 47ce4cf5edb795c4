"""The plan is data: a Parquet table, one row an image to be made, sorted by ``image_id``, each image once.

Equal sets of rows give equal bytes in any order. A plan may be larger than memory: it is written by external sorting and
read range by range.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from figment.errors import InputError
from figment.files import atomic
from figment.planning.identity import check_identity, identified, table_of
from figment.planning.row import ADDED_LATER, SCHEMA, Row
from figment.text import reason_of

CHUNK = 16_384  # rows made at a time
SPILT = 8  # chunks that go to disk together
ROW_GROUP = 16_384
BUFFER = 1 << 20  # bytes read ahead of each column
PARTS = 256  # of a larger plan, by the first two hex digits of the id


def make_plan(rows: Iterable[Row]) -> pa.Table:
    """The plan of ``rows``, in memory."""
    return _sorted(table_of(list(rows)))


def write_plan(rows: Iterable[Row] | Iterable[pa.Table] | pa.Table, path: Path) -> int:
    """Write the plan of ``rows`` (or a plan) to ``path`` and return its number of images. Memory stays flat. Rows may also
    come as tables of some ten thousand that lack ``image_id`` and ``seed`` (figment.planning.identity)."""
    with atomic(path) as partial, TemporaryDirectory(dir=path.parent, prefix=".plan") as spill:
        parts = [_sorted(rows)] if isinstance(rows, pa.Table) else _sorted_parts(iter(rows), Path(spill))
        with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
            for table in rechunk(parts, ROW_GROUP):
                writer.write_table(table, row_group_size=ROW_GROUP)
    return pq.read_metadata(path).num_rows


def read_plan(path: Path) -> pa.Table:
    """The whole plan in memory."""
    try:
        plan = completed(pq.read_table(path)).cast(SCHEMA)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise _not_a_plan(path, reason_of(error)) from error
    check_rows([plan], path)
    return plan


def count_rows(plan: pa.Table | Path) -> int:
    if isinstance(plan, pa.Table):
        return len(plan)
    with _opened(plan) as file:
        return file.metadata.num_rows


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = pq.ParquetFile(
            path, pre_buffer=False, buffer_size=BUFFER
        )  # else all that was read is kept until the end
    except (OSError, pa.ArrowException) as error:
        raise _not_a_plan(path, reason_of(error)) from error
    with file:
        if missing := set(SCHEMA.names) - set(ADDED_LATER) - set(file.schema_arrow.names):
            raise _not_a_plan(path, f"columns {', '.join(sorted(missing))} are missing")
        yield file


def _not_a_plan(path: Path, reason: str) -> InputError:
    return InputError(f"plan {path}: {reason}; expected a Parquet plan that Figment wrote")


def ranges(plan: pa.Table | Path, size: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The plan cut into ranges of ``size`` rows (the last may be shorter), one in memory at a time."""
    if isinstance(plan, pa.Table):
        chosen = plan.select(columns) if columns else plan
        yield from (chosen.slice(start, size) for start in range(0, len(chosen), size))
        return
    with _opened(plan) as file:
        batches = file.iter_batches(batch_size=max(size, 1024), columns=columns)
        tables = (pa.Table.from_batches([batch]) for batch in batches)
        yield from rechunk(tables if columns else map(completed, tables), size)


def completed(plan: pa.Table) -> pa.Table:
    """A plan that an earlier version wrote, with the columns that came since, at their defaults; in the schema's order."""
    for name in ADDED_LATER:
        if name not in plan.column_names:
            values = pa.repeat(pa.scalar(Row.model_fields[name].default, SCHEMA.field(name).type), len(plan))
            plan = plan.append_column(name, values)
    return plan.select(SCHEMA.names)


def check_sorted(plan: pa.Table | Path) -> None:
    """Raise InputError if the rows do not ascend by id: whoever puts plans together uses ``union`` or ``write_plan``."""
    last = ""
    for part in ranges(plan, CHUNK, ["image_id"]):
        ids = part["image_id"].combine_chunks()
        if ids.null_count or last >= ids[0].as_py() or not pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py():
            where = "plan" if isinstance(plan, pa.Table) else f"plan {plan}"
            raise InputError(
                f"{where}: its rows do not ascend by image_id, each once; write it with figment's write_plan"
            )
        last = ids[-1].as_py()


def check_rows(parts: Iterable[pa.Table], plan: pa.Table | Path) -> None:
    """Raise InputError for the first row of these parts of a plan whose id or seed is not that of its fields. A part is in
    memory at a time."""
    where, first = "plan" if isinstance(plan, pa.Table) else f"plan {plan}", 0
    for part in parts:
        for start in range(0, len(part), CHUNK):
            check_identity(part.slice(start, CHUNK), where, first + start)
        first += len(part)


def rechunk(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of ``size``; the last may be shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= size:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, size)
            waiting = [joined.slice(size)]
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting)


def _sorted(table: pa.Table) -> pa.Table:
    """Sorted by id, each id once."""
    table = table.sort_by("image_id")
    ids = table["image_id"].to_numpy()
    return table.filter(pa.array(np.append(True, ids[1:] != ids[:-1]))) if len(ids) else table


def _chunks(rows: Iterator[Row] | Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Unsorted parts of a plan, about a chunk each."""
    while some := list(islice(rows, 1)):
        if isinstance(some[0], pa.Table):
            yield identified(some[0])
        else:
            yield table_of([*some, *islice(rows, CHUNK - 1)])


def _sorted_parts(rows: Iterator[Row] | Iterator[pa.Table], folder: Path) -> Iterator[pa.Table]:
    """The plan of ``rows`` in consecutive parts. More than a chunk is first spilt to disk by the ids' leading digits."""
    chunks = _chunks(rows)
    first = next(chunks, SCHEMA.empty_table())
    if len(first) < CHUNK and (second := next(chunks, None)) is None:
        yield _sorted(first)
        return
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with ExitStack() as stack:
        parts = [
            stack.enter_context(pa.ipc.new_stream(folder / f"{i:02x}", SCHEMA, options=options)) for i in range(PARTS)
        ]
        chunks = chain([first], [second] if len(first) < CHUNK else [], chunks)
        for table in rechunk(chunks, SPILT * CHUNK):
            table = table.combine_chunks()
            digits = pc.utf8_slice_codeunits(table["image_id"], 0, 2).combine_chunks().dictionary_encode()
            part = np.array([int(two, 16) for two in digits.dictionary.to_pylist()])[digits.indices.to_numpy()]
            order = part.argsort(kind="stable")
            ends = np.bincount(part, minlength=PARTS).cumsum()
            table = table.take(order)
            for i, writer in enumerate(parts):
                start = ends[i - 1] if i else 0
                writer.write_table(table.slice(start, ends[i] - start))
    for i in range(PARTS):
        with pa.OSFile(str(folder / f"{i:02x}")) as file:
            yield _sorted(pa.ipc.open_stream(file).read_all())
        (folder / f"{i:02x}").unlink()


def union(*plans: pa.Table) -> pa.Table:
    """All images that any of ``plans`` asks for, as one plan."""
    return _sorted(pa.concat_tables(plans))
