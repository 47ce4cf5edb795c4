"""The semantic diversity loss against a loop over the images: time and peak memory of one forward and backward pass.

    python -m benchmarks.semantic_loss

Two loops: ``published`` multiplies every dimension of every row out before it sums, as the paper's released code does;
``lean`` is the loop at its best, one small matrix product an image. Each runs in a process of its own with one thread: the
median processor time of the steps, and the most that the tensors of one step take together, by torch's profiler.
Writes benchmarks/results/semantic_loss.json.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from models.losses import SemanticDiversityLoss

BATCH, LABELS, ROWS, DIM, TAGS = 64, 925, 7, 300, 8  # NUS-WIDE's shapes; 1 to 15 labels an image, 8 on average
REGULARISATION = 0.3
RESULTS = Path(__file__).parent / "results" / "semantic_loss.json"


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices (B, M, D), targets (B, N), unit label vectors (N, D)."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(BATCH, ROWS, DIM, generator=generator).requires_grad_()
    vectors = F.normalize(torch.randn(LABELS, DIM, generator=generator), dim=1)
    counts = torch.randint(1, 2 * TAGS, (BATCH, 1), generator=generator)
    order = torch.rand(BATCH, LABELS, generator=generator).argsort(1)
    return matrix, (order < counts).long(), vectors


def image_loss(matrix: Tensor, scores: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
    own, others = scores[target == 1], scores[target == 0]
    rank = F.softplus(others[None] - own[:, None]).sum() / len(own)
    weight = 1 + vectors[target == 1].var(0).sum() if len(own) > 1 else 1
    return 2 * ((1 - REGULARISATION) * weight * rank + REGULARISATION * matrix.var(0).sum())


def lean(matrix: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    losses = [image_loss(a, (a @ vectors.t()).amax(0), y, vectors) for a, y in zip(matrix, targets, strict=True)]
    return torch.stack(losses).mean()


def published(matrix: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    products = [(matrix[:, k, :, None] * vectors.t()[None]).sum(1) for k in range(ROWS)]
    scores = torch.stack(products).amax(0)
    losses = [image_loss(a, s, y, vectors) for a, s, y in zip(matrix, scores, targets, strict=True)]
    return torch.stack(losses).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "figment": SemanticDiversityLoss(REGULARISATION),
    "lean": lean,
    "published": published,
}


def peak_mib(step: Callable[[], object]) -> float:
    """The most that the tensors made by ``step`` take at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    with tempfile.TemporaryDirectory() as folder:
        profiled.export_chrome_trace(f"{folder}/trace.json")
        trace = json.loads(Path(folder, "trace.json").read_text(encoding="utf-8"))
    events = sorted((e for e in trace["traceEvents"] if e["name"] == "[memory]"), key=lambda e: e["ts"])
    return max(accumulate(e["args"]["Bytes"] for e in events)) / 2**20


def measure(name: str, steps: int = 20) -> dict[str, float]:
    """Milliseconds and mebibytes of one loss, in this process."""
    torch.set_num_threads(1)
    matrix, targets, vectors = inputs()
    matrix.grad = torch.zeros_like(matrix)

    def step() -> float:
        loss = LOSSES[name](matrix, targets, vectors)
        loss.backward()
        return loss.item()

    loss, seconds = step(), []
    for _ in range(steps):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return {"ms": 1e3 * statistics.median(seconds), "peak_mib": peak_mib(step), "loss": loss}


def main() -> None:
    rows = {}
    for name in LOSSES:
        command = [sys.executable, "-m", "benchmarks.semantic_loss", name]
        rows[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, row in rows.items():
        row["times_figment"] = row["ms"] / rows["figment"]["ms"]
        print(
            f"{name:10} {row['ms']:8.2f} ms {row['peak_mib']:8.1f} MiB {row['times_figment']:6.1f}x  loss {row['loss']:.4f}"
        )
    shapes = {"batch": BATCH, "labels": LABELS, "rows": ROWS, "dim": DIM, "mean_tags": TAGS, "threads": 1}
    machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    RESULTS.write_text(json.dumps({"shapes": shapes, "software": machine, "losses": rows}, indent=2) + "\n")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1]))) if len(sys.argv) > 1 else main()
