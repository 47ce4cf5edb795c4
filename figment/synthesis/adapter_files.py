"""The adapters that rows name: ``<SHA-256>.safetensors`` in a folder beside their plan."""

from pathlib import Path

from figment import store
from figment.errors import InputError
from figment.files import sha256_file
from figment.model_loaders.lora import place_lora
from figment.planning.generator_config import GeneratorConfig


def adapter_file(folder: Path | None, name: str) -> Path:
    """The file of an adapter. Raises InputError if it is not there, or is not what its name says."""
    file = (folder or Path("adapters")) / f"{name}.safetensors"
    store.fetch(file)
    if not file.is_file():
        raise InputError(f"adapter {name}: the plan asks for it, but {file} does not exist; put the adapter there")
    if sha256_file(file) != name:
        raise InputError(f"adapter {file}: its content is not what its name says; restore the file")
    return file


def place_loras(generator: GeneratorConfig, folder: Path) -> None:
    """Put the generator's LoRAs into ``folder``, the ``adapters/`` beside the plan whose rows name them."""
    for i, lora in enumerate(generator.loras):
        place_lora(Path(lora.file), folder, f"generator.loras[{i}].file")
