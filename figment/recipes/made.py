"""What the stages of a run made, as a recipe's report reads it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from figment.clip.scorer import ClipConfig
from figment.licences import clip_licence, licence_of
from figment.manifests import Adapted, Classifiers, FileRef, Prepared
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import read_plan
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.histories import Curve, read_curve

T = TypeVar("T")
IMAGES = "MANIFEST"  # of the pool
PLANS = ("plan", "plan_topped_up", "plan_rounds")


@dataclass(frozen=True)
class Made:
    """``folder`` is the run's output, ``items`` are the results of its steps: files, tables of numbers, classifiers."""

    folder: Path
    items: Sequence[Any]

    def get(self, kind: type[T]) -> T:
        """The one result of this type."""
        return next(item for item in self.items if isinstance(item, kind))

    def file(self, *stems: str) -> FileRef | None:
        """The file of one of these names, without suffix, if a step made one."""
        return next((file for item in self.items for file in files_of(item) if Path(file.path).stem in stems), None)

    def path(self, *stems: str) -> Path:
        """As ``file``, which must be there and unchanged since its step wrote it."""
        file = self.file(*stems)
        if file is None:
            raise LookupError(f"no step of this run made {' or '.join(stems)}")
        return file.open()

    def table(self, stem: str) -> pa.Table:
        return pq.read_table(self.path(stem))

    def read(self, stem: str, kind: type[T]) -> T:
        """The JSON file of this name. Raises InputError if it is not as its step wrote it."""
        return read_artifact(self.path(stem), kind)

    @property
    def planned(self) -> FileRef | None:
        return self.file(*PLANS)

    @property
    def plan(self) -> pa.Table:
        return read_plan(self.path(*PLANS))

    @property
    def pool(self) -> Pool:
        return Pool(self.path(IMAGES).parent)

    def images(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Images of the pool, as it holds them, by id."""
        parts = self.pool.read(ids, ["image_id", "image"])
        return {row["image_id"]: row["image"] for part in parts for row in part.to_pylist()}

    @property
    def origins(self) -> dict[str, str]:
        """The hashes of the plan and of the pool's manifest, if images were generated."""
        plan, images = self.planned, self.file(IMAGES)
        if plan is None or images is None:
            return {}
        rows = pq.read_metadata(plan.open()).num_rows
        return {"plan": f"{rows} images, sha256 {plan.sha256}", "images": f"manifest sha256 {images.sha256}"}

    @property
    def gates(self) -> list[str]:
        """The names of the quality gates that the run passed."""
        lists = (item.checked if isinstance(item, Prepared) else item for item in self.items)
        checked = [name for found in lists if isinstance(found, list | tuple) for name in found]
        return list(dict.fromkeys(["plan", "verdicts", *checked]))

    @property
    def model(self) -> FileRef:
        """The weights of the only classifier."""
        return self.get(Classifiers).items[0].weights

    def curves(self) -> dict[str, Curve]:
        """The loss curve of each classifier that has one, by its name."""
        found = {item.name: read_curve(item.weights.open().parent) for item in self.get(Classifiers).items}
        return {name: curve for name, curve in found.items() if curve}


def files_of(item: Any) -> Iterator[FileRef]:
    """The files that a step's result names."""
    if isinstance(item, FileRef):
        yield item
    elif isinstance(item, Adapted):
        yield from item.files
    elif isinstance(item, Prepared):
        yield from (file for file in (item.splits, item.photos) if file)


def generator_name(generator: GeneratorConfig) -> str:
    return f"{generator.model} @ {model_revision(generator)}"


def licences(generator: GeneratorConfig, *clips: ClipConfig) -> dict[str, str]:
    """The terms of the models that a run's images owe something to."""
    terms = {generator_name(generator): licence_of(generator.model, model_revision(generator))}
    return terms | {f"CLIP {clip.model}": clip_licence(clip.model, clip.pretrained) for clip in clips}
