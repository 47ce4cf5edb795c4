"""What a training starts from where a config names a file of weights."""

from pathlib import Path

from torch import nn

from figment.errors import InputError
from figment.files import sha256_file
from figment.model_folders import read_tensors
from figment.reading import name_of


def start_from(network: nn.Module, weights: str, field: str = "training.weights") -> int:
    """Load a safetensors file under the network's own names (``figment import weights`` makes one of any other file); the last
    layer stays as it is where the file lacks it or has other classes. Returns how many tensors were loaded.

    Raises InputError if anything else of the network is not in the file, or not of its shape.
    """
    file = Path(weights)
    if file.suffix != ".safetensors" or not file.is_file():
        raise InputError(
            f"{field}: {name_of(file)} is no .safetensors file that is there; `figment import weights` makes one of a .pth"
        )
    found, own = read_tensors(file, field), network.state_dict()
    last = getattr(network, "default_cfg", {}).get("classifier") or ()
    heads = tuple(f"{name}." for name in ((last,) if isinstance(last, str) else last))
    for name, tensor in own.items():
        fits = name in found and found[name].shape == tensor.shape
        if not fits and not (heads and name.startswith(heads)) and not name.endswith("num_batches_tracked"):
            what = f"of shape {tuple(found[name].shape)}" if name in found else "not there"
            raise InputError(
                f"{field}: {name_of(file)}: {name!r} is {what}, and the model's is {tuple(tensor.shape)}; give the weights of "
                "the same model, with its stem"
            )
    loaded = {name: found[name] for name, tensor in own.items() if name in found and found[name].shape == tensor.shape}
    network.load_state_dict(loaded, strict=False)
    return len(loaded)


def weights_key(weights: str | None) -> dict[str, str]:
    """What a result's key needs to know of a start: the file's content, nothing where there is none."""
    return {"start": sha256_file(Path(weights))} if weights and Path(weights).is_file() else {}
