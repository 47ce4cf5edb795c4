"""What every exporter takes: samples one after another, and the classes that their labels number."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from figment.errors import InputError

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


class Sample(NamedTuple):
    """An encoded image, the suffix of its format, positions of its classes in ascending order, the prompt that it was made
    from, and its id, which names its file."""

    data: bytes
    suffix: str
    labels: tuple[int, ...]
    caption: str
    image_id: str


class Classes(NamedTuple):
    """``names`` (C) in the data set's order, its own ``ids`` (C), and whether an image may show several of them."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    multi_label: bool


Exporter = Callable[[Iterable[Sample], Path, Classes], None]


def header(data: bytes, where: str) -> tuple[str, int, int]:
    """The suffix, width and height (px) of an encoded image. Raises InputError for what is no JPEG, PNG or WebP."""
    try:
        with Image.open(io.BytesIO(data), formats=list(SUFFIXES)) as image:
            return SUFFIXES[str(image.format)], *image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: not a readable image; expected one of {', '.join(SUFFIXES)}") from error
