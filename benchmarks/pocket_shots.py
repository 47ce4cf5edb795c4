"""What the benchmarks of concepts share: the pocket generator, and the real images that it never saw."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from figment.images import decode
from figment.planning.generator_config import GeneratorConfig

REAL = Path("data/real")
POCKET = GeneratorConfig(
    model="models/pocket/diffusion", width=32, height=32, guidance_scale=4.0, num_inference_steps=12
)
TEMPLATES = ("a photo of a {name}", "an image of a {name}", "an image of a {name}")  # words that the generator knows
Photos = dict[str, list[np.ndarray]]


def photos_of(split: str, count: int, seed: int, classes: Sequence[str] = ()) -> Photos:
    """``count`` real images of each class, or of those wanted; a seed's smaller sets are in its larger ones."""
    found: dict[str, list[bytes]] = {}
    for row in pq.read_table(REAL / f"{split}.parquet").to_pylist():
        found.setdefault(row["label"], []).append(row["image"]["bytes"])
    random = np.random.default_rng(seed)
    order = {name: random.permutation(len(found[name]))[:count] for name in sorted(found)}
    return {name: [np.asarray(decode(found[name][i], name)) for i in order[name]] for name in classes or order}
