"""Ways to spoil a copy of a model's folder, or to plant code in it that writes a file if it is ever run."""

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from figment.errors import InputError

GENERATOR, CLIP, CHAT = (Path("models/pocket", name) for name in ("diffusion", "clip", "chat"))
Harm = Callable[[Path], Any]


def copy(source: Path, folder: Path) -> Path:
    """A copy to spoil, with ``evil.py`` in it and in each of its folders."""
    shutil.copytree(source, folder)
    marker = folder.parent / "marker"
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for name in ("evil", "None", "generate"):
            (place / f"{name}.py").write_text(code(marker))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code(marker))
    return folder


def code(marker: Path) -> str:
    """A module that writes ``marker`` when it is imported, whatever is asked of it."""
    return (
        f"open({str(marker.absolute())!r}, 'w').close()\n"
        "from transformers import LlamaConfig as Evil, CLIPTokenizer as EvilTokenizer\n"
        "from diffusers import StableDiffusionPipeline as EvilPipeline\n"
        "def generate(*_, **__): pass\n"
    )


class Gadget:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return open, (str(self.marker.absolute()), "w")


def edit(name: str, **values: Any) -> Harm:
    """Set keys of a JSON file; ``a__b`` is b in a, and ``...`` removes a key."""

    def harm(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        for path, value in values.items():
            *outer, key = path.split("__") if not path.startswith("_") else [path]
            place = content
            for part in outer:
                place = place.setdefault(part, {})
            if value is ...:
                del place[key]
            else:
                place[key] = value
        file.write_text(json.dumps(content))

    return harm


def text(name: str, content: str | bytes) -> Harm:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def remove(*names: str) -> Harm:
    return lambda folder: [shutil.rmtree(f) if (f := folder / name).is_dir() else f.unlink() for name in names]


def cut(name: str) -> Harm:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def pickled(weights: str, name: str, keep: bool = False) -> Harm:
    """The weights as a pickle with a gadget in it, in place of or beside the safetensors."""

    def harm(folder: Path) -> None:
        file = folder / weights
        (file.parent / name).write_bytes(pickle.dumps({"weight": Gadget(folder.parent / "marker")}))
        if not keep:
            file.unlink()

    return harm


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Harm:
    def harm(folder: Path) -> None:
        found = load_file(folder / name)
        change(found)
        save_file({n: value.contiguous() for n, value in found.items()}, folder / name, {"format": "pt"})

    return harm


def first_of(found: dict[str, torch.Tensor]) -> str:
    return max(found, key=lambda name: (found[name].ndim > 1, found[name].is_floating_point(), name))


def not_a_number(found: dict[str, torch.Tensor]) -> None:
    found[first_of(found)].view(-1)[0] = float("nan")


def infinite(found: dict[str, torch.Tensor]) -> None:
    found[first_of(found)].view(-1)[-1] = float("inf")


def one_less(found: dict[str, torch.Tensor]) -> None:
    del found[first_of(found)]


def other_shape(found: dict[str, torch.Tensor]) -> None:
    name = first_of(found)
    found[name] = found[name][:-1]


def both(*harms: Harm) -> Harm:
    return lambda folder: [harm(folder) for harm in harms]


def empty_vocabulary(name: str) -> Harm:
    def harm(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text())
        special = {token["content"]: token["id"] for token in content["added_tokens"]}
        content["model"] |= {"vocab": special, "merges": []}
        file.write_text(json.dumps(content))

    return harm


DEEP = "[" * 5_000 + "]" * 5_000
AUTO_MAP = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "evil.Evil")
TOKENIZER_MAP = {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]}
ODD_JSON = {
    "a list": "[]",
    "empty": "",
    "not JSON": "{",
    "NaN": '{"a": NaN}',
    "deep": f'{{"a": {DEEP}}}',
    "forty deep": f'{{"a": {"[" * 40}{"]" * 40}}}',
    "5,000 digits": f'{{"a": 1{"0" * 5_000}}}',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "a string": '"text"',
}


def refused(open_it, folder: Path, field: str) -> None:
    """One sentence, no code run."""
    with pytest.raises(InputError) as caught:
        open_it()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    assert field in message
    assert not (folder.parent / "marker").exists()


def opened_or_refused(open_it, folder: Path) -> None:
    """Code that is only there, or named where no loader looks, is ignored; it does not run."""
    with contextlib.suppress(InputError):
        open_it()
    assert not (folder.parent / "marker").exists()


def cases(harms: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("harm", harms.values(), ids=harms.keys())
