"""``generator``: a text-to-image checkpoint of one file, the form of most community models, as a folder of diffusers.

Such a file has no configs and no tokenizers. They come from a folder of diffusers of the same architecture (``--config``), or
from the hub's cache of the model that diffusers takes the file for; weights that the file lacks come from there too.
"""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from figment.errors import InputError
from figment.files import sha256_file, write_json
from figment.imports.contract import Found, Importer, Options
from figment.model_folders import check_files, one_sentence, read_json, read_tensors
from figment.model_loaders.hub import CONFIGS
from figment.model_loaders.pipelines import check_pipeline, component_classes
from figment.reading import name_of, why_unreadable
from figment.synthesis.families import family_of
from figment.tensor_files import LARGEST, read_tensor_file, state_of

FOLDER = "model"  # by itself, so that its digest does not depend on the record beside it
EXPECTED = "a text-to-image checkpoint (.safetensors, .ckpt)"
DENOISERS = ("model.diffusion_model.", "double_blocks.", "joint_blocks.")  # with what the names of such weights begin
PLAIN = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


def _tensors(source: Path, where: str) -> dict[str, Tensor]:
    """The checkpoint's tensors, which are finite."""
    if source.suffix.lower() != ".safetensors":
        return state_of(read_tensor_file(source, EXPECTED), where)
    if why := why_unreadable(source, LARGEST):
        raise InputError(f"{where}: not readable weights ({why}); expected {EXPECTED}")
    with one_sentence(f"{where}: not readable weights", f"expected {EXPECTED}"), safe_open(source, "pt") as found:
        types = {found.get_slice(name).get_dtype() for name in found.keys()}  # noqa: SIM118, no mapping
    if other := sorted(types - PLAIN):
        raise InputError(f"{where}: its weights are quantised ({other[0]}); give the full ones, such as float16")
    return read_tensors(source, where)


def _config(options: Options, tensors: dict[str, Tensor], where: str) -> Path:
    """The folder with the configs."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    if options.config:
        return options.config
    advice = "name a folder of diffusers of its architecture by --config"
    if not any(name.startswith(DENOISERS) for name in tensors):
        raise InputError(f"{where}: is no checkpoint that diffusers knows by its names; {advice}")
    model = fetch_diffusers_config(tensors)["pretrained_model_name_or_path"]
    try:
        return Path(snapshot_download(model, allow_patterns=CONFIGS, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{where}: looks like {model}, whose configs are not in the hub's cache; download them once, or {advice}"
        ) from error


def _read(source: Path, folder: Path, options: Options) -> Found:
    import diffusers

    where, file = name_of(source), source
    tensors = _tensors(source, where)
    config = _config(options, tensors, where)
    parts = component_classes(config, "--config")
    for part in parts:
        check_files(config / part, "--config")
    name = read_json(config / "model_index.json", "--config")["_class_name"]
    family_of(name, str(config))
    kind = getattr(diffusers, name)
    if not hasattr(kind, "from_single_file"):
        raise InputError(f"{where}: diffusers reads no {name} from one file; give the folder of such a model")
    dtype = Counter(value.dtype for value in tensors.values() if value.is_floating_point()).most_common(1)[0][0]
    advice = "give a checkpoint of the architecture that --config has"
    with (
        one_sentence(f"{where}: no {name} of {name_of(config)} can be made of it", advice),
        TemporaryDirectory() as made,
    ):
        if source.suffix.lower() != ".safetensors":
            save_file(tensors, file := Path(made) / "checkpoint.safetensors")
        settings = {"config": str(config), "torch_dtype": dtype, "local_files_only": True}
        pipeline = kind.from_single_file(str(file), **settings)
        left = [
            part
            for part, value in pipeline.components.items()
            if getattr(value, "device", None) == torch.device("meta")
        ]
        if left:
            raise InputError(f"{where}: has no whole {left[0]}; {advice}")
        pipeline.save_pretrained(folder / FOLDER, safe_serialization=True)
    for part_config in sorted((folder / FOLDER).rglob("*.json")):  # a revision is of the content, not of where it was
        if part_config.name in ("config.json", "model_index.json"):
            content = read_json(part_config, where)
            content.pop("_name_or_path", None)
            write_json(part_config, content)
    networks = check_pipeline(folder / FOLDER, where)
    count = sum(len(network.state_dict()) for network in networks.values())
    use = "name it in a config's `generator: {{model: {}}}`"
    note = f"a {name}; configs and tokenizers of {name_of(config)}"
    return Found(sha256_file(source), {"tensors": count}, use, (note,), FOLDER)


IMPORTER = Importer("generator", EXPECTED, _read, frozenset({"name", "config"}))
