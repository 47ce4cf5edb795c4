"""LoRAs in a resident pipeline: loaded when a row first asks for one, on for as long as its rows are encoded and rendered."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from diffusers.utils.peft_utils import set_adapter_layers, set_weights_and_activate_adapters

from figment.model_folders import one_sentence
from figment.model_loaders.lora import check_lora
from figment.planning.adapters import AdapterPart, loras_of
from figment.synthesis.adapter_files import adapter_file

MAX_LORAS = 8  # kept on the device


class Loras:
    """Which LoRAs a pipeline's networks have on. All lanes share the networks: those whose rows want the same LoRAs use them
    together, others wait."""

    def __init__(self, pipeline: DiffusionPipeline, folder: Path | None):
        self.pipeline, self.folder = pipeline, folder
        self._loaded: list[str] = []  # the one used last at the end
        self._now: tuple[AdapterPart, ...] = ()
        self._users = 0
        self._changed = threading.Condition()

    @contextmanager
    def on(self, adapter: str) -> Iterator[None]:
        """Within the block the networks have the LoRAs of a row's ``adapter``, and no others."""
        wanted = loras_of(adapter)
        with self._changed:
            self._changed.wait_for(lambda: not self._users or self._now == wanted)
            if self._now != wanted:
                self._switch(wanted)
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _switch(self, wanted: tuple[AdapterPart, ...]) -> None:
        for part in wanted:
            if part.name in self._loaded:
                self._loaded.remove(part.name)
            else:
                self._load(part.name)
            self._loaded.append(part.name)
        while len(self._loaded) > max(MAX_LORAS, len(wanted)):
            self.pipeline.delete_adapters(self._loaded.pop(0))
        for network in self._networks().values():
            if wanted:
                set_weights_and_activate_adapters(network, [p.name for p in wanted], [p.weight for p in wanted])
            set_adapter_layers(network, enabled=bool(wanted))
        self._now = wanted

    def _load(self, name: str) -> None:
        file = adapter_file(self.folder, name)
        what = f"LoRA {file}"
        check_lora(file, type(self.pipeline), self._networks(), what)
        with one_sentence(f"{what}: cannot be loaded", "give a LoRA that was trained for this model"):
            self.pipeline.load_lora_weights(
                str(file.parent), weight_name=file.name, adapter_name=name, local_files_only=True, use_safetensors=True
            )

    def _networks(self) -> dict[str, Any]:
        parts = getattr(self.pipeline, "_lora_loadable_modules", ())
        return {part: network for part in parts if (network := getattr(self.pipeline, part, None)) is not None}
