"""Stage two: the pocket CLIP, an open_clip folder; contrastive, with the false negatives of a small world masked."""

import json
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from pocket.loop import Progress, TrainingLoop, refresh_batch_norm
from pocket.tokenizer import CONTEXT_LENGTH
from pocket.world import BACKGROUNDS, DOMAINS, Scenes

IMAGE_SIZE = 64


def clip_config(tokenizer: CLIPTokenizer) -> dict:
    """The ``open_clip_config.json`` of a ModifiedResNet tower (3.1 M) and a text tower (1 M)."""
    return {
        "model_cfg": {
            "embed_dim": 256,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "layers": [1, 1, 1, 1],
                "width": 24,
                "head_width": 48,
                "patch_size": None,
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": len(tokenizer),
                "hf_tokenizer_name": "pocket",
                "width": 128,
                "heads": 4,
                "layers": 3,
                "pool_type": "eos",
                "eos_id": tokenizer.eos_token_id,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def said(captions: list[str], vocabulary: list[str], pattern: str) -> Tensor:
    """(N,) index of the word of ``vocabulary`` that each caption says in ``pattern``, or -1."""
    found = [[i for i, word in enumerate(vocabulary) if pattern.format(word) in caption] for caption in captions]
    return torch.tensor([hits[0] if hits else -1 for hits in found])


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, noise, gain, and for a third of the pictures a mixing of the colour channels: the validator has to
    recognise softer pictures and other artists' colours. Pixels (B, 3, S, S) in [-1, 1]."""
    count, device = len(pixels), pixels.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator).to(device)

    mix = torch.softmax(torch.randn(count, 3, 3, generator=generator) * 1.5, -1).to(device)
    mixed = torch.einsum("bij,bjhw->bihw", mix, pixels)
    pixels = torch.where(uniform(1, 1, 1) < 0.3, mixed, pixels)
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pixels = torch.lerp(pixels, blurred, uniform(1, 1, 1) * (uniform(1, 1, 1) < 0.6))
    noise = torch.randn(pixels.shape, generator=generator).to(device) * 0.06 * uniform(1, 1, 1)
    return (pixels * (0.85 + 0.3 * uniform(1, 1, 1)) + noise).clamp(-1, 1)


def contrastive_loss(similarity: Tensor, unknown: Tensor) -> Tensor:
    """Symmetric InfoNCE over (B, B) scaled similarities; pairs that are perhaps true are left out, not pushed apart."""
    similarity = similarity.masked_fill(unknown, float("-inf"))
    target = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.t(), target)) / 2


def train_clip(
    tokenizer: CLIPTokenizer,
    scenes: Scenes,
    folder: Path,
    *,
    steps: int,
    batch_size: int = 192,
    learning_rate: float = 1.5e-3,
    seed: int = 0,
    device: str = "cpu",
    report: Progress = print,
) -> CLIP:
    torch.manual_seed(seed)
    config = clip_config(tokenizer)["model_cfg"]
    model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"]).to(device).train()
    loop = TrainingLoop(
        model,
        folder / "checkpoint.safetensors",
        identity={"batch_size": batch_size, "scenes": scenes.digest},
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        ema=0.995,
    )
    tokens = tokenizer(scenes.captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    said_domain = said(scenes.captions, list(DOMAINS), "a {} of")
    said_background = said(scenes.captions, list(BACKGROUNDS), " {}")

    for step, rows in loop.batches(len(scenes.captions), batch_size):
        rows = rows.cpu()
        pixels = augment(scenes.batch(rows).to(device), loop.generator)
        pixels = F.interpolate(pixels, size=IMAGE_SIZE, mode="bicubic", align_corners=False)
        image, text, scale = model(pixels, tokens[rows].to(device))[:3]

        # Text j may be true of image i: same objects, and nothing it says of domain or background contradicts i.
        objects, domains = scenes.objects[rows], scenes.domains[rows]
        domain, background = said_domain[rows], said_background[rows]
        same = (objects[:, None] == objects[None]).all(-1)
        other_domain = (domain[None] >= 0) & (domain[None] != domains[:, None])
        other_background = (
            (background[None] >= 0) & (background[:, None] >= 0) & (background[None] != background[:, None])
        )
        unknown = (same & ~other_domain & ~other_background).fill_diagonal_(False)

        loop.update(contrastive_loss(scale * image @ text.t(), unknown.to(device)))
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6)
        if step % 50 == 0 or step == steps:
            report("clip", step, {"loss": loop.mean_loss})

    loop.load_average()

    def forward() -> Tensor:
        rows = torch.randint(len(scenes.captions), (128,), generator=loop.generator)
        pixels = augment(scenes.batch(rows).to(device), loop.generator)
        return model.encode_image(F.interpolate(pixels, size=IMAGE_SIZE, mode="bicubic", align_corners=False))

    refresh_batch_norm(model, forward)
    return model.eval()


def save_clip(model: CLIP, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write what ``open_clip.create_model('local-dir:...')`` reads: config, fp16 weights, tokenizer in one folder."""
    tokenizer.save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(clip_config(tokenizer), indent=2) + "\n")
    weights = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    open_clip.create_model(f"local-dir:{folder}")  # fails here rather than at the user's
