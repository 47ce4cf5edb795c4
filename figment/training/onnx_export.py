"""A classifier as an ONNX file: for runtimes without Python, checked against torch and timed beside it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import atomic
from figment.training.saved import SavedModel

PIXELS, PROBABILITIES = "pixels", "probabilities"
TOLERANCE = 1e-4  # of a probability, between the two
BATCHES = (1, 32)  # that are timed
REPEATS = 30


@dataclass(frozen=True)
class Comparison:
    """``difference``: the largest between probabilities; medians in milliseconds a batch, by its size."""

    images: int
    difference: float
    torch_ms: dict[int, float]
    onnx_ms: dict[int, float]


def export_onnx(model: nn.Module, saved: SavedModel, path: Path) -> None:
    """Write ``model`` ((N, 3, S, S) float in [0, 1] to (N, C)) to one file, batch dimension free. Its metadata, as JSON:
    ``labels``, the names of the C classes; ``preprocessing``, of which ``mean`` and ``std`` are applied within."""
    size = saved.preprocessing.image_size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with atomic(path) as unfinished:
        torch.onnx.export(
            model.eval(),
            (example,),
            unfinished,
            input_names=[PIXELS],
            output_names=[PROBABILITIES],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        written = onnx.load(unfinished)
        said = {"labels": list(saved.labels.names), "preprocessing": saved.preprocessing.model_dump(mode="json")}
        onnx.helper.set_model_props(written, {name: json.dumps(value) for name, value in said.items()})
        onnx.save(written, unfinished)


def compare(model: nn.Module, path: Path, pixels: Tensor) -> Comparison:
    """The file against the model on ``pixels`` (N, 3, S, S) float in [0, 1], all at once and one by one. Raises InputError
    if they disagree by more than ``TOLERANCE``."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def by_onnx(batch: Tensor) -> np.ndarray:
        return session.run([PROBABILITIES], {PIXELS: batch.numpy()})[0]

    with torch.inference_mode():
        expected = model(pixels).numpy()
        single = np.concatenate([by_onnx(image[None]) for image in pixels[:8]])
        difference = max(np.abs(by_onnx(pixels) - expected).max(), np.abs(single - expected[:8]).max())
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path}: probabilities differ from torch's by up to {difference:.2g}, more than {TOLERANCE:g}; do not use it"
            )
        batches = {size: pixels[torch.arange(size) % len(pixels)] for size in BATCHES}
        return Comparison(
            len(pixels),
            float(difference),
            {size: median_ms(partial(model, batch)) for size, batch in batches.items()},
            {size: median_ms(partial(by_onnx, batch)) for size, batch in batches.items()},
        )


def median_ms(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Milliseconds of a call in the median, after three that warm up."""
    times = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]) * 1000)
