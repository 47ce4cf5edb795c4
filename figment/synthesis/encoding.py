"""What a prompt means to a pipeline's text encoders: each distinct text is encoded once and reused."""

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from figment.errors import InputError
from figment.files import sha256_file

MAX_BYTES = 512 * 2**20  # of embeddings kept; a plan may have more prompts than memory has room
MAX_ADAPTERS = 8  # kept on the device
Meaning = dict[str, Tensor]  # argument of the pipeline -> (1, ...) tensor


def argument_names(pipeline: DiffusionPipeline) -> tuple[list[str], list[str]]:
    """Names of the tensors that ``encode_prompt`` returns, for the text itself and for the negative one.

    The order is diffusers': Stable Diffusion (2 tensors), SDXL and SD 3 (4), PixArt and Sana (4, with masks), Flux (pooled
    and not, no negative).
    """
    accepted = inspect.signature(pipeline.__call__).parameters
    if "prompt_attention_mask" in accepted:
        positive = ["prompt_embeds", "prompt_attention_mask"]
    elif "pooled_prompt_embeds" in accepted:
        positive = ["prompt_embeds", "pooled_prompt_embeds"]
    else:
        positive = ["prompt_embeds"]
    guides = "negative_prompt" in inspect.signature(pipeline.encode_prompt).parameters
    return positive, [f"negative_{name}" for name in positive] if guides else []


class PromptEncoder:
    """Embeddings of (adapter, text), least recently used dropped first. Safe to call from several threads.

    An adapter is a safetensors file of text-encoder weights, ``text_encoder.<parameter>``, named by its hash in ``adapters``:
    it changes only what prompts mean, so rows of different adapters share a batch. Adapters are read once and swapped in.
    """

    def __init__(self, pipeline: DiffusionPipeline, adapters: Path | None = None):
        self.pipeline = pipeline
        self.adapters = adapters
        self.positive, self.negative = argument_names(pipeline)
        self._meanings: OrderedDict[tuple[str, str, bool], Meaning] = OrderedDict()
        self._swaps: dict[str, Swap] = {}
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, rows: Sequence[Mapping[str, Any]], guided: bool) -> Meaning:
        """Arguments for a pipeline's call on these rows, each tensor (B, ...); negative ones only if ``guided``."""
        keys = [(row["adapter"], row["prompt"], True) for row in rows]
        against = [(row["adapter"], row["negative_prompt"], False) for row in rows] if guided and self.negative else []
        with self._lock:
            found = self._lookup({*keys, *against})
        return {
            name: torch.cat([found[k][name] for k in chosen])
            for names, chosen in ((self.positive, keys), (self.negative, against))
            if chosen
            for name in names
        }

    def _lookup(self, wanted: set[tuple[str, str, bool]]) -> dict[tuple[str, str, bool], Meaning]:
        new = sorted(wanted - self._meanings.keys())
        for adapter, keys in groupby(new, key=lambda key: key[0]):
            with self._swapped_in(adapter):
                for key in keys:
                    # One at a time: what a text means, to the last bit, must not depend on which others are new with it.
                    _, text, is_prompt = key
                    self._meanings[key] = self._encode(text) if is_prompt else self._encode_negative(text)
                    self._bytes += sum(tensor.nbytes for tensor in self._meanings[key].values())
        found = {}
        for key in wanted:
            found[key] = self._meanings[key]
            self._meanings.move_to_end(key)
        while self._bytes > MAX_BYTES and len(self._meanings) > len(wanted):
            self._bytes -= sum(tensor.nbytes for tensor in self._meanings.popitem(last=False)[1].values())
        return found

    def _encode(self, text: str) -> Meaning:
        outputs = self._call(prompt=[text], do_classifier_free_guidance=False)
        # Without guidance SDXL's four outputs still stand in their places; PixArt's and Flux's come first.
        stride = 2 if "pooled_prompt_embeds" in self.positive and self.negative else 1
        return dict(zip(self.positive, outputs[::stride], strict=False))

    def _encode_negative(self, text: str) -> Meaning:
        outputs = self._call(prompt=[""], negative_prompt=[text] if text else None, do_classifier_free_guidance=True)
        if "prompt_attention_mask" in self.positive:  # embeds, mask, negative embeds, negative mask
            return dict(zip(self.negative, outputs[2:], strict=True))
        return dict(zip(self.negative, outputs[1::2], strict=True))

    def _call(self, **arguments: Any) -> tuple[Tensor, ...]:
        parameters = inspect.signature(self.pipeline.encode_prompt).parameters
        values = {"device": self.pipeline._execution_device, "num_images_per_prompt": 1, **arguments}
        required = {
            n: None for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
        }
        return self.pipeline.encode_prompt(**(required | {n: v for n, v in values.items() if n in parameters}))

    def _swapped_in(self, adapter: str) -> "Swap":
        if adapter and adapter not in self._swaps:
            self._swaps[adapter] = Swap(read_adapter(self.adapters, adapter, self.pipeline))
            while len(self._swaps) > MAX_ADAPTERS:
                del self._swaps[next(iter(self._swaps))]
        return self._swaps.get(adapter, Swap([]))


class Swap:
    """Parameters whose values are replaced within a ``with`` block, without copying either way."""

    def __init__(self, pairs: Sequence[tuple[Any, Tensor]]):
        self.pairs = pairs

    def __enter__(self) -> None:
        self.kept: list[Any] = [parameter.data for parameter, _ in self.pairs]
        for parameter, replacement in self.pairs:
            parameter.data = replacement

    def __exit__(self, *error: object) -> None:
        for (parameter, _), original in zip(self.pairs, self.kept, strict=True):
            parameter.data = original


def read_adapter(folder: Path | None, adapter: str, pipeline: DiffusionPipeline) -> list[tuple[Any, Tensor]]:
    """The text encoders' parameters that ``<adapter>.safetensors`` replaces, and its tensors in their type and place."""
    file = (folder or Path("adapters")) / f"{adapter}.safetensors"
    if not file.is_file():
        raise InputError(f"adapter {adapter}: the plan asks for it, but {file} does not exist; put the adapter there")
    if sha256_file(file) != adapter:
        raise InputError(f"adapter {file}: its content is not what its name says; restore the file")
    encoders = {name: m for name, m in pipeline.components.items() if name.startswith("text_encoder") and m is not None}
    known = {f"{name}.{n}": parameter for name, m in encoders.items() for n, parameter in m.named_parameters()}
    pairs = []
    for name, tensor in load_file(file).items():
        parameter = known.get(name)
        if parameter is None or parameter.shape != tensor.shape:
            raise InputError(f"adapter {file}: {name} {tuple(tensor.shape)} does not fit the generator; tune it again")
        pairs.append((parameter, tensor.to(parameter.device, parameter.dtype)))
    return pairs
