"""The stages of ``pipelines/custom.py``: the kinds of each, and which of them combine.

A paper's recipe is one choice of kinds. What cannot combine is one sentence, before anything starts.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field

from figment.adaptation.config import InversionConfig, ProbeConfig, TuningConfig
from figment.clip.config import ClipConfig, LabelVectorConfig
from figment.datasets.config import PhotosConfig, RealConfig, ZeroShotConfig
from figment.errors import InputError
from figment.imports.contract import check_imported
from figment.labels import LabelSpace
from figment.planning.planners import ImportedPlanner, PhotoPlanner, Planning
from figment.planning.quotas import QuotaConfig
from figment.prompts.kinds import rules_of
from figment.training.acceptance import Acceptance
from figment.training.config import DualPromptConfig, SemanticConfig, TrainingConfig, check_selection
from figment.types import Number, PathText, Settings, Side

M = TypeVar("M", bound=BaseModel)
RECIPE = "custom"


class LabelledData(Settings):
    """Classes by their names, and real images of one class each that measure."""

    kind: Literal["labelled"] = "labelled"
    classes: list[str]
    labels: PathText
    real: RealConfig


class ZeroShotData(ZeroShotConfig):
    """Real images of several classes each, of which some classes have none to train on; images are made for those."""

    kind: Literal["zero_shot"] = "zero_shot"


class TextEncoder(TuningConfig):
    """The generator's text encoder is tuned where CLIP rejects its images (Zhang et al. 2024)."""

    kind: Literal["text_encoder"] = "text_encoder"


class TextualInversion(Settings):
    """A word is learned for each class from its photos (Gal et al. 2022, as DIAGen uses it), and tried out."""

    kind: Literal["textual_inversion"] = "textual_inversion"
    inversion: InversionConfig = InversionConfig()
    probe: ProbeConfig = ProbeConfig()


class Timm(TrainingConfig):
    """Any timm model, from random weights; an image is of one class (Shipard et al. 2023)."""

    kind: Literal["timm"] = "timm"


class DualPrompt(DualPromptConfig):
    """Prompts learned on a frozen CLIP, the ``backbone`` (Zhang et al. 2024)."""

    kind: Literal["dual_prompt"] = "dual_prompt"
    backbone: ClipConfig
    image_size: Side


class SemanticMatrix(SemanticConfig):
    """Any timm model whose rows rank labels by their vectors (Ben-Cohen et al. 2021)."""

    kind: Literal["semantic_matrix"] = "semantic_matrix"
    vectors: LabelVectorConfig
    twin_cosine: Annotated[Number, Field(gt=0, le=1)] = 0.8


Data = Annotated[LabelledData | ZeroShotData, Field(discriminator="kind")]
Adaptation = Annotated[TextEncoder | TextualInversion, Field(discriminator="kind")]
Training = Annotated[Timm | DualPrompt | SemanticMatrix, Field(discriminator="kind")]


