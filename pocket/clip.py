"""Stage two: the pocket CLIP, an open_clip folder; contrastive, with the false negatives of a small world masked."""

import json
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from pocket.augmentation import recolour, shift
from pocket.config import ClipTrainingConfig
from pocket.loop import Progress, TrainingLoop, refresh_batch_norm
from pocket.tokenizer import CONTEXT_LENGTH
from pocket.world import BACKGROUNDS, DOMAINS, Scenes

IMAGE_SIZE = 64
WEIGHTS = "open_clip_model.safetensors"


def clip_config(tokenizer: CLIPTokenizer, width: int = 24) -> dict:
    """The ``open_clip_config.json`` of a ModifiedResNet tower (3.1 M) and a text tower (1 M)."""
    return {
        "model_cfg": {
            "embed_dim": 256,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "layers": [1, 1, 1, 1],
                "width": width,
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


def contrastive_loss(similarity: Tensor, unknown: Tensor) -> Tensor:
    """Symmetric InfoNCE over (B, B) scaled similarities; pairs that are perhaps true are left out, not pushed apart."""
    similarity = similarity.masked_fill(unknown, float("-inf"))
    target = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.t(), target)) / 2


def train_clip(
    tokenizer: CLIPTokenizer,
    scenes: Scenes,
    folder: Path,
    stage: ClipTrainingConfig,
    *,
    device: str = "cpu",
    report: Progress = print,
) -> CLIP:
    """Contrastive training of both towers; returns the averaged weights in eval mode."""
    torch.manual_seed(stage.seed)
    config = clip_config(tokenizer, stage.width)["model_cfg"]
    model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    if stage.start:
        model.load_state_dict(load_file(Path(stage.start) / WEIGHTS))
    model = model.to(device).to(memory_format=torch.channels_last).train()
    loop = TrainingLoop.of(model, folder, stage, scenes.digest, ema=0.995)
    tokens = tokenizer(scenes.captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
    said_domain = said(scenes.captions, list(DOMAINS), " {} of").to(device)
    said_background = said(scenes.captions, list(BACKGROUNDS), " {}").to(device)

    def images(rows: Tensor) -> Tensor:
        pixels = scenes.batch(rows)
        if stage.shift:
            pixels = shift(pixels, loop.generator)
        pixels = recolour(pixels, loop.generator)
        pixels = F.interpolate(pixels, size=IMAGE_SIZE, mode="bicubic", align_corners=False)
        return pixels.contiguous(memory_format=torch.channels_last)

    for step, rows in loop.batches(len(scenes.captions), stage.batch_size):
        with loop.autocast():
            image, text, scale = model(images(rows), tokens[rows])[:3]
        # Text j may be true of image i: same objects, and nothing it says of domain or background contradicts i.
        objects, domains = scenes.objects[rows], scenes.domains[rows]
        domain, background = said_domain[rows], said_background[rows]
        same = (objects[:, None] == objects[None]).all(-1)
        other_domain = (domain[None] >= 0) & (domain[None] != domains[:, None])
        other_background = (
            (background[None] >= 0) & (background[:, None] >= 0) & (background[None] != background[:, None])
        )
        unknown = (same & ~other_domain & ~other_background).fill_diagonal_(False)
        loop.update(contrastive_loss(scale.float() * image.float() @ text.float().t(), unknown))
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6)
        if loop.due(50):
            report("clip", step, {"loss": loop.mean_loss})

    loop.load_average()
    refresh_batch_norm(
        model, lambda: model.encode_image(images(torch.randint(len(scenes.captions), (256,), device=loop.device)))
    )
    return model.eval()


def save_clip(model: CLIP, tokenizer: CLIPTokenizer, folder: Path, width: int = 24) -> None:
    """Write what ``open_clip.create_model('local-dir:...')`` reads: config, fp16 weights, tokenizer in one folder."""
    tokenizer.save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(clip_config(tokenizer, width), indent=2) + "\n")
    weights = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    open_clip.create_model(f"local-dir:{folder}")  # fails here rather than at the user's
