"""The kinds of classifier that a config chooses; ``figment.training.trainers`` trains them."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from figment.datasets.kinds import Data, LabelledData
from figment.labels import LabelSpace
from figment.planning.bag_of_tricks import REAL
from figment.planning.methods import Method
from figment.training.config import DualPromptTraining, FewShotTrainingConfig, SemanticTraining, TrainingConfig
from figment.types import Seed

if TYPE_CHECKING:
    from figment.training.jobs import Job, Material

COMPARED = {"standard": Method(), "combined": Method(images=1)}


class Timm(TrainingConfig):
    """Any timm model, from random weights; an image is of one class (Shipard et al. 2023)."""

    kind: Literal["timm"] = "timm"
    exclusive: ClassVar[bool] = True  # an image is of one class
    joins_images: ClassVar[bool] = False  # it reads accepted images from among the real ones
    from_photos: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.model}, {self.image_size} px, from {self.weights or 'random weights'}, seed {self.seed}"

    def check(self, space: LabelSpace) -> None:
        """Raise InputError now for a model that could not be built."""
        from figment.training.classifier import check_classifier

        check_classifier(self.as_base(TrainingConfig), len(space))

    def independent(self, sets: Iterable[str], data: Data) -> list[str]:
        """Names of those classifiers of ``jobs`` that wait for no other."""
        from figment.datasets.labelled import has_split

        assert isinstance(data, LabelledData)  # the pipeline sees to it
        return [*sets, *([REAL] if has_split(Path(data.real.path), "train") else [])]

    def jobs(self, material: "Material") -> "Iterator[Job]":
        from figment.training.trainers import timm, with_real

        config = self.as_base(TrainingConfig)
        return chain(timm.jobs(config, material), with_real.jobs(config, material))


class DualPrompt(DualPromptTraining):
    """Prompts learned on a frozen CLIP, the ``backbone`` (Zhang et al. 2024)."""

    kind: Literal["dual_prompt"] = "dual_prompt"
    exclusive: ClassVar[bool] = False
    joins_images: ClassVar[bool] = False
    from_photos: ClassVar[bool] = False

    def check(self, space: LabelSpace) -> None:
        from figment.training.dual_prompt import build_dual_prompts

        build_dual_prompts(self, self.backbone, space)

    def independent(self, sets: Iterable[str], data: Data) -> list[str]:
        return []  # there is one alone

    def jobs(self, material: "Material") -> "Iterator[Job]":
        from figment.training.trainers import dual_prompt

        return dual_prompt.jobs(self.as_base(DualPromptTraining), material)


class SemanticMatrix(SemanticTraining):
    """Any timm model whose rows rank labels by their vectors (Ben-Cohen et al. 2021)."""

    kind: Literal["semantic_matrix"] = "semantic_matrix"
    exclusive: ClassVar[bool] = False
    joins_images: ClassVar[bool] = True
    from_photos: ClassVar[bool] = False

    def check(self, space: LabelSpace) -> None:
        import torch

        from figment.clip.label_vectors import make_label_vectors
        from figment.training.semantic import build_semantic_matrix
        from figment.training.start import start_from

        vectors = make_label_vectors(space, self.vectors)
        with torch.random.fork_rng():
            matrix = build_semantic_matrix(self, vectors.dim)
        if self.weights:
            start_from(matrix.backbone, self.weights)

    def independent(self, sets: Iterable[str], data: Data) -> list[str]:
        return []  # there is one alone

    def jobs(self, material: "Material") -> "Iterator[Job]":
        from figment.training.trainers import semantic_matrix

        return semantic_matrix.jobs(self.as_base(SemanticTraining), material)


class FewShotHead(FewShotTrainingConfig):
    """Linear heads on a frozen backbone, from a few photos of every class and what was made beside them (Lingenberg et al. 2024).
    ``methods`` say how images are used: by default the photos alone, and photos with images. Of a method with images in any
    other recipe than few-shot only alpha, weights, reject_below and augment count."""

    kind: Literal["few_shot_head"] = "few_shot_head"
    validate_on: str = Field("nothing", pattern="^(held_out|nothing)$")
    methods: Annotated[dict[str, Method], Field(min_length=1)] = COMPARED
    seed: Seed = 0
    exclusive: ClassVar[bool] = True
    joins_images: ClassVar[bool] = False
    from_photos: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """In words."""
        return f"linear heads on {self.backbone.model}, {self.backbone.image_size} px, seed {self.seed}"

    def check(self, space: LabelSpace) -> None:
        from figment.training.backbone import load_backbone

        load_backbone(self.backbone)

    def independent(self, sets: Iterable[str], data: Data) -> list[str]:
        return list(self.methods)

    def jobs(self, material: "Material") -> "Iterator[Job]":
        from figment.training.trainers import few_shot_head

        return few_shot_head.jobs(self.as_base(FewShotTrainingConfig), self.methods, self.seed, material)


Training = Annotated[Timm | DualPrompt | SemanticMatrix | FewShotHead, Field(discriminator="kind")]
