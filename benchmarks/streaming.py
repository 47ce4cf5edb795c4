"""Memory and speed of the stages between rendering and training on very large tables: verdicts, gates, training lists.

    python -m benchmarks.streaming [--rows 100000 1000000] [--stages NAME ...] [--folder /tmp/figment-streaming]

Made-up verdicts on a plan of so many rows (a thousand classes, two tricks, an eighth rejected) and a pool that holds the plan's
ids, contrasts and hashes but no images. Each stage is a process of its own on one thread; peak memory is that process's, and
"a row" is what it has more than the same stage on 20,000 rows. Writes benchmarks/results/streaming.json and the table in
docs/scaling.md.
"""

import argparse
import json
import resource
import shutil
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.scale_plan import columns
from figment.files import write_json, write_text
from figment.labels import LabelSpace
from figment.ops import tracking
from figment.ops.set_gates import Gates
from figment.planning.plan import ranges, write_plan
from figment.planning.quotas import QuotaConfig, tally, within_quota
from figment.synthesis.pool import ROW_GROUP, Pool, shard_file
from figment.training.lists import list_digest, open_training_list, training_list, write_list
from figment.validation.config import GateConfig
from figment.validation.hashes import HashedSet
from figment.validation.verdicts import COUNTED, LISTED, SCHEMA, reasons, yields
from steps.validation import check_verdicts

RESULT, DOCS = Path(__file__).parent / "results/streaming.json", Path("docs/scaling.md")
MARKS = "<!-- streaming -->\n", "<!-- /streaming -->"
SHARD, CLASSES, NONE = 8192, 1000, 20_000  # the last: rows that show what a process has anyway
TELLING = 300_000  # rows from which on what grows is more than what does not
SPACE = LabelSpace.of([f"thing {number}" for number in range(CLASSES)])
SETS = {"base_class": {"base_class": 10**9}}


def prepare(count: int, folder: Path) -> None:
    """The plan, its verdicts, and a pool with what stages read of it beside images."""
    write_plan(columns(count), folder / "plan.parquet")
    images, hashes = folder / "images", folder / "hashes"
    for made in (images, hashes):
        made.mkdir()
    shards, random = [], np.random.default_rng(0)
    with pq.ParquetWriter(folder / "verdicts.parquet", SCHEMA) as writer:
        for part in ranges(folder / "plan.parquet", SHARD, ["image_id", "labels", "trick"]):
            ids, passed = part["image_id"], random.random(len(part)) > 1 / 8
            reason = pc.if_else(pa.array(passed), "accepted", "low_probability")
            probability = pa.array(np.where(passed, 0.75, 0.25))
            contrast = pa.array(np.full(len(part), 0.25))
            found = [
                ids,
                pa.array(passed),
                reason,
                part["labels"],
                part["trick"],
                part["labels"],
                probability,
                contrast,
            ]
            writer.write_table(pa.table(dict(zip(SCHEMA.names, found, strict=True))).cast(SCHEMA))
            file = shard_file(ids.to_pylist())
            kept = {"image_id": ids, "contrast": contrast.cast(pa.float32()), "unsafe": np.zeros(len(part), bool)}
            pq.write_table(pa.table(kept), images / file, row_group_size=ROW_GROUP)
            codes = random.integers(2**62, size=(len(part), 4))
            pq.write_table(pa.table({"image_id": ids, "feature": list(codes)}), hashes / file)
            shards.append(
                {"file": file, "rows": len(part), "sha256": "0" * 64, "first": ids[0].as_py(), "last": ids[-1].as_py()}
            )
    write_json(images / "MANIFEST.json", {"rows": count, "shards": shards})


def look_at_verdicts(folder: Path) -> None:
    planned = pq.read_table(folder / "plan.parquet", columns=["image_id"])["image_id"]
    check_verdicts(folder / "verdicts.parquet", planned, SPACE)


