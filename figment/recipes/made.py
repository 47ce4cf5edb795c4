"""What the stages of a run made, as a recipe's report reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from figment.clip.scorer import ClipConfig
from figment.licences import clip_licence, licence_of
from figment.manifests import Classifiers, FileRef
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import read_plan
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.histories import Curve, read_curve

T = TypeVar("T")
IMAGES = "MANIFEST"  # of the pool
MODEL = "model"  # the file of a trained model's weights


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
        files = (item for item in self.items if isinstance(item, FileRef))
        return next((file for file in files if Path(file.path).stem in stems), None)

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
        return self.file("plan", "plan_topped_up")

    @property
    def plan(self) -> pa.Table:
        return read_plan(self.path("plan", "plan_topped_up"))

    @property
    def pool(self) -> Pool:
        return Pool(self.path(IMAGES).parent)

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
        checked = [name for item in self.items if isinstance(item, list) for name in item]
        return list(dict.fromkeys(["plan", "verdicts", *checked]))

    def curves(self) -> dict[str, Curve]:
        """The loss curve of each classifier, by its name."""
        return {item.name: read_curve(item.weights.open().parent) for item in self.get(Classifiers).items}


def generator_name(generator: GeneratorConfig) -> str:
    return f"{generator.model} @ {model_revision(generator)}"


def licences(generator: GeneratorConfig, *clips: ClipConfig) -> dict[str, str]:
    """The terms of the models that a run's images owe something to."""
    terms = {generator_name(generator): licence_of(generator.model, model_revision(generator))}
    return terms | {f"CLIP {clip.model}": clip_licence(clip.model, clip.pretrained) for clip in clips}
