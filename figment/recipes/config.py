"""The configs of all recipes: what a user says, and the choice of a kind for each stage that it means.

A pipeline's parameters are the fields of its recipe. Its steps ask the properties of ``Recipe`` alone, so that one step does a
stage of every recipe. Nothing here imports torch: a config is checked in half a second.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from figment.adaptation.config import (
    Adaptation,
    Lora,
    PhotoAdaptation,
    TextEncoder,
    TextualInversion,
)
from figment.clip.config import ClipConfig
from figment.datasets.config import FewShotDataConfig, PhotosConfig, RealConfig, check_cross_validation
from figment.datasets.kinds import Data, FewShotData, LabelledData, ZeroShotData
from figment.errors import InputError
from figment.imports.contract import check_imported
from figment.names import check_set_names
from figment.planning.bag_of_tricks import COMBINED, chosen_of, most_of, rows_of, training_sets
from figment.planning.generator_config import GeneratorConfig
from figment.planning.methods import METHODS, Method, check_names
from figment.planning.planners import (
    ImportedPlanner,
    MethodPlanner,
    PairPlanner,
    PhotoPlanner,
    Planner,
    Planning,
    PromptPlanner,
)
from figment.planning.quotas import QuotaConfig
from figment.planning.rounds import RoundsConfig, check_rounds
from figment.prompts.contexts import SCENES
from figment.prompts.kinds import ContextPrompts, PairPrompts, PromptKind, TrickPrompts
from figment.prompts.tricks import TRICKS, Wording, build_tricks
from figment.recipes.base import Recipe, Sets
from figment.synthesis.config import SynthesisConfig
from figment.training.acceptance import Acceptance, FilterPolicy
from figment.training.config import FewShotTrainingConfig, check_selection
from figment.training.stage import DualPrompt, FewShotHead, SemanticMatrix, Timm, Training
from figment.types import Count, PathText, RegisteredName, Settings
from figment.validation.policies import AcceptancePolicy, CocoPolicy, Top1Policy
from figment.validation.verdicts import BLANK


class BagOfTricks(Recipe):
    """One classifier a trick and a union of tricks, beside CLIP and the real-trained bound (Shipard et al. 2023)."""

    kind: Literal["bag_of_tricks"] = "bag_of_tricks"
    classes: list[str]
    labels: PathText | None = None
    real: RealConfig
    tricks: list[str] = TRICKS
    images_per_class: Count = 100
    acceptance: Top1Policy = Top1Policy()
    training: Timm = Timm()
    domains: Annotated[list[str], Field(min_length=1)] | None = None
    wording: Wording = Wording()
    unions: dict[str, dict[str, Count]] | None = None
    fixed_size: bool = False
    imported: tuple[PathText, ...] = ()
    quota: QuotaConfig | None = None
    rounds: RoundsConfig | None = None
    register_as: RegisteredName = "figment-bag-of-tricks"
    parts: Count = 1
    fan_out: bool = False

    @property
    def dataset(self) -> Data:
        return LabelledData(classes=self.classes, labels=self.labels, real=self.real)

    @property
    def planning(self) -> Planning:
        tricks = (
            TrickPrompts(tricks=tuple(self.tricks), domains=self.domains, wording=self.wording) if self.tricks else None
        )
        return Planning(
            recipe=self.kind,
            planner=PromptPlanner(images=most_of(self._sets(self.images_per_class))) if tricks else ImportedPlanner(),
            generator=self.generator,
            prompts=(tricks,) if tricks else (),
            imported=self.imported,
            seed=self.seed,
        )

    @property
    def sets(self) -> Sets:
        return self._sets(self.quota.accepted, largest=1) if self.quota else self._sets(self.images_per_class)

    def _sets(self, images: int, largest: int | None = None) -> Sets:
        names = [*self.tricks, *check_imported(self.imported)]
        return training_sets(names, images, self.unions, self.fixed_size, largest)

    def check(self) -> None:
        if not self.tricks and not check_imported(self.imported):
            raise InputError("tricks: none is named, and no images are imported; name a trick, such as base_class")
        build_tricks(self.tricks, self.domains, self.generator.guidance_scale, self.wording)
        self._sets(self.images_per_class)
        check_set_names(self.unions or {}, "unions", rows_of(self.real, chosen_of(self.sets)))
        if self.rounds:
            check_rounds(self.planning, bool(self.quota))


class Tailored(Recipe):
    """Images of unseen classes by a chat model's prompts and a tuned text encoder, for dual prompts (Zhang et al. 2024)."""

    kind: Literal["tailored"] = "tailored"
    data: ZeroShotData
    negative_prompt: str = ""
    adaptation: TextEncoder | None = None
    imported: tuple[PathText, ...] = ()
    quota: QuotaConfig | None = None
    against: Literal["wanted", "all"] = "wanted"
    register_as: RegisteredName = "figment-tailored"
    prompts: PairPrompts = PairPrompts()
    acceptance: AcceptancePolicy = CocoPolicy()
    training: DualPrompt = DualPrompt()
    images_per_pair: Count = 16

    @property
    def planning(self) -> Planning:
        return Planning(
            recipe=self.kind,
            planner=PromptPlanner(images=self.images_per_pair),
            generator=self.generator,
            prompts=(self.prompts,),
            negative_prompt=self.negative_prompt,
            imported=self.imported,
            seed=self.seed,
        )

    @property
    def adaptations(self) -> tuple[TextEncoder, ...]:
        return (self.adaptation,) if self.adaptation else ()

    @property
    def clips(self) -> list[ClipConfig]:
        return [self.clip, self.training.backbone]

    def check(self) -> None:
        check_imported(self.imported)


