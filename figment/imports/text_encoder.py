"""``text-encoder``: the state of a generator's text encoder that was tuned elsewhere, such as ``text_encoder_param.pth`` of
"Diverse and Tailored Image Generation", as an adapter."""

from pathlib import Path

import torch

from figment.adaptation.adapters import save_adapter
from figment.errors import InputError
from figment.files import sha256_file
from figment.imports.contract import Found, Importer, Options
from figment.reading import name_of
from figment.tensor_files import read_tensor_file, state_of

EMBEDDING = "embeddings.token_embedding.weight"
BUFFERS = ("position_ids",)


def own_prefix() -> str:
    """What the installed transformers puts before the names of a CLIP text encoder's weights: some versions ``text_model.``."""
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        small = CLIPTextConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
        names = CLIPTextModel(small).state_dict()
    return next(name[: -len(EMBEDDING)] for name in names if name.endswith(EMBEDDING))


def _read(source: Path, folder: Path, options: Options) -> Found:
    where = name_of(source)
    tensors = state_of(read_tensor_file(source, "the state of a text encoder of transformers"), where)
    prefix = next((name[: -len(EMBEDDING)] for name in tensors if name.endswith(EMBEDDING)), None)
    if prefix is None:
        raise InputError(f"{where}: holds no {EMBEDDING!r}; expected the state of a CLIP text encoder of transformers")
    before = own_prefix()
    own = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    weights = {
        f"text_encoder.{before}{n}": v.float()
        for n, v in own.items()
        if not n.endswith(BUFFERS) and v.is_floating_point()
    }
    adapter = save_adapter(weights, folder / "adapters", {"imported": "text-encoder"})
    use = "name it in a config's `adaptation: {{imported: {}}}`: it is measured against the base encoder, and rendered with"
    return Found(sha256_file(source), {"tensors": len(weights)}, use, (f"adapter {adapter}",))


IMPORTER = Importer("adapter", "a torch file with the encoder's state", _read, frozenset({"name"}))
