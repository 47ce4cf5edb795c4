"""What a pool was last rendered with: a changed config is said aloud, and one that would mix two kinds of files refused."""

import logging
from pathlib import Path
from typing import Any

import diffusers
import pyarrow as pa
import pyarrow.compute as pc
import torch

from figment.errors import InputError
from figment.files import write_json
from figment.planning.plan import count_rows, ranges
from figment.reading import read_json
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import resolve_dtype
from figment.synthesis.pool import Pool
from figment.text import reason_of

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # whatever the tools around set for everybody
OURS = "the settings that Figment wrote; restore them, or choose another output"
FIXED = ("dtype", "image_format")  # an image's id does not know of them, so a pool has one of each
PLANNED = ("recipe", "model", "revision", "width", "height", "num_inference_steps", "scheduler", "adapter", "stream")


def check_settings(plan: pa.Table | Path, pool: Pool, config: SynthesisConfig) -> dict[str, tuple[Any, Any]]:
    """Note in the pool what it is rendered with, and return what differs from the last time, as {field: (old, new)}.

    The differences are logged. Raises InputError if images of another type or format are there already.
    """
    file = pool.folder / "settings.json"
    new = settings_of(plan, config)
    old = _read(file) if file.is_file() else new
    changed = {name: (old.get(name), new[name]) for name in new if old.get(name) != new[name]}
    sentence = "; ".join(f"{name} was {_short(was)}, now {_short(now)}" for name, (was, now) in changed.items())
    if len(pool) and changed.keys() & set(FIXED):
        raise InputError(
            f"{file}: {sentence}; a pool holds images of one dtype and format: restore the config, or choose another output"
        )
    if changed and len(pool):
        present = sum(len(ids) - len(pool.missing(ids)) for ids in ranges(plan, config.shard_size, ["image_id"]))
        log.warning(
            "the config changed since %s was last rendered: %s. Of %s planned images %s are there already",
            pool.folder, sentence, f"{count_rows(plan):,}", f"{present:,}",
        )  # fmt: skip
    if changed or not file.is_file():
        write_json(file, new)
    return changed


def settings_of(plan: pa.Table | Path, config: SynthesisConfig) -> dict[str, Any]:
    """The settings behind a plan's images: its columns' distinct values, the way of rendering, the libraries."""
    values: dict[str, set] = {name: set() for name in PLANNED}
    for part in ranges(plan, 100_000, list(PLANNED)):
        for name in PLANNED:
            values[name] |= set(pc.unique(part[name]).to_pylist())
    return {
        **{name: sorted(found) for name, found in values.items()},
        "dtype": precision(config),
        "image_format": config.image_format,
        "shard_size": config.shard_size,
        "torch": torch.__version__.partition("+")[0],
        "diffusers": diffusers.__version__,
    }


def precision(config: SynthesisConfig) -> str:
    """The type of the weights on this device, and how they are quantised, if they are: ``bfloat16 nf4``."""
    quantised = "" if config.quantise == "none" else f" {config.quantise}"
    return str(resolve_dtype(config)).removeprefix("torch.") + quantised


def last_config(pool: Pool) -> SynthesisConfig:
    """How the pool's images were rendered: their dtype, quantisation and format."""
    values = _read(pool.folder / "settings.json")
    dtype, _, quantised = values["dtype"].partition(" ")
    return SynthesisConfig(dtype=dtype, quantise=quantised or "none", image_format=values["image_format"])


def _read(file: Path) -> dict[str, Any]:
    try:
        values = read_json(file, OURS)
        return {name: values[name] for name in (*PLANNED, *FIXED, "shard_size", "torch", "diffusers")}
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: not readable ({reason_of(error)}); expected {OURS}") from error


def _short(value: Any) -> str:
    items = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
