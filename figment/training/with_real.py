"""A generated training set helped by real images without labels, a few with labels, and CLIP: what each row learns from."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.config import RealConfig
from figment.datasets.labelled import Images, StreamedImages, of_each
from figment.datasets.listing import join
from figment.datasets.real import open_shots, open_unlabelled
from figment.labels import LabelSpace
from figment.training.classifier import predict_all
from figment.training.clip_head import train_clip_head
from figment.training.config import SelfTrainingConfig, TrainingConfig
from figment.training.self_training import adapt_batch_norm, fit_class_vectors, most_confident, teach
from figment.training.train import train_classifier


@dataclass(frozen=True)
class WithReal:
    """``synthetic`` is the generated training set, not decoded."""

    space: LabelSpace
    synthetic: StreamedImages
    clip: ClipConfig
    real: RealConfig
    training: TrainingConfig
    config: SelfTrainingConfig

    @cached_property
    def scorer(self) -> ClipScorer:
        return ClipScorer(self.clip)

    @cached_property
    def text(self) -> Tensor:
        return self.scorer.text_features(self.space).cpu()

    @cached_property
    def scale(self) -> float:
        return float(self.scorer.model.logit_scale.exp())

    @cached_property
    def unlabelled(self) -> Images:
        """As the student sees them."""
        return self._unlabelled.load_if_it_fits()

    @property
    def _unlabelled(self) -> StreamedImages:
        training = self.training
        return open_unlabelled(
            str(self.real.unlabelled), self.space, training.image_size, training.resize, training.native_size
        )

    @cached_property
    def unlabelled_features(self) -> Tensor:
        return self._features(
            open_unlabelled(str(self.real.unlabelled), self.space, self.scorer.size, self.scorer.resize)
        )

    def _features(self, images: StreamedImages) -> Tensor:
        """(N, D) unit vectors on the CPU, in the set's order."""
        return of_each(images, lambda pixels: self.scorer.image_features(pixels).cpu())

    def adapted(self, network: nn.Module) -> tuple[nn.Module, int]:
        """A copy with the batch statistics of the unlabelled images, and how many layers have them."""
        moved = copy.deepcopy(network)
        return moved, adapt_batch_norm(moved, self.unlabelled, self.config.source)

    def pseudo_labels(self, teachers: Sequence[nn.Module]) -> tuple[Tensor, Tensor]:
        """Rows of the unlabelled images that are kept, and their classes, as networks and CLIP see them together."""
        logits = [predict_all(self.adapted(network)[0], self.unlabelled) for network in teachers]
        return most_confident(teach(logits, self.scale * self.unlabelled_features @ self.text.T), self.config.keep)

    def student_set(self, pseudo: tuple[Tensor, Tensor] | None, shots: bool) -> StreamedImages:
        """The generated images, those kept of the unlabelled ones and the shots, as often as the config says."""
        parts = [self.synthetic.listing]
        if pseudo:
            kept = self._unlabelled.listing.subset(pseudo[0])
            parts += [replace(kept, labels=pseudo[1])] * self.config.repeat
        if shots:
            training = self.training
            size = (training.image_size, training.resize, training.native_size)
            parts += [open_shots(self.real, self.space, *size).listing] * self.config.repeat_shots
        return replace(self.synthetic, listing=join(parts))

    def self_trained_set(self, teachers: Sequence[nn.Module], shots: bool, name: str) -> StreamedImages:
        """What the student learns from: after the first round the student before is the teacher."""
        found = self.student_set(self.pseudo_labels(teachers), shots)
        for number in range(1, self.config.rounds):
            images, training = found.load_if_it_fits(), self.student_training()
            student = train_classifier(images, len(self.space), training, name=f"{name}, round {number}")
            found = self.student_set(self.pseudo_labels([student]), shots)
        return found

    def student_training(self) -> TrainingConfig:
        """The classifier's own, with more updates."""
        more = self.config.updates
        longer = {"steps": math.ceil(more * self.training.steps)} if self.training.steps else {}
        return self.training.model_copy(update=longer or {"epochs": math.ceil(more * self.training.epochs)})

    def em_vectors(self) -> Tensor:
        """CLIP's class vectors after EM on the unlabelled images: what CLIP alone makes of them."""
        return fit_class_vectors(self.unlabelled_features, self.text, self.scale, self.config.clip_pull)

    def shot_vectors(self) -> Tensor:
        """CLIP's class vectors trained on the generated images and the shots."""
        size, resize, times = self.scorer.size, self.scorer.resize, self.config.repeat_shots
        shots = open_shots(self.real, self.space, size, resize)
        synthetic = replace(self.synthetic, size=size, resize=resize, native_size=None)
        features = torch.cat([self._features(synthetic), *[self._features(shots)] * times])
        labels = torch.cat([self.synthetic.labels, *[shots.labels] * times])
        head = self.config.clip_head
        return train_clip_head(features, labels, self.text, self.scale, head, self.training.seed)
