"""``words``: words learned elsewhere by textual inversion, as an adapter: ``learned_embeds.bin`` of diffusers, the tokens that
DIAGen gathers in one ``.pt``, a folder of such files, or the ``.pt`` of other tools (``string_to_param``)."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from figment.adaptation.adapters import save_adapter
from figment.errors import InputError
from figment.files import sha256_file, sha256_folder
from figment.imports.contract import Found, Importer, Options
from figment.labels import check_name
from figment.reading import name_of
from figment.synthesis.concepts import tensor_name
from figment.tensor_files import TORCH, read_tensor_file

NOISY = re.compile(r"(.+)_0?\.\d+")  # DIAGen keeps copies with noise beside a word: <car>, <car_0.005>
ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}


def _words(source: Path, name: str) -> Iterator[tuple[str, str, Tensor]]:
    """(word, text encoder, (V, D) vectors) of a file."""
    content, where = read_tensor_file(source, "learned words: a mapping from tokens to vectors"), name_of(source)
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: holds a {type(content).__name__}; expected a mapping from tokens to vectors")
    word = content.get("name")
    if isinstance(content.get("string_to_param"), Mapping):
        content = {word if isinstance(word, str) and word else name: v for v in content["string_to_param"].values()}
    for token, value in content.items():
        encoder = ENCODERS.get(str(token))
        called = name if encoder else str(token).strip().removeprefix("<").removesuffix(">")
        yield check_name(called, where), encoder or "text_encoder", _vectors(value, f"{where}: {called!r}")


def _vectors(value: Any, where: str) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (1, 2) or not value.numel():
        raise InputError(f"{where}: is no vector; expected numbers (D) or (V, D)")
    return (value[None] if value.ndim == 1 else value).float()


def _read(source: Path, folder: Path, options: Options) -> Found:
    endings = (*TORCH, ".safetensors")
    if source.is_dir():
        files = sorted(
            file for file in source.rglob("*") if file.suffix in endings and not re.search(r"-\d+$", file.stem)
        )
    else:
        files = [source]
    if not files:
        raise InputError(f"{name_of(source)}: holds no file of words; expected {', '.join(endings)}")
    found: dict[str, Tensor] = {}
    for file in files:
        for word, encoder, vectors in _words(file, options.name):
            if found.setdefault(tensor_name(encoder, word), vectors) is not vectors:
                raise InputError(f"{name_of(file)}: the word {word!r} is there twice; give each once")
    noisy = [name for name in found if (base := NOISY.fullmatch(name)) and base[1] in found]
    for name in noisy:
        del found[name]
    adapter = save_adapter(found, folder / "adapters", {"imported": "words"})
    digest = sha256_folder(source) if source.is_dir() else sha256_file(source)
    notes = (
        (f"{len(noisy)} words with noise are left out: a method's `noise` adds it while rendering",) if noisy else ()
    )
    use = "name it in a config's `adaptation: {{inversion: {{imported: {}}}}}`: the words are tried out and used as learned ones"
    return Found(digest, {"words": len(found)}, use, (*notes, f"adapter {adapter}"))


IMPORTER = Importer("adapter", "a file of learned words, or a folder of them", _read, frozenset({"name"}))
