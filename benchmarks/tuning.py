"""What a step of text-encoder tuning costs, in time and memory, with and without checkpointing and truncation.

    python -m benchmarks.tuning [--model FOLDER] [--size 32] [--steps 12] [--batch 8]

Each setting in a process of its own; the memory is that process's peak, less what it held before the first step (on a GPU: what
torch allocated at most). Writes benchmarks/results/tuning.json.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from figment.adaptation.stage import Material
from figment.adaptation.text_encoder import Tuner, TuningConfig
from figment.clip.scorer import ClipConfig
from figment.files import write_json
from figment.labels import LabelSpace
from figment.planning.generator_config import GeneratorConfig
from figment.prompts.pair_book import template_prompts
from figment.prompts.pairs import label_pairs
from figment.synthesis.config import SynthesisConfig
from figment.validation.policies import CocoPolicy

RESULT = Path(__file__).parent / "results" / "tuning.json"
SPACE = LabelSpace.of(["dog", "banana", "truck"])
MEASURED = 5  # steps


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds a step and MiB, of this process."""
    generator = GeneratorConfig(model=options.model, width=options.size, height=options.size, guidance_scale=4.0)
    config = TuningConfig(
        batch_size=options.batch,
        width=options.size,
        height=options.size,
        num_inference_steps=options.steps,
        differentiated_steps=options.differentiated or None,
        checkpointing=options.checkpointing,
        device=options.device,
    )
    clip = ClipConfig(model=options.clip)
    tuner = Tuner(Material(Path("out"), SPACE, generator, clip, SynthesisConfig(), CocoPolicy()), config)
    prompts = template_prompts(label_pairs(SPACE))
    on_gpu = tuner.device.type == "cuda"
    held = torch.cuda.memory_allocated() if on_gpu else peak()
    tuner.step(prompts, 0)
    start = time.perf_counter()
    for number in range(1, 1 + MEASURED):
        tuner.step(prompts, number)
    seconds = (time.perf_counter() - start) / MEASURED
    most = torch.cuda.max_memory_allocated() if on_gpu else peak()
    return {"seconds": round(seconds, 3), "mib": round((most - held) / 2**20)}


def peak() -> int:
    """Bytes of main memory that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/pocket/diffusion")
    parser.add_argument("--clip", default="local-dir:models/pocket/clip")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--differentiated", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.differentiated is not None:
        print(json.dumps(measure(options)))
        return
    found = {}
    for differentiated in (0, options.steps // 2, max(1, options.steps // 12)):
        for checkpointing in (False, True):
            command = [
                sys.executable,
                "-m",
                "benchmarks.tuning",
                *sys.argv[1:],
                "--differentiated",
                str(differentiated),
            ]
            output = subprocess.run(
                [*command, *(["--checkpointing"] if checkpointing else [])], check=True, capture_output=True, text=True
            ).stdout
            name = f"{differentiated or 'all'} of {options.steps} steps, {'checkpointed' if checkpointing else 'plain'}"
            found[name] = json.loads(output.splitlines()[-1])
            print(name, found[name], flush=True)
    write_json(
        RESULT,
        {
            "settings": {"model": options.model, "size": options.size, "batch": options.batch},
            "device": torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else f"CPU, {torch.get_num_threads()} threads",
            "measured": found,
            "software": {"python": platform.python_version(), "torch": torch.__version__},
        },
    )


if __name__ == "__main__":
    main()