class SemanticDiversity(Recipe):
    """A matrix of embeddings that ranks unseen tags too (Ben-Cohen et al. 2021), with images of those or without."""

    kind: Literal["semantic_diversity"] = "semantic_diversity"
    data: ZeroShotData
    generated: bool = False
    imported: tuple[PathText, ...] = ()
    register_as: RegisteredName = "figment-semantic-diversity"
    training: SemanticMatrix = SemanticMatrix()
    acceptance: AcceptancePolicy = CocoPolicy()
    images_per_label: Count = 100

    @property
    def planning(self) -> Planning | None:
        if not self.generated and not self.imported:
            return None
        return Planning(
            recipe="pairs",
            planner=PairPlanner(images=self.images_per_label) if self.generated else ImportedPlanner(),
            generator=self.generator,
            imported=self.imported,
            seed=self.seed,
        )

    def check(self) -> None:
        check_selection(self.training)
        check_imported(self.imported)


class FewShot(Recipe):
    """A few photos of each class, and images made from them, for linear heads (Lingenberg et al. 2024, "DIAGen")."""

    kind: Literal["few_shot"] = "few_shot"
    classes: list[str]
    data: FewShotDataConfig
    labels: PathText | None = None
    shots: Count = 4
    methods: Annotated[dict[str, Method], Field(min_length=1)] = METHODS
    prompts: ContextPrompts = ContextPrompts(templates=SCENES)
    adaptation: PhotoAdaptation = PhotoAdaptation()
    training: FewShotTrainingConfig = FewShotTrainingConfig()
    imported: tuple[PathText, ...] = ()  # for the methods that say imported: true
    register_as: RegisteredName = "figment-few-shot"
    fan_out: bool = False

    @property
    def making(self) -> list[Method]:
        """The methods that learn from generated images."""
        return [method for method in self.methods.values() if method.images or method.imported]

    @property
    def dataset(self) -> Data:
        return FewShotData.of(
            self.data,
            classes=self.classes,
            labels=self.labels,
            shots=self.shots,
            seed=self.seed,
            validates=self.training.validate_on == "held_out",
        )

    @property
    def planning(self) -> Planning | None:
        if not self.making:
            return None
        contexts = any(method.contexts for method in self.making if method.images)
        return Planning(
            recipe=self.kind,
            planner=MethodPlanner(methods=self.methods),
            generator=self.generator,
            prompts=(self.prompts,) if contexts else (),
            imported=self.imported,
            seed=self.seed,
        )

    @property
    def adaptations(self) -> tuple[Any, ...]:
        words, loras = self.adaptation.kinds
        rendering = [method for method in self.making if method.images]
        asked = (any(m.concepts for m in rendering), any(m.lora for m in rendering))
        return tuple(adaptation for adaptation, wanted in zip((words, loras), asked, strict=True) if wanted)

    @property
    def acceptance(self) -> Top1Policy | FilterPolicy:
        """Whatever shows anything is accepted; how probable the filter finds its class is its weight, if any method weighs."""
        every: dict[str, Any] = {"min_probability": 0, "require_top1": False, "min_contrast": BLANK}
        if all(method.weights == "equal" for method in self.making):
            return Top1Policy(**every)
        training = self.training
        return FilterPolicy(
            **every,
            backbone=training.backbone,
            augmentation=training.augmentation,
            views=training.views,
            head=training.filter,
            seed=self.seed,
        )

    @property
    def trainer(self) -> FewShotHead:
        return FewShotHead.of(self.training, methods=self.methods, seed=self.seed)

    @property
    def clips(self) -> list[ClipConfig]:
        return []

    def check(self) -> None:
        check_names(self.methods)
        check_imported(self.imported)
        if bool(self.imported) != any(method.imported for method in self.methods.values()):
            lacking = (
                "no method says imported: true" if self.imported else "a method says imported: true, and none is named"
            )
            raise InputError(
                f"imported: {lacking}; name folders of `figment import`, and the methods that learn from them"
            )
        check_cross_validation(self.data, self.shots, self.training.finetune is not None)
        if (masked := next((name for name, method in self.methods.items() if method.mask), "")) and not self.data.masks:
            raise InputError(
                f"methods.{masked}.mask: true, but data.masks names no folder of masks; give it, or leave mask out"
            )


