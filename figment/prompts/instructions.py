"""What Figment asks a chat model, in its own words. The files beside this module are the texts; edit them freely."""

from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent / "instructions"


def pair_instruction(labels: Sequence[str], count: int) -> str:
    """Ask for ``count`` captions of images that show all of ``labels`` (one label: several of it, or it alone)."""
    return _text("pair").format(things=" and ".join(labels), count=count)


def scene_instruction(labels: Sequence[str], count: int) -> str:
    """As ``pair_instruction``, at the length that a large chat model answers well (at least ten words a caption)."""
    name = "scene" if len(labels) > 1 else "scene_of_one"
    return _text(name).format(things=" and ".join(labels), count=count)


def context_instruction(label: str, count: int, style: str = "context") -> str:
    """Ask for ``count`` captions of ``label`` in different places, weathers and times of day; ``context_grammar`` asks at the
    length that a large chat model answers well, ``context_uncommon`` for places where no one expects it. ``adjectives`` and
    ``settings`` ask for words alone."""
    return _text(style).format(thing=label, count=count)


def unlike_instruction(label: str, other: str, count: int) -> str:
    """Ask for ``count`` captions of ``label`` by what tells it from ``other``: attributes, viewpoints, parts."""
    return _text("unlike").format(thing=label, other=other, count=count)


def _text(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()
