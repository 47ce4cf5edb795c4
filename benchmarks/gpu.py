"""What a GPU does with this project, beside the papers' plain loops on the same device in the same run.

    python -m benchmarks.gpu           # on a machine with CUDA: half an hour
    python -m benchmarks.gpu --tiny    # anywhere: networks of the same shape and a few thousand weights, to see that it runs

Rendering by pipelines of the shape of Stable Diffusion 1.5, 2 and XL with random weights (images/s, MFU, memory, by batch, eager
and compiled); CLIP scoring by ViT-B/32 and ViT-L/14 with random weights; training of ResNet-50 at 32 and 224 px. Writes
benchmarks/results/gpu_DEVICE_DATE.json.
"""

import argparse
import datetime
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from benchmarks.scoring import batched, one_by_one
from benchmarks.synthesis import RESULTS, machine, papers_loop
from benchmarks.training_throughput import Case, measure
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.devices import choose_device
from figment.files import write_json
from figment.labels import LabelSpace
from figment.planning.plan import make_plan
from figment.planning.row import Row
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.estimate import flops_per_image, peak_flops
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import resolve_dtype
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.weights import folder_revision

XL_UNET = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
    "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816, "sample_size": 128,
}  # fmt: skip
# Pixels a side, the UNet and the text encoders (width, layers, heads) of the published configurations.
SHAPES: dict[str, tuple[int, dict[str, Any], list[tuple[int, int, int]]]] = {
    "SD 1.5": (512, {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}, [(768, 12, 12)]),
    "SD 2": (768, {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True,
                   "sample_size": 96}, [(1024, 23, 16)]),
    "SDXL": (1024, XL_UNET, [(768, 12, 12), (1280, 32, 20)]),
}  # fmt: skip
BATCHES = {"SD 1.5": (1, 4, 16, 32, 64), "SD 2": (1, 4, 16, 32), "SDXL": (1, 4, 8, 16)}
TRAINED = {
    "ResNet-50, 32 px PNG": Case("resnet50", 32, 32, "png", 20_000, 3, precision="auto"),
    "ResNet-50, 256 px JPEG seen at 224 px": Case("resnet50", 256, 224, "jpeg", 4_000, 2, precision="auto"),
}
TINY_TRAINED = {"test_resnet, 32 px PNG": Case("test_resnet", 32, 32, "png", 256, 1, precision="auto")}


def tiny(unet: dict[str, Any], texts: int) -> dict[str, Any]:
    """The same blocks, narrow."""
    levels = len(unet.get("block_out_channels", range(4)))
    small = {"block_out_channels": (32,) * levels, "attention_head_dim": 4, "cross_attention_dim": 32 * texts}
    small |= {"layers_per_block": 1, "norm_num_groups": 8, "sample_size": 8, "transformer_layers_per_block": 1}
    if "addition_embed_type" in unet:
        small |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 32}
    return unet | small


