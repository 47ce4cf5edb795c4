"""Replay: one image again, from its plan row alone, compared with the one in the pool."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from figment.errors import InputError
from figment.images import decode, encode
from figment.planning.lookup import planned_row
from figment.planning.row import IMPORTED
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.marking import xmp_packet
from figment.synthesis.pool import Pool
from figment.synthesis.settings import last_config


@dataclass(frozen=True)
class Replay:
    """``psnr`` in dB between the decoded images (infinite if equal); ``equal``: the files' bytes are the same."""

    image_id: str
    prompt: str
    psnr: float
    equal: bool
    image: bytes


def replay(plan: Path, image_id: str) -> Replay:
    """Render an image of a plan again and compare it with the one in ``images/`` beside the plan.

    Raises InputError if the plan does not ask for it, or if it is not there yet.
    """
    row = planned_row(plan, image_id)
    if row["model"].startswith(IMPORTED):
        raise InputError(
            f"{row['image_id']}: was imported, not rendered; there is no generator to render it again with"
        )
    pool = Pool(plan.parent / "images")
    kept = [r for batch in pool.read([row["image_id"]], ["image_id", "image"]) for r in batch.to_pylist()]
    if not kept:
        raise InputError(f"{pool.folder}: {row['image_id']} is planned but not rendered yet; run the pipeline first")
    config, before = last_config(pool), kept[0]["image"]["bytes"]
    rendering = Generator(row["model"], row["revision"], config, Inputs.beside(plan)).render([row])
    array = rendering.pixels[0].mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    after = encode(np.ascontiguousarray(array), config.image_format, xmp_packet(row["image_id"]))
    images = [np.asarray(decode(data, row["image_id"]), float) for data in (before, after)]
    return Replay(row["image_id"], row["prompt"], psnr(*images), before == after, after)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 255]."""
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
