"""Types of the fields of configs: bounded numbers, paths, names. Every config model and every pipeline uses them, so that a
value that cannot work is refused when the config is read."""

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from figment.errors import InputError
from figment.names import check_registered_name

MAX_COUNT = 2**31 - 1
MAX_SIDE = 8192  # px
MAX_STEPS = 1000  # those of the noise schedule that diffusion models are trained with
MAX_GUIDANCE = 50
B = TypeVar("B", bound=BaseModel)
PREFIX = re.compile(r"(?:open_clip:|timm:)?(?:local-dir:)?")


class Settings(BaseModel):
    """Base of all configs: an unknown key, an infinite number and a NaN are refused; values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=False)

    def model_post_init(self, context: Any, /) -> None:
        """A ``kind`` always counts as set: ZenML hands a step what was set, which decides the member of a union."""
        if "kind" in type(self).model_fields:
            self.__pydantic_fields_set__.add("kind")

    @classmethod
    def of(cls, base: BaseModel, **more: Any) -> Self:
        """``base`` as this class, which has its fields and ``more``."""
        return cls.model_validate({**base.model_dump(exclude_unset=True), **more})

    def as_base(self, base: type[B]) -> B:
        """The part that is of its class ``base``, as the library takes it."""
        return base.model_validate({name: getattr(self, name) for name in base.model_fields})


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("the number is too large")
    return value


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError("the path is empty; give a file or folder")
    if "\0" in text:
        raise ValueError("a path has no NUL character")
    return expanded(text)


def _model(text: str) -> str:
    prefix = PREFIX.match(text).group()  # type: ignore[union-attr]  # it matches nothing, too
    return prefix + _path(text[len(prefix) :])


def _registered(text: str) -> str:
    return check_registered_name(text, "the name")


def expanded(text: str) -> str:
    """A path with ``~`` replaced by the home folder. Raises ValueError for the ``~name`` of an unknown user."""
    found = os.path.expanduser(text)
    if found.startswith("~"):
        raise ValueError(f"there is no home folder for {found.partition('/')[0]!r}; give the whole path, or ./{found}")
    return found


def expanded_path(path: Path) -> Path:
    """A path of a command line with ``~`` replaced. Raises InputError where ``expanded`` raises ValueError."""
    try:
        return Path(_path(str(path)))
    except ValueError as error:
        raise InputError(f"{str(path)[:80]!r}: {error}") from error


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]  # either end included
Guidance = Annotated[Number, Field(ge=0, le=MAX_GUIDANCE)]

# A field that narrows these says so in Annotated: bounds in the Field of its default would be replaced by these.
Integer = Annotated[int, Field(strict=True, ge=-MAX_COUNT, le=MAX_COUNT)]
Count = Annotated[Integer, Field(gt=0)]
Natural = Annotated[Integer, Field(ge=0)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
InferenceSteps = Annotated[int, Field(strict=True, gt=0, le=MAX_STEPS)]
Side = Annotated[int, Field(strict=True, gt=0, le=MAX_SIDE)]  # px
LatentSide = Annotated[Side, Field(multiple_of=8)]  # px of what a latent diffusion model paints

PathText = Annotated[str, AfterValidator(_path)]
ModelName = Annotated[str, AfterValidator(_model)]  # a hub id, a name of a library, or a folder
Resize = Literal[
    "bicubic", "bilinear", "bilinear_no_antialias", "squash", "squash_bicubic"
]  # of an image, as figment.images.to_tensor does it
Scores = Literal["softmax", "sigmoid"]  # what CLIP's similarities are made probabilities by
RegisteredName = Annotated[str, AfterValidator(_registered)]


def is_finite(value: Any) -> bool:
    """Whether no number within a JSON value is infinite or NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    return all(map(is_finite, value)) if isinstance(value, (list, tuple)) else True