def random_pipeline(name: str, folder: Path, is_tiny: bool) -> None:
    """A pipeline of the shape ``name`` with random weights, saved as the hub would serve it."""
    torch.manual_seed(0)
    _, unet, texts = SHAPES[name]
    tokenizer = CLIPTokenizer.from_pretrained("models/pocket/diffusion/tokenizer", model_max_length=77)
    ends = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    encoders = []
    for width, layers, heads in [(32, 2, 4)] * len(texts) if is_tiny else texts:
        config = CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
            projection_dim=width, **ends,
        )  # fmt: skip
        encoders.append((CLIPTextModelWithProjection if encoders else CLIPTextModel)(config))
    channels = (8, 8, 8, 8) if is_tiny else (128, 256, 512, 512)
    vae = AutoencoderKL(
        block_out_channels=channels, down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=min(32, channels[0]),
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    denoiser = UNet2DConditionModel(**(tiny(unet, len(texts)) if is_tiny else unet))
    parts = {"vae": vae, "unet": denoiser, "text_encoder": encoders[0], "tokenizer": tokenizer, "scheduler": scheduler}
    if len(encoders) > 1:
        pipeline = StableDiffusionXLPipeline(**parts, text_encoder_2=encoders[1], tokenizer_2=tokenizer)
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipeline.save_pretrained(folder)


def rendering(name: str, is_tiny: bool) -> Iterator[dict[str, Any]]:
    """Images/s of the papers' loop (batch 1, float32 under autocast, a PNG each), then of the executor by batch."""
    device = choose_device()
    size, steps = (64, 2) if is_tiny else (SHAPES[name][0], 40)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        random_pipeline(name, folder / "model", is_tiny)
        row = Row(
            prompt="a photo of a dog", labels=("dog",), recipe="benchmark", trick="base", model=str(folder / "model"),
            revision=folder_revision(str(folder / "model")), width=size, height=size, guidance_scale=7.5,
            num_inference_steps=steps, scheduler="DDIMScheduler", stream=0, replicate=0,
        )  # fmt: skip
        plan = {n: make_plan(row.model_copy(update={"replicate": i}) for i in range(n)) for n in (3, 1)}
        loop = DiffusionPipeline.from_pretrained(row.model, dtype=torch.float32).to(device)
        loop.set_progress_bar_config(disable=True)
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            papers_loop(loop, plan[1].to_pylist(), folder, 1)  # warms up
            start = time.perf_counter()
            papers_loop(loop, plan[3].to_pylist(), folder, 1)
            baseline = 3 / (time.perf_counter() - start)
        yield {"way": "papers' loop", "images_per_second": round(baseline, 4), **memory(device)}
        del loop
        flops = None
        for compiled in (False,) if device.type == "cpu" else (False, True):
            for batch in (1, 2) if is_tiny else BATCHES[name]:
                config = SynthesisConfig(batch_size=batch, compile=compiled, lanes=1, shard_size=batch)
                renderers = Renderers(config)
                generator = renderers.load(row.model, row.revision)
                flops = flops or flops_per_image(generator, row.model_dump() | {"image_id": "", "seed": 0})
                rates = []
                for stream, count in ((1, batch), (2, 2 * batch)):  # the first warms up, and compiles
                    rows = make_plan(row.model_copy(update={"replicate": i, "stream": stream}) for i in range(count))
                    pool = Pool(folder / f"{compiled}{batch}{stream}")
                    rates.append(synthesise(rows, pool, config, renderers=renderers).images_per_second)
                yield {
                    "way": "figment, compiled" if compiled else "figment",
                    "batch": renderers.batch_size,  # halved if memory ran out
                    "images_per_second": round(rates[-1], 4),
                    "times the papers' loop": round(rates[-1] / baseline, 2),
                    "mfu": round(rates[-1] * flops / peak_flops(device, resolve_dtype(config)), 3),
                    **memory(device),
                }
                del renderers, generator


def memory(device: torch.device) -> dict[str, float]:
    """Peak GPU memory since the last call, and nothing on a CPU."""
    if device.type != "cuda":
        return {}
    found = {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return found


def scoring(model: str, size: int, loop: int) -> dict[str, Any]:
    """Images/s of CLIP over COCO's 80 names, in batches of ``size`` and in the papers' loop over ``loop`` images."""
    scorer = ClipScorer(ClipConfig(model=model, templates=("{name}",), batch_size=size))
    labels = LabelSpace.load(Path("configs/labels/coco.yaml"))
    text, device = scorer.text_features(labels), scorer.device
    pixels = torch.rand(size, 3, scorer.size, scorer.size, device=device)
    asked = torch.zeros(size, len(labels), dtype=torch.bool, device=device)
    asked[:, :2] = True
    with FlopCounterMode(display=False) as counter:
        scorer.logits(pixels[:1], text)

    def in_loop() -> None:
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            one_by_one(scorer, labels, pixels[:loop], asked[:loop])

    fast, slow = size / seconds(lambda: batched(scorer, text, pixels, asked)), loop / seconds(in_loop)
    return {
        "batch": size,
        "images_per_second": round(fast, 1),
        "papers' loop": round(slow, 2),
        "times the papers' loop": round(fast / slow, 1),
        "mfu_of_float32": round(fast * counter.get_total_flops() / peak_flops(device, torch.float32), 3),
        **memory(device),
    }


def seconds(run: Callable[[], Any]) -> float:
    """The fastest of three turns after one that warms up."""
    found = []
    for _ in range(4):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small networks, for any machine")
    parser.add_argument("--output", type=Path, help="by default benchmarks/results/gpu_DEVICE_DATE.json")
    options = parser.parse_args(arguments)
    if not (options.tiny or torch.cuda.is_available()):
        parser.error("there is no CUDA device here; --tiny shows that the benchmark runs")
    date = datetime.date.today().isoformat()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    output = options.output or RESULTS / f"gpu_{re.sub(r'[^a-z0-9]+', '_', device.lower())}_{date}.json"
    found: dict[str, Any] = {"machine": machine(), "date": date, "tiny": options.tiny}

    def note(part: str, name: str, measured: Any) -> None:
        found.setdefault(part, {})[name] = measured
        print(f"{part}, {name}: {json.dumps(measured)}", flush=True)
        write_json(output, found)

    for name in SHAPES:
        note("rendering", name, list(rendering(name, options.tiny)))
    clips = {"local-dir:models/pocket/clip": (8, 2)} if options.tiny else {"ViT-B-32": (256, 16), "ViT-L-14": (256, 16)}
    for model, (size, loop) in clips.items():
        note("scoring", model, scoring(model, size, loop))
    for name, case in (TINY_TRAINED if options.tiny else TRAINED).items():
        note("training", name, measure(case, 1 if options.tiny else 3))


if __name__ == "__main__":
    main()
