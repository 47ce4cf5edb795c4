"""What a prompt means to a pipeline's text encoders: each distinct text is encoded once and reused."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from figment.errors import InputError
from figment.model_folders import check_texts, read_tensors
from figment.planning.adapters import prompt_adapters
from figment.synthesis.adapter_files import adapter_file
from figment.synthesis.concepts import Vectors, add_noise, concept_of, concepts_in_place, noise_seed, text_encoders
from figment.synthesis.families import Meaning, family_of
from figment.synthesis.loras import Loras
from figment.synthesis.prompt_lengths import parts_of

MAX_BYTES = 512 * 2**20  # of embeddings kept; a plan may have more prompts than memory has room
MAX_ADAPTERS = 8  # kept on the device
FRESH = 8  # prompts with noise of their own that are encoded together


class Key(NamedTuple):
    """What decides a meaning. Noise of an image's own (``seed``, no ``draw``) will not be asked for again."""

    adapter: str
    text: str
    is_prompt: bool = True
    concept: str = ""
    noise: float = 0.0
    draw: str = ""
    seed: int = 0
    parts: bool = False  # read in parts where it is too long

    @property
    def fresh(self) -> bool:
        return self.noise > 0 and not self.draw


def prompt_key(row: Mapping[str, Any]) -> Key:
    """The key of a plan row's prompt."""
    if not row["concept"]:
        return Key(row["adapter"], row["prompt"])
    noise, draw = row["noise"], row["noise_draw"]
    return Key(
        row["adapter"], row["prompt"], True, row["concept"], noise, draw, row["seed"] if noise and not draw else 0
    )


