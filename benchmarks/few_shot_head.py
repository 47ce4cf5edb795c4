"""A training step of a few-shot head: on cached features, and decoding and forwarding each draw as the published code does.

    python -m benchmarks.few_shot_head

Same photos and made images (PNG and JPEG files in memory), same law of drawing, same augmentation, same frozen backbone in
eval mode, same head and optimiser, batch 16, one thread. The two take turns; medians of the turns. ``views`` is what the
cache costs once: every image as it is and in ten random views. Two backbones: the pocket CLIP at 32 px, and a ResNet-50 at
256 px with random weights, whose time is that of any other. Writes benchmarks/results/few_shot_head.json.
"""

import io
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from figment.datasets.labelled import LabelledImages
from figment.files import write_json
from figment.images import decode, to_tensor
from figment.planning.sample_weights import use_of
from figment.training.augment import augment
from figment.training.backbone import Backbone, load_backbone, view_features
from figment.training.config import AugmentConfig, BackboneConfig
from figment.training.sampling import sampling_law

RESULT = Path("benchmarks/results/few_shot_head.json")
BATCH, VIEWS, CLASSES, SHOTS, MADE = 16, 10, 10, 2, 10
CHANGES = AugmentConfig(crop_scale=0.7, rotation=15)


def encoded(count: int, side: int, kind: str) -> list[bytes]:
    """Image files: smooth noise, which compresses as photographs do."""
    rng, files = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (max(8, side // 16),) * 2 + (3,), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, kind)
        files.append(buffer.getvalue())
    return files


class Step:
    """A head with its optimiser and its own random draws."""

    def __init__(self, dim: int, law: Tensor, labels: Tensor):
        torch.manual_seed(0)
        self.head = nn.Linear(dim, CLASSES)
        self.optimizer = torch.optim.Adam(self.head.parameters(), 1e-3, fused=True)
        self.law, self.labels = law, labels
        self.generator = torch.Generator().manual_seed(0)

    def draw(self) -> Tensor:
        return torch.multinomial(self.law, BATCH, replacement=True, generator=self.generator)

    def update(self, features: Tensor, rows: Tensor) -> None:
        loss = F.cross_entropy(self.head(features), self.labels[rows])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def measure(backbone: Backbone, size: int, side: int, kind: str, turns: int, slow_steps: int) -> dict[str, float]:
    """Milliseconds of a step either way, ``slow_steps`` of the slow and 50 times as many of the fast a turn."""
    photos = CLASSES * SHOTS
    labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    sources = torch.arange(photos).repeat_interleave(MADE)
    law = sampling_law(labels, sources, use_of(torch.ones(len(sources)), sources, photos, 0.7, "per_photo"))
    labels = torch.cat([labels, labels[sources]])
    files = encoded(len(labels), side, kind)
    pixels = torch.stack([to_tensor(decode(data, "benchmark"), size, "squash") for data in files])
    start = time.perf_counter()
    cache = view_features(LabelledImages(pixels, labels), backbone, BATCH, CHANGES, VIEWS, seed=0)
    views_seconds = time.perf_counter() - start
    fast, slow = Step(cache.shape[2], law, labels), Step(cache.shape[2], law, labels)

    def cached() -> None:
        rows = fast.draw()
        fast.update(cache[rows, 1 + torch.randint(VIEWS, (BATCH,), generator=fast.generator)], rows)

    def each_draw() -> None:
        rows = slow.draw()
        drawn = torch.stack([to_tensor(decode(files[row], "benchmark"), size, "squash") for row in rows.tolist()])
        with torch.no_grad():
            features = backbone(augment(drawn, CHANGES, slow.generator))
        slow.update(features, rows)

    times: dict[str, list[float]] = {"cached": [], "each_draw": []}
    timed(each_draw, 1), timed(cached, 50)  # warm
    for _ in range(turns):
        times["each_draw"].append(timed(each_draw, slow_steps))
        times["cached"].append(timed(cached, 50 * slow_steps))
    found = {f"{name}_ms": round(1000 * statistics.median(values), 4) for name, values in times.items()}
    found["times_faster"] = round(found["each_draw_ms"] / found["cached_ms"], 1)
    found["views_seconds"] = round(views_seconds, 2)
    found["pays_after_steps"] = round(views_seconds / ((found["each_draw_ms"] - found["cached_ms"]) / 1000), 1)
    return found


def timed(step: Callable[[], None], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def main() -> None:
    torch.set_num_threads(1)
    config = BackboneConfig(model="open_clip:local-dir:models/pocket/clip", image_size=32, device="cpu")
    half = torch.full((3, 1, 1), 0.5)
    resnet = Backbone(timm.create_model("resnet50", num_classes=0), half, half)
    results = {
        "pocket CLIP, 32 px PNG": measure(load_backbone(config), 32, 32, "PNG", turns=7, slow_steps=20),
        "ResNet-50, 256 px from 512 px JPEG": measure(resnet, 256, 512, "JPEG", turns=3, slow_steps=2),
    }
    for name, found in results.items():
        print(name, found)
    software = {"python": platform.python_version(), "torch": torch.__version__}
    settings = {"batch": BATCH, "views": VIEWS, "images": CLASSES * SHOTS * (1 + MADE), "threads": 1}
    write_json(RESULT, {"settings": settings, "steps": results, "software": software})


if __name__ == "__main__":
    main()
