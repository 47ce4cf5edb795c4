"""What changed the generator, as a plan names it: read from the file that the adaptation wrote."""

from pathlib import Path
from typing import NamedTuple

from figment.adaptation.text_encoder import Tuned
from figment.adaptation.textual_inversion import WordsFile
from figment.planning.words import Words
from figment.reading import read_artifact

TUNING, WORDS = "tuning.json", "words.json"


class Adapted(NamedTuple):
    """``adapter``: the hash of a tuned text encoder, empty for the generator's own; ``words`` that were learned."""

    adapter: str = ""
    words: Words = Words()


def read_adapted(path: Path) -> Adapted:
    """From tuning.json or words.json."""
    if path.name == WORDS:
        return Adapted(words=read_artifact(path, WordsFile).words)
    return Adapted(read_artifact(path, Tuned).adapter)
