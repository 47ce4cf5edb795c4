"""Learned words as a plan names them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Words:
    """Learned words: the SHA-256 of the adapter file that holds them, and the mean length of each usable one's vectors by
    class name. Prompts of a class without one say its name."""

    adapter: str = ""
    lengths: Mapping[str, float] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)  # learned LoRAs, as rows name them, by class name
