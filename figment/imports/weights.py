"""``weights``: of any timm model, from its own release or from others' training, under timm's names: what a training starts from.

Tensors are matched by name and shape, after prefixes that wrappers add, and after what timm itself knows of the names in a
model's original release.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import sha256_file
from figment.imports.contract import Found, Importer, Options
from figment.labels import nearest
from figment.reading import name_of
from figment.tensor_files import read_tensor_file, state_of

FILE = "weights.safetensors"
PREFIX = re.compile(r"^(?:module|model|backbone|network|net|encoder|body|_orig_mod)\.")
OPTIONAL = ("num_batches_tracked",)  # BatchNorm counts for a momentum that no one uses


def _spellings(tensors: Mapping[str, Tensor], network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The tensors under the names that they may mean."""
    found = dict(tensors)
    for _ in range(4):
        yield found
        own = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        for renamed in (found, {f"body.{name}": value for name, value in found.items()}):
            if own is None:
                break
            try:
                result = own(dict(renamed), network)
            except Exception:  # it knows other names
                continue
            if isinstance(result, Mapping):
                yield {str(name): value for name, value in result.items() if isinstance(value, Tensor)}
        found = {PREFIX.sub("", name): value for name, value in found.items()}


def match(tensors: Mapping[str, Tensor], network: nn.Module, where: str) -> tuple[dict[str, Tensor], list[str]]:
    """Those of ``tensors`` that are ``network``'s, under its names, and the names in the file of nothing of it. The last layer
    may lack, or have other classes. Raises InputError if anything else of the network has no weights."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    best: dict[str, Tensor] = {}
    left = sorted(tensors)
    for spelling in _spellings(tensors, network):
        fitting = {name: value for name, value in spelling.items() if shapes.get(name) == value.shape}
        if len(fitting) > len(best):
            best, left = fitting, sorted(spelling.keys() - fitting.keys())
    last = getattr(network, "default_cfg", {}).get("classifier") or ()
    heads = tuple(f"{name}." for name in ((last,) if isinstance(last, str) else last))
    wanted = [name for name in shapes if not name.startswith(heads or "\0") and not name.endswith(OPTIONAL)]
    missing = [name for name in wanted if name not in best]
    if missing:
        first = missing[0]
        raise InputError(
            f"{where}: has no weights for {len(missing)} of {len(wanted)} tensors of the model, the first is {first!r} of shape "
            f"{tuple(shapes[first])}; what it has and does not fit begins with {', '.join(left[:3]) or 'nothing'}"
        )
    return best, left


def _read(source: Path, folder: Path, options: Options) -> Found:
    where = name_of(source)
    if options.model not in timm.list_models():
        hint = ", ".join(nearest(options.model, timm.list_models()))
        raise InputError(f"--model: timm has no {options.model!r}; the nearest names are {hint}")
    tensors = state_of(read_tensor_file(source, f"the weights of {options.model}"), where)
    with torch.device("meta"):
        network = timm.create_model(options.model)
    found, left = match(tensors, network, where)
    save_file({name: value.contiguous() for name, value in found.items()}, folder / FILE, {"model": options.model})
    note = (f"not taken: {len(left)} tensors, such as {', '.join(left[:3])}",) if left else ()
    use = "name it in a config's `training: {{weights: {}}}`"
    return Found(sha256_file(source), {"tensors": len(found)}, use, note, FILE)


IMPORTER = Importer(
    "weights",
    "a .safetensors or torch file (.pth, .pt, .bin, .ckpt)",
    _read,
    frozenset({"name", "model"}),
    frozenset({"model"}),
)
