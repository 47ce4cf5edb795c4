"""The independent judge: a small multi-label CNN trained on real renders of every art set, on nothing generated.

It names the objects in an image. It gates the autoencoder and measures the generator; the pocket CLIP, which
validates images at run time, is never its own judge.
"""

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from figment.errors import InputError
from figment.images import decode, squash
from figment.model_folders import load_state, read_tensors
from figment.synthesis.pool import Pool
from pocket.artwork import OBJECTS
from pocket.augmentation import cutout, degrade, shift
from pocket.config import JudgeConfig
from pocket.loop import Progress, TrainingLoop, refresh_batch_norm
from pocket.world import Scenes

WEIGHTS = "judge.safetensors"
JUDGED_SIZE = 32  # px, as it was trained


def build_judge(num_objects: int, channels: Sequence[int] = (32, 64, 96, 192)) -> nn.Module:
    """timm's test ResNet, wider, with a stride-1 stem: 32 px keep a 4x4 final map."""
    model = timm.create_model("test_resnet", num_classes=num_objects, channels=tuple(channels))
    model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()
    return model


def train_judge(
    scenes: Scenes, folder: Path, stage: JudgeConfig, *, device: str = "cpu", report: Progress = print
) -> nn.Module:
    """Binary cross-entropy per object on degraded images; returns the averaged weights in eval mode."""
    torch.manual_seed(stage.seed)
    model = (
        build_judge(scenes.objects.shape[1], stage.channels).to(device).to(memory_format=torch.channels_last).train()
    )
    if stage.start:
        model.load_state_dict({k: v.float() for k, v in load_file(Path(stage.start) / WEIGHTS).items()})
    loop = TrainingLoop.of(model, folder, stage, scenes.digest, ema=stage.ema)

    def forward(rows: Tensor) -> Tensor:
        pixels = scenes.batch(rows)
        if stage.shift:
            pixels = cutout(shift(pixels, loop.generator), loop.generator)
        with loop.autocast():
            return model(degrade(pixels, loop.generator).contiguous(memory_format=torch.channels_last))

    for step, rows in loop.batches(len(scenes.captions), stage.batch_size):
        targets = scenes.objects[rows].float()
        loop.update(F.binary_cross_entropy_with_logits(forward(rows).float(), targets) * 10)
        if loop.due(100):
            report("judge", step, {"loss": loop.mean_loss})
    loop.load_average()
    refresh_batch_norm(model, lambda: forward(torch.randint(len(scenes.captions), (256,), device=loop.device)))
    return model.eval()


@torch.no_grad()
def name_objects(judge: nn.Module, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Logits (N, objects) for images in [-1, 1]."""
    return torch.cat([judge(part) for part in pixels.split(batch_size)])


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of single-object images whose strongest object is the right one. ``labels`` (N,)."""
    return float((logits.argmax(1) == labels).float().mean())


def both_found(logits: Tensor, objects: Tensor) -> float:
    """Share of two-object images whose two strongest objects are the right two. ``objects`` multi-hot (N, C)."""
    best = torch.zeros_like(objects).scatter_(1, logits.topk(2, dim=1).indices, 1)
    return float((best == objects).all(1).float().mean())


def load_judge(weights: Path, num_objects: int) -> nn.Module:
    """A trained judge in eval mode."""
    model = build_judge(num_objects)
    what = f"judge: {weights} holds no judge's weights"
    load_state(model, read_tensors(weights, what), what)
    return model.eval()


def check_judge(weights: Path, names: Sequence[str]) -> None:
    """Raise InputError if the judge cannot be loaded, or knows nothing of one of the classes ``names``."""
    load_judge(weights, len(OBJECTS))
    for name in names:
        if name not in OBJECTS:
            raise InputError(f"judge: {weights} knows the pocket world's objects alone, not {name!r}; leave it out")


def shows_what_it_should(judge: nn.Module, pixels: Tensor, requested: Tensor) -> Tensor:
    """(N,) bool: whether the |T| strongest objects of images (N, 3, S, S) in [0, 1] are just the requested ones, a
    multi-hot (N, objects)."""
    order = name_objects(judge, pixels * 2 - 1).argsort(1, descending=True)
    ranked = requested.gather(1, order).bool()
    places = torch.arange(requested.shape[1]) < requested.sum(1, keepdim=True)
    return (ranked == places).all(1)


def judge_pool(weights: Path, image_ids: Sequence[str], pool: Pool) -> dict[str, bool]:
    """``shows_what_it_should`` of a pool's images, by id."""
    objects = list(OBJECTS)
    judge = load_judge(weights, len(objects))
    right: dict[str, bool] = {}
    for batch in pool.read(image_ids, ["image_id", "labels", "image"]):
        rows = batch.to_pylist()
        images = [squash(decode(row["image"]["bytes"], row["image_id"]), JUDGED_SIZE) for row in rows]
        requested = torch.tensor([[name in row["labels"] for name in objects] for row in rows]).long()
        found = shows_what_it_should(judge, torch.stack(images).float() / 255, requested)
        right |= dict(zip((row["image_id"] for row in rows), found.tolist(), strict=True))
    return right