def count_verdicts(folder: Path) -> None:
    verdicts = pq.read_table(folder / "verdicts.parquet", columns=COUNTED)
    assert sum(reasons(verdicts).values()) == len(verdicts)
    yields(verdicts, "trick"), yields(verdicts, "labels")


def fill_quota(folder: Path) -> None:
    quota = QuotaConfig(accepted=10, max_attempts=10**9)
    found = within_quota(pq.read_table(folder / "verdicts.parquet"), quota)
    plan = pq.read_table(folder / "plan.parquet", columns=["image_id", "model", "trick", "labels"])
    tally(plan.append_column("prompt", pc.list_element(plan["labels"], 0)), found)  # a prompt a class


def listed(folder: Path) -> pa.Table:
    return training_list(pq.read_table(folder / "verdicts.parquet", columns=LISTED), SETS["base_class"])


def make_list(folder: Path) -> None:
    chosen = listed(folder)
    write_list(chosen, folder)
    list_digest(chosen)


def open_list(folder: Path) -> None:
    chosen = listed(folder)
    assert len(open_training_list(chosen, Pool(folder / "images"), SPACE, 32, "x")) == len(chosen)


def check_list(folder: Path) -> None:
    codes = np.random.default_rng(1).integers(2**62, size=(1000, 4)).astype(np.uint64)
    test = HashedSet(codes, ~codes, np.ones(1000), np.zeros(1000, int), str)
    gates = Gates(GateConfig(), folder)
    gates.check_list(SPACE, test, "x", listed(folder), Pool(folder / "images"))


STAGES: dict[str, Callable[[Path], None]] = {
    "verdicts counted": count_verdicts,
    "verdicts checked (gate)": look_at_verdicts,
    "quota filled": fill_quota,
    "training list made, written, hashed": make_list,
    "training list opened": open_list,
    "training list checked (gate)": check_list,
}


def child(work: Callable[[], None], told: Connection) -> None:
    begun = time.process_time()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.send({"seconds": time.process_time() - begun, "peak": peak})


def measured(work: Callable[[], None]) -> dict[str, Any]:
    """In a process that begins with what this one has imported."""
    fork, (here, there) = get_context("fork"), Pipe()
    process = fork.Process(target=child, args=(work, there))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return dict(here.recv())


def table(found: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    lines = ["| stage | rows | rows a processor second | peak | bytes a row | at 10^8 |", "|---|---|---|---|---|---|"]
    for stage, by_rows in found.items():
        anyway = by_rows[str(NONE)]["peak"]
        for rows, one in ((int(rows), one) for rows, one in by_rows.items() if int(rows) > NONE):
            more = (one["peak"] - anyway) / (rows - NONE)
            growth = f"{more:,.0f} | {(anyway + more * 1e8) / 1e9:.0f} GB" if rows >= TELLING else " | "
            cells = f"{rows / one['seconds']:,.0f} | {one['peak'] / 2**20:,.0f} MiB | {growth}"
            lines.append(f"| {stage} | {rows:,} | {cells} |")
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    arguments.add_argument("--folder", type=Path, default=Path("/tmp/figment-streaming"))
    options = arguments.parse_args()
    pa.set_cpu_count(1)
    tracking.log_file = lambda *_: None  # type: ignore[assignment]  # there is no run
    found = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    for rows in [NONE, *options.rows]:
        folder = options.folder / str(rows)
        folder.mkdir(parents=True)
        try:
            measured(partial(prepare, rows, folder))
            for stage in options.stages:
                found.setdefault(stage, {})[str(rows)] = measured(partial(STAGES[stage], folder))
                print(f"{rows:,} {stage}: {found[stage][str(rows)]}", flush=True)
                write_json(RESULT, found)
        finally:
            shutil.rmtree(folder)
    before, rest = DOCS.read_text(encoding="utf-8").split(MARKS[0])
    write_text(DOCS, f"{before}{MARKS[0]}" + "\n".join(table(found)) + f"\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main()