class PromptEncoder:
    """Embeddings of (adapter, text, concept), least recently used dropped first. Safe to call from several threads.

    An adapter is a safetensors file named by its hash in ``adapters``: text-encoder weights, ``text_encoder.<parameter>``,
    learned words (``figment.synthesis.concepts``), or both. It changes only what prompts mean, so rows of different adapters
    share a batch. Adapters are read once and their weights swapped in. A text encoder with weights of an adapter runs in
    float32, whatever the generator's type: a tuned weight differs from its base by less than bfloat16 can say. ``loras``
    switches the LoRAs of rows on.
    """

    def __init__(self, pipeline: DiffusionPipeline, adapters: Path | None = None):
        self.pipeline = pipeline
        self.adapters = adapters
        self.loras = Loras(pipeline, adapters)
        self.family = family_of(type(pipeline).__name__, pipeline.config.get("_name_or_path") or "the pipeline")
        self.dtype = next(iter(text_encoders(pipeline).values())).dtype  # of all meanings
        self._meanings: OrderedDict[Key, Meaning] = OrderedDict()
        self._read: dict[str, Adapter] = {}
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, rows: Sequence[Mapping[str, Any]], guided: bool) -> dict[str, Any]:
        """Arguments for a pipeline's call on these rows, each tensor (B, ...); negative ones only if ``guided``."""
        return self.family.batch(self.meanings(rows, guided))

    def meanings(self, rows: Sequence[Mapping[str, Any]], guided: bool) -> list[Meaning]:
        """What each row's prompt means, and its negative prompt if ``guided``."""
        keys = [prompt_key(row)._replace(parts=self._in_parts(row)) for row in rows]
        against = [Key(row["adapter"], row["negative_prompt"], False, parts=self._in_parts(row)) for row in rows]
        if not guided:
            with self._lock:
                found = self._lookup(set(keys))
            return [found[key] for key in keys]
        empty = {k._replace(text="", concept="", noise=0.0, draw="", seed=0) for k in (*keys, *against) if k.parts}
        with self._lock:
            found = self._lookup({*keys, *against, *empty})
        return [self._pair(found, key, other) for key, other in zip(keys, against, strict=True)]

    def _in_parts(self, row: Mapping[str, Any]) -> bool:
        return self.family.chunks and not row["concept"] and row.get("long_prompts", False)

    def _pair(self, found: Mapping[Key, Meaning], key: Key, against: Key) -> Meaning:
        """A row's positive and negative meaning, of one length."""
        positive, negative = found[key], found[against]
        if fit := self.family.fit_negative:
            return positive | fit(positive, negative)
        if not key.parts:
            return positive | negative
        one = found[against._replace(text="")]["negative_prompt_embeds"].shape[1]
        lengths = positive["prompt_embeds"].shape[1], negative["negative_prompt_embeds"].shape[1]
        count = max(lengths) // one
        pairs = ((positive, key), (negative, against))
        filled = [
            in_order([m] + [found[k._replace(text="")]] * (count - n // one))
            for (m, k), n in zip(pairs, lengths, strict=True)
        ]
        return filled[0] | filled[1]

    def _lookup(self, wanted: set[Key]) -> dict[Key, Meaning]:
        found: dict[Key, Meaning] = {}
        new = sorted(wanted - self._meanings.keys())
        for name, group in groupby(new, key=lambda key: key.adapter):
            adapter = self._adapters(name)
            with self.loras.on(name), Swap(adapter.weights):
                for keys in _calls(list(group)):
                    found |= {k: self._cast(meaning) for k, meaning in self._encode_keys(keys, adapter).items()}
        kept = [key for key in wanted if not key.fresh]
        for key in kept:
            if key in found:
                self._meanings[key] = found[key]
                self._bytes += sum(tensor.nbytes for tensor in found[key].values())
            found[key] = self._meanings[key]
            self._meanings.move_to_end(key)
        while self._bytes > MAX_BYTES and len(self._meanings) > len(kept):
            self._bytes -= sum(tensor.nbytes for tensor in self._meanings.popitem(last=False)[1].values())
        return found

    def _encode_keys(self, keys: Sequence[Key], adapter: "Adapter") -> dict[Key, Meaning]:
        first = keys[0]
        if not first.concept:
            parts = parts_of(self.family, self.pipeline, first.text) if first.parts else [first.text]
            return {first: in_order([self.family.split(self.encode([p], not first.is_prompt))[0] for p in parts])}
        concepts = [(key.concept, adapter.vectors(key)) for key in keys]
        with concepts_in_place(self.pipeline, [key.text for key in keys], concepts) as texts:
            return dict(zip(keys, self.family.split(self.encode(texts)), strict=True))

    def _cast(self, meaning: Meaning) -> Meaning:
        return {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in meaning.items()}

    def encode(self, texts: list[str], negative: bool = False) -> dict[str, Any]:
        """The arguments for texts encoded in one call, each tensor (B, ...), in the text encoder's present type."""
        for name, part in self.pipeline.components.items():
            if name.startswith("tokenizer") and part is not None:
                check_texts(part, texts, f"generator.model: {name}: the prompt")
        return self.family.read(self.pipeline, texts, negative)

    def _adapters(self, names: str) -> "Adapter":
        """What a row's ``adapter`` changes of the prompts' meaning."""
        found = [self._adapter(name) for name in prompt_adapters(names)]
        if len(found) < 2:
            return found[0] if found else NO_ADAPTER
        return Adapter(
            found[0].file,
            [pair for a in found for pair in a.weights],
            {n: v for a in found for n, v in a.concepts.items()},
        )

    def _adapter(self, name: str) -> "Adapter":
        if name not in self._read:
            self._read[name] = read_adapter(self.adapters, name, self.pipeline)
            while len(self._read) > MAX_ADAPTERS:
                del self._read[next(iter(self._read))]
        return self._read[name]


def in_order(parts: Sequence[Meaning]) -> Meaning:
    """The meaning of a text that was read in parts: their embeddings one behind the other, pooled ones of the first."""
    if len(parts) == 1:
        return parts[0]
    return {n: torch.cat([p[n] for p in parts], 1) if v.dim() > 2 else v for n, v in parts[0].items()}


def _calls(keys: Sequence[Key]) -> list[list[Key]]:
    """The keys of one adapter, those of one call of the text encoder together.

    One at a time, or always in calls of the same size: what a text means, to the last bit, must not depend on which others
    are new with it.
    """
    fresh = [key for key in keys if key.fresh]
    full = fresh + fresh[-1:] * (-len(fresh) % FRESH)
    return [[key] for key in keys if not key.fresh] + [full[i : i + FRESH] for i in range(0, len(full), FRESH)]


@dataclass(frozen=True)
class Adapter:
    """What an adapter file holds: (parameter, its replacement) pairs, and concepts' vectors by name."""

    file: Path
    weights: Sequence[tuple[Any, Tensor]]
    concepts: Mapping[str, Vectors]

    def vectors(self, key: Key) -> Vectors:
        """The vectors of the key's concept, with its noise."""
        if not key.adapter:
            raise InputError(
                f"concept {key.concept!r}: its row names no adapter; plan with the hash of the file that holds the concept"
            )
        if key.concept not in self.concepts:
            known = ", ".join(sorted(self.concepts)) or "none"
            raise InputError(
                f"adapter {self.file}: holds no concept {key.concept!r}, its concepts: {known}; plan with one of them"
            )
        vectors = self.concepts[key.concept]
        if not key.noise:
            return vectors
        seed = noise_seed(key.adapter, key.concept, key.noise, key.draw, key.seed)
        return add_noise(vectors, key.noise, seed)


NO_ADAPTER = Adapter(Path(), (), {})


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


def read_adapter(folder: Path | None, adapter: str, pipeline: DiffusionPipeline) -> Adapter:
    """What ``<adapter>.safetensors`` holds, in float32: weights where the text encoders' own are, with the others of the
    same encoder, so that it can run in float32; and concepts."""
    file = adapter_file(folder, adapter)
    encoders = text_encoders(pipeline)
    known = {
        f"{name}.{n.replace('.base_layer.', '.')}": parameter  # so called where a LoRA is around a layer
        for name, m in encoders.items()
        for n, parameter in m.named_parameters()
        if ".lora_" not in n
    }
    tuned: dict[str, Tensor] = {}
    concepts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(file, "adapter").items():
        parameter, learned = known.get(name), concept_of(name)
        if parameter is not None and parameter.shape == tensor.shape:
            tuned[name] = tensor.to(parameter.device, torch.float32)
        elif learned and learned[0] in encoders and tensor.shape[1:] == (width(encoders[learned[0]]),):
            concepts.setdefault(learned[1], {})[learned[0]] = tensor.float()
        else:
            raise InputError(f"adapter {file}: {name} {tuple(tensor.shape)} does not fit the generator; tune it again")
    for word, vectors in concepts.items():
        if len({len(v) for v in vectors.values()}) > 1:
            raise InputError(f"adapter {file}: concept {word!r} has more vectors for one text encoder than for another")
    touched = {name.partition(".")[0] for name in tuned}
    weights = [
        (parameter, tuned.get(name, parameter.detach().float()))
        for name, parameter in known.items()
        if name.partition(".")[0] in touched
    ]
    return Adapter(file, weights, concepts)


def width(encoder: Any) -> int:
    """D of the vectors that a text encoder reads."""
    return encoder.get_input_embeddings().weight.shape[1]
