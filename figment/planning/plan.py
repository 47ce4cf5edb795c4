"""The plan is data: one row an image, with everything that decides its pixels. An image is its recipe.

``image_id`` is the SHA-256 of the row's canonical JSON and the noise seed derives from it, so the same row gives the
same picture in any batch, order or shard, and what is planned and not yet present is what is left to do.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from figment.errors import InputError
from figment.files import atomic, digest

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("negative_prompt", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("recipe", pa.string()),
        ("trick", pa.string()),
        ("domain", pa.string()),
        ("guidance_scale", pa.float64()),
        ("num_inference_steps", pa.int32()),
        ("scheduler", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("adapter", pa.string()),
        ("stream", pa.int64()),
        ("replicate", pa.int32()),
    ]
)


class Row(BaseModel):
    """What decides one image. ``stream`` is the config's seed: another stream is another, independent set of images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    recipe: str
    trick: str
    model: str
    revision: str
    width: int = Field(gt=0, multiple_of=8)
    height: int = Field(gt=0, multiple_of=8)
    guidance_scale: float = Field(ge=0)
    num_inference_steps: int = Field(gt=0)
    scheduler: str
    stream: int
    replicate: int = Field(ge=0)
    negative_prompt: str = ""
    domain: str = ""
    adapter: str = ""

    @property
    def image_id(self) -> str:
        """SHA-256 (hex) of the row's canonical JSON."""
        return digest(self.model_dump(mode="json"))


def seed_of(image_id: str) -> int:
    """The noise seed of an image: the first 63 bits of its id."""
    return int(image_id[:16], 16) >> 1


def make_plan(rows: Iterable[Row]) -> pa.Table:
    """A plan sorted by ``image_id``, each recipe once: equal sets of rows give equal tables in any order."""
    by_id = {row.image_id: row for row in rows}
    records = [{"image_id": i, "seed": seed_of(i), **by_id[i].model_dump()} for i in sorted(by_id)]
    return pa.Table.from_pylist(records, schema=SCHEMA)


def write_plan(plan: pa.Table, path: Path) -> None:
    """Write the table; the same plan gives the same bytes."""
    with atomic(path) as partial:
        pq.write_table(plan.replace_schema_metadata(None), partial, compression="zstd")


def read_plan(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"plan {path}: {error}; expected a Parquet plan that Figment wrote") from error
