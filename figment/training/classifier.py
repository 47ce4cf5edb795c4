"""Train an ordinary classifier from random weights on labelled pictures (the paper's sec. 4.1)."""

from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from figment.datasets.labelled import LabelledImages
from figment.devices import choose_device
from figment.errors import InputError
from figment.labels import nearest
from figment.training.config import TrainingConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_classifier(config: TrainingConfig, num_classes: int) -> nn.Module:
    """A timm model without pretrained weights; ``stem: small`` keeps the resolution that its stem would throw away."""
    if config.model not in timm.list_models():
        hint = nearest(config.model, timm.list_models())
        raise InputError(f"training.model: timm has no {config.model!r}; the nearest names are {', '.join(hint)}")
    try:
        model = timm.create_model(config.model, num_classes=num_classes, img_size=config.image_size)
    except TypeError:  # most architectures take any size and no such argument
        model = timm.create_model(config.model, num_classes=num_classes)
    if config.stem == "small":
        first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        first.stride = (1, 1)
        if isinstance(getattr(model, "maxpool", None), nn.Module):
            model.maxpool = nn.Identity()
    return model


def check_classifier(config: TrainingConfig, num_classes: int) -> None:
    """Raise InputError, before anything is rendered, if the model cannot be built or cannot take the pictures."""
    model = build_classifier(config, num_classes).eval()
    try:
        model(torch.zeros(1, 3, config.image_size, config.image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"training.model: {config.model!r} does not take pictures of {config.image_size} px ({str(error).splitlines()[0]}); "
            "choose another model or training.image_size"
        ) from error


def normalise(pixels: Tensor) -> Tensor:
    """ImageNet statistics; (B, 3, S, S) uint8 or float in [0, 1] -> float."""
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (MEAN, STD))
    return (pixels - mean) / std


def augment(pixels: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Random resized crop and flip as one affine resampling, colour jitter; every picture its own draw.

    (B, 3, S, S) float in [0, 1]. Area uniform in [crop_scale, 1], aspect log-uniform in [3/4, 4/3].
    """
    count, device = len(pixels), pixels.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * (high - low) + low).to(device)

    area, aspect = uniform(config.crop_scale, 1), torch.exp(uniform(-0.2877, 0.2877))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if config.flip else torch.ones(count, device=device)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = width * mirror, height
    theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * uniform(-1, 1), (1 - height) * uniform(-1, 1)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if config.color_jitter:
        j = config.color_jitter
        pixels = pixels * uniform(1 - j, 1 + j, 3, 1, 1) + uniform(-j / 2, j / 2, 1, 1, 1)
    return pixels.clamp(0, 1)


def train_classifier(
    images: LabelledImages,
    num_classes: int,
    config: TrainingConfig,
    log: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    name: str = "training",
) -> nn.Module:
    """AdamW with a cosine to zero; returns the model in eval mode on its device. Same images and config: same model."""
    device = choose_device(config.device)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = build_classifier(config, num_classes).to(device).train()
    steps = config.steps or config.epochs * -(-len(images) // config.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    pixels, labels = images.pixels.to(device), images.labels.to(device)
    order = torch.empty(0, dtype=torch.long)
    for step in tqdm(range(1, steps + 1), desc=name, unit="step", leave=False):
        while len(order) < config.batch_size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        rows, order = order[: config.batch_size].to(device), order[config.batch_size :]
        inputs = normalise(augment(pixels[rows].float() / 255, config, generator))
        loss = F.cross_entropy(model(inputs), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % max(1, steps // 50) == 0 or step == steps:
            log(step, {"loss": loss.item(), "learning_rate": float(schedule.get_last_lr()[0])})
    return model.eval()


@torch.inference_mode()
def predict(model: nn.Module, pixels: Tensor, batch_size: int = 512) -> Tensor:
    """Logits (N, C) on the CPU for pictures (N, 3, S, S) uint8. The model is in eval mode: no batch sees another."""
    device = next(model.parameters()).device
    model.eval()
    return torch.cat([model(normalise(part.to(device))).cpu() for part in pixels.split(batch_size)])
