"""Learned words (textual inversion, Gal et al. 2022): vectors that a text encoder reads where a prompt says ``<class name>``.

A concepts file is safetensors: ``concept.<class name>`` (V, D) for the first text encoder, ``concept_2.<class name>`` for a
second one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import digest
from figment.planning.row import seed_of
from figment.text import reason_of

STAND_IN = "a"  # one token of every tokenizer; what is read in its place is the concept
Vectors = Mapping[str, Tensor]  # text encoder's name in the pipeline -> (V, D) float32
_TENSOR = re.compile(r"concept(_\d)?\.(.+)", re.DOTALL)


def placeholder(name: str) -> str:
    """What a prompt says where the concept ``name`` belongs: ``<name>``."""
    return f"<{name}>"


def text_encoders(pipeline: DiffusionPipeline) -> dict[str, Any]:
    """The pipeline's text encoders by name: ``text_encoder``, ``text_encoder_2``, ..."""
    return {n: m for n, m in pipeline.components.items() if n.startswith("text_encoder") and m is not None}


def tensor_name(encoder: str, name: str) -> str:
    """The key in a concepts file of the vectors that ``encoder`` reads for the concept ``name``."""
    return f"{encoder.replace('text_encoder', 'concept')}.{name}"


def concept_of(tensor: str) -> tuple[str, str] | None:
    """(text encoder, concept) of a key in an adapter file, None for one that holds weights."""
    found = _TENSOR.fullmatch(tensor)
    return found and (f"text_encoder{found[1] or ''}", found[2])


def add_noise(vectors: Vectors, sigma: float, seed: int) -> Vectors:
    """S_v = S + sigma z with z ~ N(0, I) of its own for every vector (DIAGen, embedding noise); ``sigma`` is the standard
    deviation of a coordinate."""
    generator = torch.Generator().manual_seed(seed)
    return {n: v + sigma * torch.randn(v.shape, generator=generator) for n, v in sorted(vectors.items())}


def noise_seed(adapter: str, concept: str, noise: float, draw: str, image_seed: int) -> int:
    """The seed of z: rows with the same word ``draw`` share it, without one each image has its own."""
    return seed_of(digest([adapter, concept, noise, draw or image_seed]))


def relative_noise(adapter: Path, concept: str, sigma: float) -> float:
    """The absolute standard deviation that is ``sigma`` times the mean norm of the concept's vectors (first encoder).

    Noise of D coordinates is then about sigma sqrt(D) times as long as the vector it is added to.
    """
    try:
        with safe_open(adapter, "pt") as file:
            key = tensor_name("text_encoder", concept)
            if key not in file.keys():  # noqa: SIM118, no mapping
                raise InputError(f"adapter {adapter}: holds no concept {concept!r}; learn it, or take another class")
            return sigma * float(file.get_tensor(key).float().norm(dim=1).mean())
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"adapter {adapter}: not a concepts file ({reason_of(error)}); give one that Figment learned"
        ) from error


@contextmanager
def concepts_in_place(
    pipeline: DiffusionPipeline, prompts: Sequence[str], concepts: Sequence[tuple[str, Vectors]]
) -> Iterator[list[str]]:
    """The texts to encode, one a prompt and all in one call: within the block the text encoders read ``concepts[i]``, a name
    and its vectors, where ``prompts[i]`` says ``<name>``. Gradients reach the vectors.

    An ordinary word stands in its place, so that neither tokenizers nor embedding matrices change and pooled states are
    read off the same end token. Raises InputError for a prompt that does not say its concept, or says it too late.
    """
    said = [
        _stand_in(prompt, name, len(next(iter(vectors.values()))))
        for prompt, (name, vectors) in zip(prompts, concepts, strict=True)
    ]
    with ExitStack() as stack:
        for component, encoder in text_encoders(pipeline).items():
            tokenizer = pipeline.components[component.replace("text_encoder", "tokenizer")]
            rows, columns, values = [], [], []
            for i, ((text, starts), (name, vectors)) in enumerate(zip(said, concepts, strict=True)):
                if component not in vectors:
                    raise InputError(
                        f"concept {name!r}: has no vectors for the generator's {component}; learn it again with it"
                    )
                places = _places(tokenizer, text, starts)
                if not places:
                    raise InputError(
                        f"prompt {prompts[i]!r}: {placeholder(name)} stands behind the {tokenizer.model_max_length} tokens that "
                        f"the {component} reads; say it earlier"
                    )
                rows += [i] * len(places)
                columns += places
                values += [vectors[component]] * (len(places) // len(vectors[component]))
            place = torch.tensor(rows), torch.tensor(columns)
            stack.callback(_replace(encoder.get_input_embeddings(), place, torch.cat(values)).remove)
        yield [text for text, _ in said]


def _stand_in(prompt: str, name: str, count: int) -> tuple[str, list[int]]:
    """The prompt with ``count`` stand-ins for each placeholder, and where in the text they are."""
    first, *others = prompt.split(placeholder(name))
    if not others:
        raise InputError(f"prompt {prompt!r}: says {placeholder(name)} nowhere, the place of its concept; put it in")
    text, starts = first, []
    for part in others:
        for _ in range(count):
            text += " "
            starts.append(len(text))
            text += STAND_IN
        text += f" {part}"
    return text, starts


def _places(tokenizer: Any, text: str, starts: Sequence[int]) -> list[int]:
    """Positions of the stand-ins' tokens; none if any of them is cut off."""
    tokens = tokenizer(text)
    places = [tokens.char_to_token(start) for start in starts]
    last = tokenizer.model_max_length - 2  # before the end token
    return places if max(places) <= last else []


def _replace(embedding: nn.Module, place: tuple[Tensor, Tensor], values: Tensor) -> Any:
    """A hook: what ``embedding`` reads at ``place`` (rows, columns) is ``values`` instead."""

    def replace(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        index = tuple(i.to(output.device) for i in place)
        return output.index_put(index, values.to(output.device, output.dtype))

    return embedding.register_forward_hook(replace)
