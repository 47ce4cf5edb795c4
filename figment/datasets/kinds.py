"""The kinds of real data that a recipe trains and measures on."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from figment.datasets.config import FewShotDataConfig, RealConfig, ZeroShotConfig
from figment.labels import LabelSpace, wanted
from figment.types import Count, PathText, Seed, Settings

if TYPE_CHECKING:
    from figment.datasets.few_shot import FewShotSplits
    from figment.datasets.labelled import StreamedImages


class LabelledData(Settings):
    """Classes by their names, and real images of one class each that measure."""

    kind: Literal["labelled"] = "labelled"
    classes: list[str]
    labels: PathText | None = None
    real: RealConfig

    def space(self) -> LabelSpace:
        """All classes."""
        return LabelSpace.chosen(self.classes, self.labels)

    def wanted(self, space: LabelSpace) -> LabelSpace:
        """The classes that images are made for: all."""
        return space

    def check(self, space: LabelSpace) -> None:
        """Raise InputError for images that are not there."""
        from figment.datasets.real import check_data

        check_data(self.real, space)


class ZeroShotData(ZeroShotConfig):
    """Real images of several classes each, of which some classes have none to train on; images are made for those."""

    kind: Literal["zero_shot"] = "zero_shot"

    def space(self) -> LabelSpace:
        """All classes."""
        from figment.datasets.zero_shot import zero_shot_space  # and torch

        return zero_shot_space(self)

    def wanted(self, space: LabelSpace) -> LabelSpace:
        """The classes that images are made for: the unseen ones."""
        return wanted(space)

    def check(self, space: LabelSpace) -> None:
        """The data are read before anything is rendered."""


class FewShotData(FewShotDataConfig):
    """``shots`` photos of every class, and sets of others that measure."""

    kind: Literal["few_shot"] = "few_shot"
    classes: list[str]
    labels: PathText | None = None
    shots: Count = 4
    seed: Seed = 0
    validates: bool = False  # photos beyond the shots choose the step and calibrate the filter

    def space(self) -> LabelSpace:
        """All classes."""
        return LabelSpace.chosen(self.classes, self.labels)

    def wanted(self, space: LabelSpace) -> LabelSpace:
        """The classes that images are made for: all."""
        return space

    def check(self, space: LabelSpace) -> None:
        """Raise InputError for a class with too few photos."""
        self.splits(space)

    def splits(self, space: LabelSpace) -> "FewShotSplits":
        from figment.datasets.few_shot import check_held_out, read_splits  # and torch

        found = read_splits(self, space, self.shots, self.seed)
        if self.validates:
            check_held_out(found, self)
        return found

    def photo_sets(self, space: LabelSpace, size: int) -> "dict[str, StreamedImages]":
        """``shots``, ``held_out`` if it validates, and ``test/NAME``, at ``size`` px, not yet decoded."""
        from figment.datasets.few_shot import open_photos

        found = self.splits(space)
        sets = {"shots": found.shots, **{f"test/{name}": listing for name, listing in found.tests.items()}}
        sets |= {"held_out": found.held_out} if self.validates else {}
        return {name: open_photos(listing, size) for name, listing in sets.items()}


Data = Annotated[LabelledData | ZeroShotData | FewShotData, Field(discriminator="kind")]
