"""What images are planned, a kind each: from what there is to plan with, rows.

A further kind is a class with ``kind``, ``rows`` and the properties below, and its place in ``Planner`` (docs/extending.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from figment.labels import LabelSpace
from figment.planning.few_shot import Shot, plan_few_shot
from figment.planning.from_prompts import Cell, plan_prompts, say_words
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.methods import Method
from figment.planning.pairs import plan_pairs
from figment.planning.quotas import QuotaConfig
from figment.planning.row import Row
from figment.planning.words import Words
from figment.prompts.contexts import contexts_of
from figment.prompts.kinds import PromptKind, rules_of
from figment.prompts.tricks import Prompt, scales_of
from figment.types import Count, Guidance, Number, PathText, Seed, Settings


@dataclass(frozen=True)
class Given:
    """What a planner plans with: all classes, the prompt book, the generator's pinned revision, the hash of a tuned adapter,
    words that were learned, and photos of the classes."""

    space: LabelSpace
    prompts: Sequence[Prompt]
    revision: str
    adapter: str = ""
    words: Words = field(default_factory=Words)
    shots: Sequence[Shot] = ()


class PromptPlanner(Settings):
    """``images`` of every set of labels in every trick that there are prompts for, or so many by trick."""

    kind: Literal["prompts"] = "prompts"
    images: Count | dict[str, Count]

    reads_prompts: ClassVar[bool] = True
    starts_from_photos: ClassVar[bool] = False
    tops_up: ClassVar[bool] = True  # can plan more of a set of labels

    def rows(self, given: Given, planning: "Planning", more: Mapping[Cell, range] | None = None) -> Iterator[Row]:
        """In any order; with ``more`` these replicates of some sets of labels."""
        rules = rules_of(planning.prompts, planning.generator.guidance_scale)
        images = self.images if more is None else more
        rows = plan_prompts(given.prompts, planning.origin(given), images, rules)
        return say_words(rows, given.words, given.space)


class PairPlanner(Settings):
    """``images`` of every unseen class, half of it alone and half beside another class, by plain prompts of its own."""

    kind: Literal["pairs"] = "pairs"
    images: Count

    reads_prompts: ClassVar[bool] = False
    starts_from_photos: ClassVar[bool] = False
    tops_up: ClassVar[bool] = False

    def rows(self, given: Given, planning: "Planning", more: Mapping[Cell, range] | None = None) -> Iterator[Row]:
        return plan_pairs(given.space, given.space.unseen_ids, self.images, planning.origin(given))


class PhotoPlanner(Settings):
    """``images`` made from each photo of a class, image to image (DA-Fusion, DIAGen): for each a prompt, a noise of the learned
    word and a strength are drawn."""

    kind: Literal["photos"] = "photos"
    images: Count
    strengths: tuple[Number, ...] = Field((0.7,), min_length=1)
    noise: tuple[Number, ...] = ()
    relative_noise: bool = False
    guidance_scale: Guidance | None = None

    reads_prompts: ClassVar[bool] = True
    starts_from_photos: ClassVar[bool] = True
    tops_up: ClassVar[bool] = False

    def method(self, words: bool, loras: bool) -> Method:
        """As the few-shot recipe has it; with ``words`` prompts say them, to which the noise is added, with ``loras`` images are
        made with those."""
        without = {"kind"} if words else {"kind", "noise", "relative_noise"}
        return Method(**self.model_dump(exclude=without), concepts=words, lora=loras, contexts=True)

    def rows(self, given: Given, planning: "Planning", more: Mapping[Cell, range] | None = None) -> Iterator[Row]:
        method = self.method(bool(given.words.adapter), bool(given.words.loras))
        contexts = contexts_of(given.space, given.prompts)
        return plan_few_shot(given.shots, method, contexts, given.words, planning.origin(given))


class MethodPlanner(Settings):
    """What several few-shot methods want made of each photo, each image once (Lingenberg et al. 2024)."""

    kind: Literal["few_shot"] = "few_shot"
    methods: dict[str, Method]

    reads_prompts: ClassVar[bool] = True
    starts_from_photos: ClassVar[bool] = True
    tops_up: ClassVar[bool] = False

    @property
    def strengths(self) -> tuple[float, ...]:
        """All at which any method starts from photos."""
        return tuple(strength for method in self.methods.values() if method.images for strength in method.strengths)

    @property
    def masks(self) -> bool:
        """Whether any method renders a part of a photo."""
        return any(method.mask for method in self.methods.values() if method.images)

    def uses(self, given: Given, planning: "Planning") -> Iterator[tuple[str, int, Row]]:
        """Each method with the number of a photo and an image made of it that the method learns from."""
        contexts, origin = contexts_of(given.space, given.prompts), planning.origin(given)
        for name, method in self.methods.items():
            for number, shot in enumerate(given.shots):
                for row in plan_few_shot([shot], method, contexts, given.words, origin):
                    yield name, number, row

    def uses_of_imported(self, given: Given, imported: Sequence[Row]) -> Iterator[tuple[str, int, Row]]:
        """As ``uses``, of images that came from elsewhere: no one knows of which photo, so those of a class
        are dealt to its photos in turn."""
        numbers: dict[str, list[int]] = {}
        for number, shot in enumerate(given.shots):
            numbers.setdefault(shot.label.name, []).append(number)
        for name, method in self.methods.items():
            turns = {label: cycle(own) for label, own in numbers.items()}
            for row in imported if method.imported else ():
                yield name, next(turns[row.labels[0]]), row

    def rows(self, given: Given, planning: "Planning", more: Mapping[Cell, range] | None = None) -> Iterator[Row]:
        return (row for _, _, row in self.uses(given, planning))


class ImportedPlanner(Settings):
    """Nothing is rendered: all images are those that ``imported`` names."""

    kind: Literal["imported"] = "imported"

    reads_prompts: ClassVar[bool] = False
    starts_from_photos: ClassVar[bool] = False
    tops_up: ClassVar[bool] = False

    def rows(self, given: Given, planning: "Planning", more: Mapping[Cell, range] | None = None) -> Iterator[Row]:
        return iter(())


USES = "uses.parquet"  # beside a plan of methods: method, photo (its number), image_id
Planner = Annotated[PromptPlanner | PairPlanner | PhotoPlanner | ImportedPlanner, Field(discriminator="kind")]


class Planning(Settings):
    """All that decides a plan, but for what earlier stages made. ``recipe`` is part of every image's identity."""

    recipe: str
    planner: Annotated[Planner | MethodPlanner, Field(discriminator="kind")]  # the latter is few-shot's own
    generator: GeneratorConfig
    prompts: tuple[PromptKind, ...] = ()
    negative_prompt: str = ""
    imported: tuple[PathText, ...] = ()  # folders of `figment import`, whose images join those that are rendered
    seed: Seed = 0

    @model_validator(mode="after")
    def _images_from_somewhere(self) -> Self:
        if isinstance(self.planner, ImportedPlanner) and not self.imported:
            raise ValueError("planner.kind: imported renders nothing, and no folder is imported; name one in imported")
        return self

    def origin(self, given: Given) -> Origin:
        """Of all its rows."""
        return Origin(self.generator, given.revision, self.seed, self.recipe, given.adapter, self.negative_prompt)

    @property
    def scales(self) -> tuple[float, ...]:
        """The guidance scales that it asks for, of a range both ends."""
        own, usual = getattr(self.planner, "guidance_scale", None), self.generator.guidance_scale
        if isinstance(self.planner, MethodPlanner):
            scales = (method.guidance_scale for method in self.planner.methods.values() if method.images)
            return tuple(usual if scale is None else scale for scale in scales)
        if self.planner.starts_from_photos or not self.prompts:
            return (usual if own is None else own,)
        rules = [kind.rules(usual) for kind in self.prompts]
        plain = () if all(rules) else (usual,)
        return tuple(sorted({*plain, *scales_of([rule for some in rules for rule in some])}))

    @property
    def strengths(self) -> tuple[float, ...]:
        """At which it starts from images, if it does."""
        return getattr(self.planner, "strengths", ())

    @property
    def masks(self) -> bool:
        """Whether it renders parts of images."""
        return getattr(self.planner, "masks", False)


class TopUp(Settings):
    """Until ``quota`` images of each set of labels are accepted, more are planned. ``review``: a person's verdicts, a file."""

    quota: QuotaConfig
    planning: Planning
    review: PathText | None = None
