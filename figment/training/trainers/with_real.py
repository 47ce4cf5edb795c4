"""Jobs that real images add to those of ``timm``: students that learn from them too, CLIP with the same images, both fused."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor, nn

from figment.checkpoint import Checkpoint
from figment.clip.scorer import clip_digest
from figment.datasets.kinds import LabelledData
from figment.files import sha256_file
from figment.keys import data_digest, file_digest
from figment.loop import Log
from figment.planning.bag_of_tricks import CLIP_SHOTS, CLIP_UNLABELLED, FIXED, FUSED, chosen_of, students_of
from figment.synthesis.pool import Pool
from figment.training.config import TrainingConfig
from figment.training.jobs import Job, Material, Trained
from figment.training.kinds.clip_classifier import CLIP, ClipClassifier, ClipSettings, clip_preprocessing
from figment.training.kinds.timm_classifier import TIMM
from figment.training.lists import list_digest, open_training_list, training_list
from figment.training.saved import WEIGHTS, SavedModel, load_model, read_model
from figment.training.train import CHECKPOINT_VERSION
from figment.training.trainers.timm import folder_of, job
from figment.training.with_real import WithReal

log = logging.getLogger(__name__)


def jobs(config: TrainingConfig, material: Material) -> Iterator[Job]:
    """Of the set whose classifier would be registered. They read the weights of the classifiers before them: those of all sets
    are the teachers, but for the set at fixed size."""
    assert isinstance(material.data, LabelledData)  # no other has images of one class each to measure on
    real = material.data.real
    if not real.helps:
        return
    assert material.images is not None  # the pipeline sees to it
    assert material.verdicts is not None
    assert material.clip is not None
    base = chosen_of(material.sets)
    chosen = training_list(pq.read_table(material.verdicts.open()), material.sets[base])
    size = (config.image_size, base, config.resize, config.native_size)
    synthetic = open_training_list(chosen, Pool(material.images.open().parent), material.space, *size)
    helped = WithReal(material.space, synthetic, material.clip, real, config, config.self_training)
    rows = _Rows(material, helped, [name for name in material.sets if name != FIXED.format(base)], chosen)
    if real.unlabelled:
        yield rows.clip(CLIP_UNLABELLED, helped.em_vectors)
    if real.shots:
        yield rows.clip(CLIP_SHOTS.format(real.shots_name), helped.shot_vectors)
    for name in students_of(real, base):
        yield rows.student(name)
        yield rows.clip(FUSED.format(name), lambda: helped.text, name)


@dataclass(frozen=True)
class _Rows:
    """``teachers``: names of sets; ``chosen``: the generated images that a student learns from."""

    material: Material
    helped: WithReal
    teachers: list[str]
    chosen: pa.Table

    def _inputs(self) -> dict[str, Any]:
        """What decides a row, without the weights of those that are trained before it."""
        real, clip = self.helped.real, self.helped.clip
        return {
            "labels": self.material.space,
            "images": list_digest(self.chosen),
            "clip": [clip, clip_digest(clip)],
            "real": [real, *map(file_digest, real.beside), data_digest(Path(real.path), "train")],
        }

    def _networks(self, *trained: str) -> dict[str, Any]:
        return {"networks": {name: sha256_file(folder_of(self.material, name) / WEIGHTS) for name in trained}}

    def _network(self, name: str) -> nn.Module:
        return load_model(folder_of(self.material, name), TIMM).network

    def student(self, name: str) -> Job:
        helped, shots = self.helped, name.endswith("shots")
        teachers = self.teachers if helped.real.unlabelled else []

        def images() -> Any:
            if not teachers:
                return helped.student_set(None, shots)
            return helped.self_trained_set([self._network(teacher) for teacher in teachers], shots, name)

        made = job(name, helped.student_training(), self.material, images, self._inputs(), self.chosen)
        train, later = partial(self._finished, made.train), partial(self._networks, *teachers)
        return replace(made, deployed=True, module=__name__, train=train, later=later)

    def _finished(self, train: Callable[[Checkpoint, Log], Trained], checkpoint: Checkpoint, note: Log) -> Trained:
        """With the batch statistics of the unlabelled images."""
        trained = train(checkpoint, note)
        if not self.helped.real.unlabelled:
            return trained
        network, layers = self.helped.adapted(trained.network)
        if not layers:
            log.warning("%s has no batch norms: unlabelled images move no statistics", self.helped.training.model)
        return replace(trained, network=network)

    def clip(self, name: str, vectors: Callable[[], Tensor], student: str | None = None) -> Job:
        """CLIP with these class vectors, and with a student if one is named."""
        helped = self.helped
        settings = ClipSettings(
            clip=helped.clip,
            clip_digest=clip_digest(helped.clip),
            student=helped.student_training() if student else None,
        )

        def train(_: Checkpoint, __: Log) -> Trained:
            network = self._network(student) if student else None
            saved = SavedModel(
                labels=helped.space,
                preprocessing=clip_preprocessing(helped.scorer),
                images=read_model(folder_of(self.material, student)).images if student else 0,
                training=f"CLIP {helped.clip.model}, frozen, {name.removeprefix('CLIP ')}.",
            )
            model = ClipClassifier(helped.scorer, vectors(), network, helped.training.image_size)
            return Trained(CLIP, model, settings, saved, [])

        inputs, later = (
            self._inputs() | {"training": helped.training},
            partial(self._networks, *filter(None, [student])),
        )
        return Job(name, folder_of(self.material, name), __name__, CHECKPOINT_VERSION, inputs, train, later=later)
