"""Fonts for names in any script: those that are installed and have a name's letters; a number where none has."""

import logging
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns of each weight that a family has not
FIRST = "DejaVu Sans"  # comes with matplotlib


def drawable(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names as a plot can write them, ``#3`` for the fourth if no font here has all its letters, and the font families to
    draw them with (``rcParams["font.family"]``), matplotlib's own first."""
    families = [FIRST]
    shown = []
    for number, name in enumerate(names):
        missing = {letter for letter in name if not letter.isspace()} - set().union(*map(_letters, families))
        while missing and (family := _family_with(min(missing))):
            families.append(family)
            missing -= _letters(family)
        shown.append(f"#{number}" if missing else name)
    return shown, families


def font_file(text: str) -> str | None:
    """The file of a font that has all letters of ``text``, for what draws with one font: matplotlib's own, or the first of those
    installed; None if there is none."""
    letters = {letter for letter in text if not letter.isspace()}
    more = map(_family_with, sorted(letters - _letters(FIRST)))
    family = next((family for family in (FIRST, *more) if family and letters <= _letters(family)), None)
    return family and font_manager.findfont(family, fallback_to_default=False)


@cache
def _letters(family: str) -> frozenset[str]:
    file = font_manager.findfont(family, fallback_to_default=False)
    return frozenset(map(chr, font_manager.get_font(file).get_charmap()))


@cache
def _family_with(letter: str) -> str | None:
    """An installed family with this letter; those that draw boxes with a code in them are none."""
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.name):
        if "Last Resort" in entry.name or entry.style != "normal":
            continue
        try:
            if letter in _letters(entry.name):
                return entry.name
        except (ValueError, RuntimeError, OSError):  # a file that is gone or damaged
            continue
    return None
