"""The lanes: each renders a batch at a time, on generators that share weights. Out of memory halves the batches."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from figment.errors import InputError
from figment.planning.row import IMPORTED
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, Inputs, Rendering

SMALL_NETWORK = 50_000_000  # parameters below which one batch does not fill a CPU: a lane a core is faster


class Renderers:
    """Resident generators, and the batch size that fits."""

    def __init__(self, config: SynthesisConfig, inputs: Inputs | None = None):
        self.config, self.inputs = config, inputs or Inputs()
        self.batch_size = config.batch_size
        self._generators: dict[tuple[str, str], Generator] = {}
        self._local = threading.local()
        self._kept: dict[tuple[str, ...], Rendering] = {}

    def load(self, model: str, revision: str) -> Generator:
        """The resident generator of these weights, loaded on first use."""
        if model.startswith(IMPORTED):
            raise InputError(
                "images: an imported image is damaged or missing; run the same command again to copy it again"
            )
        if (model, revision) not in self._generators:
            self._generators[model, revision] = Generator(model, revision, self.config, self.inputs)
        return self._generators[model, revision]

    def lanes(self) -> int:
        """Batches to render at once: on a GPU one; on a CPU one a core if every network is too small to fill them."""
        if self.config.offload != "none":
            return 1  # networks come and go, for one batch at a time
        if self.config.lanes:
            return self.config.lanes
        sizes = [sum(p.numel() for p in g.denoiser.parameters()) for g in self._generators.values()]
        on_cpu = all(g.device.type == "cpu" for g in self._generators.values())
        return torch.get_num_threads() if on_cpu and max(sizes) < SMALL_NETWORK else 1

    def keep(self, made: Sequence[tuple[Sequence[Mapping[str, Any]], Rendering]]) -> None:
        """Hand these out, once, when the same batches are asked for again."""
        self._kept |= {_ids(rows): rendering for rows, rendering in made}

    def unload(self) -> None:
        """Give the memory back, for other processes on the same device; ``load`` loads again."""
        self._generators, self._local, self._kept = {}, threading.local(), {}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def render(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Sequence[Mapping[str, Any]], Rendering]]:
        """The rows' images, in as many parts as memory asks for."""
        key = (rows[0]["model"], rows[0]["revision"])
        own: dict[tuple[str, str], Generator] = vars(self._local).setdefault("generators", {})
        if key not in own:
            own[key] = self._generators[key].lane()
        start = 0
        while start < len(rows):
            part = rows[start : start + self.batch_size]
            try:
                rendering = self._kept.pop(_ids(part), None) or own[key].render(part, self.batch_size)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise InputError(
                        f"synthesis: one image of {rows[0]['width']} x {rows[0]['height']} does not fit in memory; "
                        "set vae_slicing, a smaller dtype, or another device"
                    ) from error
                self.batch_size = min(self.batch_size, max(1, len(part) // 2))
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield part, rendering
            start += len(part)


def _ids(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(row["image_id"] for row in rows)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the CPU's allocator, had no room left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
