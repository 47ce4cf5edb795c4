"""What a row's ``adapter`` says: files by the SHA-256 of their content, joined by ``+``.

``HASH`` changes what prompts mean (a tuned text encoder's weights, learned words); ``HASH*WEIGHT`` is a LoRA, added to the
networks with that weight."""

import math
import re
from typing import NamedTuple

from figment.errors import InputError
from figment.text import shown

_PART = re.compile(r"(?P<name>[^*+/\\]+)(\*(?P<weight>[^*+]+))?")


class AdapterPart(NamedTuple):
    """A file ``<name>.safetensors``; ``weight`` of a LoRA, None of what changes prompts alone."""

    name: str
    weight: float | None = None


def join_adapters(*adapters: str) -> str:
    """The adapters of a row as one; empty ones are left out."""
    return "+".join(adapter for adapter in adapters if adapter)


def lora_adapter(name: str, weight: float) -> str:
    """A row's ``adapter`` for the LoRA in ``<name>.safetensors``."""
    return f"{name}*{float(weight)!r}"


def adapter_parts(adapter: str) -> list[AdapterPart]:
    """The files that a row's ``adapter`` names. Raises InputError for what is no such text."""
    parts = []
    for text in adapter.split("+") if adapter else ():
        found = _PART.fullmatch(text)
        try:
            weight = float(found["weight"]) if found and found["weight"] else None
        except ValueError:
            found = None
        if not found or (weight is not None and not math.isfinite(weight)):
            raise InputError(
                f"plan: adapter {shown(adapter)} is not made of HASH or HASH*WEIGHT, joined by +; write the plan again"
            )
        parts.append(AdapterPart(found["name"], weight))
    return parts


def loras_of(adapter: str) -> tuple[AdapterPart, ...]:
    """The LoRAs among a row's adapters."""
    return tuple(part for part in adapter_parts(adapter) if part.weight is not None) if "*" in adapter else ()


def prompt_adapters(adapter: str) -> list[str]:
    """The names of those that change what prompts mean."""
    return [part.name for part in adapter_parts(adapter) if part.weight is None]


def short_adapter(adapter: str) -> str:
    """The adapter with each hash cut to 12 digits, for people."""
    return join_adapters(*(f"{n[:12]}" + ("" if w is None else f"*{w:g}") for n, w in adapter_parts(adapter)))