class Custom(Recipe):
    """Any combination of the papers' stages: each stage's ``kind`` chooses whose it is."""

    kind: Literal["custom"] = "custom"
    data: Annotated[LabelledData | ZeroShotData, Field(discriminator="kind")]
    planner: Planner
    generator: GeneratorConfig
    synthesis: SynthesisConfig
    clip: ClipConfig
    acceptance: Acceptance
    training: Training
    prompts: tuple[PromptKind, ...] = ()
    negative_prompt: str = ""
    photos: PhotosConfig | None = None
    adaptation: Adaptation | None = None
    imported: tuple[PathText, ...] = ()
    against: Literal["wanted", "all"] = "all"
    quota: QuotaConfig | None = None
    rounds: RoundsConfig | None = None
    register_as: RegisteredName = "figment-custom"
    fan_out: bool = False

    @property
    def planning(self) -> Planning:
        return Planning(
            recipe=self.kind,
            planner=self.planner,
            generator=self.generator,
            prompts=self.prompts,
            negative_prompt=self.negative_prompt,
            imported=self.imported,
            seed=self.seed,
        )

    @property
    def adaptations(self) -> tuple[Any, ...]:
        return (self.adaptation,) if self.adaptation else ()

    @property
    def sets(self) -> Sets:
        imported = check_imported(self.imported)
        planner, tricks = self.planner, [name for kind in self.prompts for name in kind.names]
        if isinstance(planner, ImportedPlanner):
            return {COMBINED: imported}
        if self.quota:
            rendered = dict.fromkeys(tricks, self.quota.accepted)
        elif isinstance(planner, PhotoPlanner):
            method = planner.method(*(self._learns(kind) for kind in (TextualInversion, Lora)))
            rendered = {method.kind: planner.images * (self.photos.shots if self.photos else 0)}
        else:
            images = planner.images
            rendered = dict(images) if isinstance(images, dict) else dict.fromkeys(tricks, images)
        return {COMBINED: rendered | imported}

    def _learns(self, kind: type) -> bool:
        return isinstance(self.adaptation, kind)

    @property
    def clips(self) -> list[ClipConfig]:
        return [self.clip, self.training.backbone] if isinstance(self.training, DualPrompt) else [self.clip]

    def check(self) -> None:
        from figment.recipes.combinations import check_combination

        check_combination(self)


class Prediction(Settings):
    """What the pipeline ``predict`` asks of a trained ``model``; ``rendered``: each image is also written with what is said of it
    beside."""

    model: PathText
    images: list[PathText]
    output: PathText
    tags: PathText | None = None
    top_k: Count | None = None
    batch_size: Count = 32
    rendered: bool = True
    device: str = "auto"


AnyRecipe = Annotated[BagOfTricks | Tailored | SemanticDiversity | FewShot | Custom, Field(discriminator="kind")]
