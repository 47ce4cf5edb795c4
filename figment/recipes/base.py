"""What the configs of all recipes have, and what the steps ask of them."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from figment.clip.config import DEFAULT_CLIP, ClipConfig
from figment.datasets.config import PhotosConfig
from figment.datasets.kinds import Data
from figment.planning.generator_config import DEFAULT_GENERATOR, GeneratorConfig
from figment.planning.planners import Planning, TopUp
from figment.synthesis.config import SynthesisConfig
from figment.types import PathText, Positive, Seed, Settings
from figment.validation.config import GateConfig
from figment.validation.review import REVIEW

Sets = Mapping[str, Mapping[str, int]]  # at most so many images of every class by trick, by the set's name


class VersioningConfig(Settings):
    """``keep``: ``all`` a run made; ``accepted``: of its images only those that were accepted, as Parquet for `datasets`;
    ``nothing``. Where the run's folder is larger than ``max_gb`` (10^9 bytes), its pool of images is left out."""

    keep: Literal["all", "accepted", "nothing"] = "all"
    max_gb: Positive = 100.0


class Recipe(Settings):
    """What the configs of all recipes have, and what the steps ask of them."""

    generator: GeneratorConfig = DEFAULT_GENERATOR
    synthesis: SynthesisConfig = SynthesisConfig()
    clip: ClipConfig = DEFAULT_CLIP
    gates: GateConfig = GateConfig()
    versioning: VersioningConfig = VersioningConfig()
    review: PathText | None = None
    seed: Seed = 0
    output: PathText

    @property
    def dataset(self) -> Data:
        """The real data."""
        return self.data  # type: ignore[attr-defined]  # a recipe without such a field says otherwise

    @property
    def photos_config(self) -> PhotosConfig | None:
        """A few photos of every class that stages learn from, beside the real data."""
        return getattr(self, "photos", None)

    @property
    @abstractmethod
    def planning(self) -> Planning | None:
        """What is planned; None if no image is made."""

    @property
    def renders(self) -> bool:
        """Whether images are made, beside any that are imported."""
        return self.planning is not None and self.planning.planner.kind != "imported"

    @property
    def top_up(self) -> TopUp | None:
        """With a quota, how more is planned where images are rejected."""
        quota = getattr(self, "quota", None)
        if not quota or not self.planning or not self.planning.planner.tops_up:
            return None
        review = str(self.review_file) if self.review_file else None
        return TopUp(quota=quota, planning=self.planning, review=review)

    @property
    def review_file(self) -> Path | None:
        """A person's verdicts: the file that is named, or review.csv in the run's folder, where `figment ask` puts it."""
        own = Path(self.output) / REVIEW
        return Path(self.review) if self.review else own if own.is_file() else None

    @property
    def adaptations(self) -> tuple[Any, ...]:
        """How the generator is adapted: kinds of ``Adaptation``."""
        return ()

    @property
    def against_all(self) -> bool:
        """Whether an accepted image must show its classes rather than any other, or than those alone that images are made for."""
        return getattr(self, "against", "all") == "all"

    @property
    def trainer(self) -> Any:
        """The kind of ``Training``."""
        return self.training  # type: ignore[attr-defined]  # a recipe without such a field says otherwise

    @property
    def apart(self) -> list[str]:
        """The classifiers that steps of their own train, if ``fan_out`` says so."""
        return self.trainer.independent(self.sets, self.dataset) if getattr(self, "fan_out", False) else []

    @property
    def sets(self) -> Sets:
        """The sets that classifiers of one class an image learn from."""
        return {}

    @property
    def clips(self) -> list[ClipConfig]:
        """Whose terms the images and the model owe something to."""
        return [self.clip]

    def check(self) -> None:
        """Raise InputError for what cannot be, as far as the config alone tells."""
