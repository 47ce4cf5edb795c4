"""What the adaptation stage does, whatever its kind: what it works with, and what is left to do."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel

from figment.clip.config import ClipConfig
from figment.keys import model_digest
from figment.labels import LabelSpace
from figment.loop import Log
from figment.manifests import FileRef
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.sources import Sources


@dataclass(frozen=True)
class Material:
    """What a generator is adapted with. Classes of ``space`` are adapted to, beside which images of them are to stand out;
    ``prompts`` and ``photos`` as earlier stages left them, ``policy`` what an image passes by."""

    output: Path
    space: LabelSpace
    generator: GeneratorConfig
    clip: ClipConfig
    synthesis: SynthesisConfig
    policy: Any
    negative_prompt: str = ""
    prompts: FileRef | None = None
    photos: FileRef | None = None

    @property
    def adapters(self) -> Path:
        return self.output / "adapters"

    @property
    def names(self) -> dict[str, str]:
        """The prompt name of each class."""
        return {label.name: label.prompt_name for label in self.space.labels}

    def photo_inputs(self) -> dict[str, object]:
        """What decides what is learned from photos, beside how."""
        assert self.photos is not None  # the pipeline sees to it
        return {
            "labels": self.space,
            "photos": self.photos.sha256,
            "generator": [self.generator, model_digest(self.generator.model), self.generator.adapters()],
            "clip": [self.clip, model_digest(self.clip.model)],
        }

    def shots(self) -> tuple[dict[str, list[np.ndarray]], dict[str, Iterator[np.ndarray]]]:
        """Each class's photos at the generator's size, and, one at a time, at their own."""
        assert self.photos is not None  # the pipeline sees to it
        sources, size = Sources(self.output / "sources"), (self.generator.width, self.generator.height)
        shots: dict[str, list[str]] = {name: [] for name in self.space.names}
        for row in pq.read_table(self.photos.open()).to_pylist():
            shots[row["label"]].append(row["image"])
        small = {name: [np.asarray(sources.image(shot, *size)) for shot in own] for name, own in shots.items()}
        return small, {name: (np.asarray(sources.read(shot)) for shot in own) for name, own in shots.items()}


@dataclass(frozen=True)
class Job:
    """An adaptation that writes ``file`` into the output folder. ``inputs`` decide it, together with the code of ``module``;
    ``version`` is that of its checkpoints, which ``forget`` removes once the file is there."""

    file: str
    module: str
    version: int
    inputs: Mapping[str, Any]
    adapt: Callable[[str, Log], BaseModel]  # takes the checkpoint's key
    forget: Callable[[], None]