class Stages(Settings):
    """What each stage is."""

    data: Data
    planning: Planning
    clip: ClipConfig
    acceptance: Acceptance
    training: Training
    adaptation: Adaptation | None = None
    photos: PhotosConfig | None = None
    against: Literal["wanted", "all"] = "all"  # which classes an accepted image must show less than its own
    quota: QuotaConfig | None = None

    @property
    def real(self) -> RealConfig | None:
        """The real images of one class each, if those measure."""
        return self.data.real if isinstance(self.data, LabelledData) else None

    def shares(self) -> dict[str, int]:
        """At most how many images of every class there are to train on, by trick, or by the name of what was imported."""
        imported = check_imported(self.planning.imported)
        return imported if isinstance(self.planning.planner, ImportedPlanner) else self._rendered() | imported

    def _rendered(self) -> dict[str, int]:
        planner, tricks = self.planning.planner, [name for kind in self.planning.prompts for name in kind.names]
        if isinstance(planner, ImportedPlanner):
            return {}
        if self.quota:
            return dict.fromkeys(tricks, self.quota.accepted)
        if isinstance(planner, PhotoPlanner):
            shots = self.photos.shots if self.photos else 0
            return {planner.method(isinstance(self.adaptation, TextualInversion)).kind: planner.images * shots}
        return dict(planner.images) if isinstance(planner.images, dict) else dict.fromkeys(tricks, planner.images)

    def check(self) -> None:
        """Raise InputError for the first thing that cannot be combined."""
        check_imported(self.planning.imported)
        for wrong, sentence in self._refusals():
            if wrong:
                raise InputError(sentence)
        if isinstance(self.training, SemanticMatrix):
            check_selection(self.training)
        if self.planning.planner.reads_prompts:
            self._check_tricks()
        if isinstance(self.data, LabelledData):
            self.space()

    def _check_tricks(self) -> None:
        """Raise InputError for a trick that is none, is there twice, or has no number of images where numbers are given."""
        rules_of(self.planning.prompts, self.planning.generator.guidance_scale)
        tricks = [name for kind in self.planning.prompts for name in kind.names]
        images = getattr(self.planning.planner, "images", None)
        for trick in tricks:
            if tricks.count(trick) > 1:
                raise InputError(f"prompts: {trick!r} comes from two of them; give each once")
            if isinstance(images, dict) and trick not in images:
                known = ", ".join(images)
                raise InputError(
                    f"planner.images: no number for {trick!r}, only for {known}; give one, or one number for all"
                )

    def _refusals(self) -> list[tuple[bool, str]]:
        """Combinations that cannot be, each with whether this is one."""
        planner, prompts = self.planning.planner, self.planning.prompts
        labelled, words = isinstance(self.data, LabelledData), isinstance(self.adaptation, TextualInversion)
        named = {"planner": planner, "acceptance": self.acceptance, "training": self.training}
        plan, accept, train = (f"{name}.kind: {stage.kind}" for name, stage in named.items())
        pairs = any(kind.kind == "pairs" for kind in prompts) or planner.kind == "pairs"
        learn = {"adaptation.kind: textual_inversion": words, plan: planner.starts_from_photos}
        learn |= {accept: not self.acceptance.by_clip}
        need = next((name for name, needed in learn.items() if needed), "")
        return [
            (
                self.training.kind == "timm" and not labelled,
                f"{train} learns one class an image, and images of data.kind: zero_shot have several; take dual_prompt or "
                "semantic_matrix, or data.kind: labelled",
            ),
            (
                self.training.kind != "timm" and labelled,
                f"{train} is trained and measured on images with several classes, and those of data.kind: labelled have one; "
                "take timm, or data.kind: zero_shot",
            ),
            (
                pairs and labelled,
                f"prompts of pairs ask for two classes in an image, and {train} learns one; take tricks or contexts",
            ),
            (
                planner.reads_prompts and not prompts,
                f"prompts: {plan} needs some; give kinds of prompts, such as {{kind: tricks, tricks: [base_class]}}",
            ),
            (not planner.reads_prompts and bool(prompts), f"prompts: {plan} has its own; leave prompts out"),
            (
                pairs and planner.starts_from_photos,
                f"prompts of pairs ask for two classes, and {plan} starts from a photo of one; take tricks or contexts",
            ),
            (
                planner.kind == "pairs" and self.against == "wanted",
                f"against: {plan} asks for classes beside the wanted ones, which must be checked too; take against: all",
            ),
            (
                pairs and words,
                "adaptation.kind: textual_inversion gives an image one learned word, and prompts of pairs name two classes; "
                "take tricks or contexts",
            ),
            (
                pairs and not self.acceptance.by_clip,
                f"{accept} judges images of one class each, and prompts of pairs ask for two; take coco, nus or calibrated",
            ),
            (
                self.adaptation is not None and not planner.reads_prompts,
                f"adaptation: it needs prompts, and {plan} has none that it could learn from; take planner.kind: prompts",
            ),
            (
                self.adaptation is not None and not words and not self.acceptance.by_clip,
                f"adaptation.kind: text_encoder is tuned by CLIP's verdict, which {accept} is not; take top1 or coco",
            ),
            (bool(need) and self.photos is None, f"photos: {need} learns from a few of each class; say where they are"),
            (not need and self.photos is not None, "photos: no stage uses them; leave them out"),
            (
                self.quota is not None and not planner.tops_up,
                f"quota: {plan} cannot plan more of one class than of others; take planner.kind: prompts, or leave it out",
            ),
            (
                self.quota is not None and not self.acceptance.by_clip,
                f"quota: {accept} judges once all images are made; take an acceptance by CLIP, or leave it out",
            ),
            (
                bool(self.planning.negative_prompt) and planner.kind != "prompts",
                f"negative_prompt: {plan} takes none; leave it out",
            ),
            (
                bool(getattr(planner, "noise", ())) and not words,
                "planner.noise is added to learned words; take adaptation.kind: textual_inversion, or leave it out",
            ),
        ]

    def space(self) -> LabelSpace:
        """All classes."""
        if isinstance(self.data, LabelledData):
            return LabelSpace.load(Path(self.data.labels)).choose(self.data.classes)
        from figment.datasets.zero_shot import zero_shot_space  # and torch

        return zero_shot_space(self.data)


def wanted(space: LabelSpace) -> LabelSpace:
    """The classes that images are made for: the unseen ones, if there are any, else all."""
    return space.choose([space.names[i] for i in space.unseen_ids]) if space.unseen_ids else space


def base_of(config: BaseModel, base: type[M]) -> M:
    """The part of ``config`` that is its base class's, as the library takes it."""
    return base.model_validate({name: getattr(config, name) for name in base.model_fields})
