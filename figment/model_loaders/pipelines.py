"""Ways into a diffusers pipeline: a folder or a hub id. Configs are read first and no code of the model runs."""

import inspect
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from figment.errors import InputError
from figment.model_folders import (
    check_config,
    check_files,
    check_module,
    check_texts,
    check_tokenizer,
    one_sentence,
    read_json,
)
from figment.model_loaders.hub import fetch, network_shape, own_variant
from figment.text import shown

DENOISERS = ("unet", "transformer")  # what pipelines call the network that runs at every step


def component_classes(folder: Path, field: str) -> dict[str, Any]:
    """The class of every part that model_index.json names; only the libraries' own parts of a pipeline are among them."""
    file = folder / "model_index.json"
    check_config(file, field)
    index = read_json(file, field)
    pipeline = _pipeline_class(index, f"{field}: {file}")
    # Settings of the pipeline may be lists too, such as Krea 2's of layers.
    settings = set(pipeline._get_signature_keys(pipeline)[1])
    parts = {
        name: value
        for name, value in index.items()
        if isinstance(value, list) and not name.startswith("_") and name not in settings
    }
    needed = ("unet", "transformer", "vae", "scheduler")
    return {
        name: _part_class(name, value, f"{field}: {file}")
        for name, value in parts.items()
        if value != [None, None] or name in needed
    }


def _pipeline_class(index: Mapping[str, Any], where: str) -> Any:
    """The text-to-image pipeline of diffusers that an index names, and whose parts it all names."""
    import diffusers

    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise InputError(f"{where}: _class_name is {shown(pipeline)}; a pipeline of diffusers belongs there")
    found = getattr(diffusers, pipeline, None) if pipeline.endswith("Pipeline") else None
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise InputError(f"{where}: diffusers has no pipeline {shown(pipeline)}; give a model of one that it has")
    if "prompt" not in inspect.signature(found.__call__).parameters:
        raise InputError(f"{where}: {pipeline} makes no images from text; give a text-to-image model")
    parameters = inspect.signature(found).parameters.values()
    required = {p.name for p in parameters if p.default is p.empty} - {*getattr(found, "_optional_components", ())}
    if missing := sorted(name for name in required if not isinstance(index.get(name), list)):
        raise InputError(f"{where} names no {missing[0]}, a part of {pipeline}; restore the file")
    return found


def _part_class(name: str, value: Sequence[Any], where: str) -> type:
    """The class ``value``, (library, class), of a pipeline's part."""
    import diffusers
    import transformers
    from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj

    kinds = (
        diffusers.ModelMixin, diffusers.SchedulerMixin, transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase,
        transformers.ProcessorMixin, transformers.FeatureExtractionMixin, transformers.ImageProcessingMixin,
    )  # fmt: skip
    if not (len(value) == 2 and all(isinstance(v, str) for v in value)):
        raise InputError(f"{where}: {shown(name)} is {shown(value)}; [library, class] belongs there")
    library, kind = value
    known = library in ("diffusers", "transformers") or _is_part_of_diffusers(library)
    with one_sentence(f"{where}: {shown(name)} is no {shown(kind)} of {shown(library)}", "restore the file"):
        part = simple_get_class_obj(library, kind) if known else None
    if not (isinstance(part, type) and issubclass(part, kinds)):
        raise InputError(
            f"{where}: {shown(name)} is {shown(kind)} of {shown(library)}, which is no part that diffusers or "
            "transformers has; Figment runs no code of a model, give one that needs none"
        )
    return part


def _is_part_of_diffusers(library: str) -> bool:
    from diffusers import pipelines

    module = getattr(pipelines, library, None)
    return library.isidentifier() and getattr(module, "__name__", "").startswith("diffusers.pipelines.")


def check_pipeline(folder: Path, field: str, texts: Sequence[str] = (), weights: bool = True) -> dict[str, Any]:
    """Raise InputError if a part of a diffusers folder will not load: a config, a tokenizer that knows nothing, tensors that are
    missing or of another shape. ``texts`` are prompts that must mean something. Returns the networks, built without memory;
    without ``weights`` they are left out."""
    from diffusers import SchedulerMixin
    from transformers import PreTrainedTokenizerBase

    classes = component_classes(folder, field)
    networks = {}
    for name, kind in classes.items():
        check_files(folder / name, field, weights=False)
        if issubclass(kind, nn.Module):
            read_json(folder / name / "config.json", field)
            if weights:
                networks[name] = network_shape(kind, folder / name, field)
    for name, kind in classes.items():
        what, advice = f"{field}: {str(folder / name)!r} cannot be loaded", "restore that part of the model"
        if issubclass(kind, PreTrainedTokenizerBase):
            with one_sentence(what, advice):
                tokenizer = kind.from_pretrained(folder / name, trust_remote_code=False, local_files_only=True)
                encoder = networks.get(name.replace("tokenizer", "text_encoder"))
                size = encoder and encoder.get_input_embeddings().weight.shape[0]
            check_tokenizer(tokenizer, f"{field}: the tokenizer in {str(folder / name)!r}", size)
            check_texts(tokenizer, texts, f"{field}: {str(folder)!r}")
        elif not issubclass(kind, nn.Module):
            with one_sentence(what, advice):
                kind.from_pretrained(folder / name, local_files_only=True)  # type: ignore[attr-defined]
        if issubclass(kind, SchedulerMixin):
            read_json(folder / name / "scheduler_config.json", field)
    _check_widths(networks, folder, field)
    return networks


def _check_widths(networks: dict[str, Any], folder: Path, field: str) -> None:
    """Raise InputError if Stable Diffusion's UNet reads other texts or latents than its neighbours write."""
    unet, encoder, vae = (networks.get(name) for name in ("unet", "text_encoder", "vae"))
    if not unet or not encoder or "text_encoder_2" in networks:
        return
    width, reads = getattr(encoder.config, "hidden_size", None), getattr(unet.config, "cross_attention_dim", None)
    reads = getattr(unet.config, "encoder_hid_dim", None) or reads  # Kandinsky 3 projects them first
    if isinstance(reads, int) and isinstance(width, int) and reads != width:
        raise InputError(f"{field}: {folder}: the unet reads texts of {reads} numbers, the text_encoder writes {width}; "
                         "restore the parts that belong together")  # fmt: skip
    made, taken = getattr(vae and vae.config, "latent_channels", None), getattr(unet.config, "in_channels", None)
    if isinstance(made, int) and isinstance(taken, int) and made != taken:
        raise InputError(f"{field}: {folder}: the unet makes {taken} channels, the vae reads {made}; "
                         "restore the parts that belong together")  # fmt: skip


def open_pipeline(
    model: str, dtype: torch.dtype, revision: str | None, field: str = "generator.model", quantise: str = "none"
) -> Any:
    """A text-to-image pipeline of diffusers, on the CPU; ``revision`` of a hub id, None for a folder. ``quantise``: how the
    denoiser's weights are, one of ``quantisation``'s."""
    import diffusers
    import transformers
    from diffusers import AutoPipelineForText2Image, DiffusionPipeline

    for library in (diffusers.utils, transformers.utils):
        library.logging.disable_progress_bar()  # over files that load within seconds
    advice = "give a diffusers folder or a hub id"
    if revision is None:
        folder = Path(model)
    else:
        component_classes(fetch(model, revision, field, ["model_index.json"]), field)
        safe = {"revision": revision, "use_safetensors": True, "trust_remote_code": False}
        with one_sentence(f"{field}: {model!r} cannot be fetched", "connect once, or give a folder"):
            try:
                folder = Path(DiffusionPipeline.download(model, **safe))
            except (OSError, ValueError):  # of some models the hub has half-precision weights alone
                folder = Path(DiffusionPipeline.download(model, variant="fp16", **safe))
    check_pipeline(folder, field)
    settings = quantisation(quantise, dtype)
    with one_sentence(f"{field}: {model!r} cannot be loaded", advice):
        variants = [found for part in folder.iterdir() if part.is_dir() and (found := own_variant(part))]
        pipeline = AutoPipelineForText2Image.from_pretrained(
            str(folder),
            dtype=dtype,
            variant=min(filter(None, variants), default=None),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **settings,
        )
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            check_module(part, f"{field}: {model!r}: {name}")
    return pipeline


def quantisation(quantise: str, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of diffusers' loaders by which a denoiser is quantised while it is loaded. Raises InputError if the library
    is not there that does it, or the GPU that it needs."""
    import diffusers

    if quantise == "none":
        return {}
    library = "torchao" if quantise == "int8" else "bitsandbytes"
    if find_spec(library) is None:
        raise InputError(
            f"synthesis.quantise: {quantise} needs {library}, which is not installed; pip install {library}"
        )
    if library == "bitsandbytes" and not (torch.cuda.is_available() or torch.xpu.is_available()):
        raise InputError(
            f"synthesis.quantise: {quantise} needs a GPU, and there is none; take int8, which a CPU runs too, or leave it out"
        )
    if quantise == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        config = diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    elif quantise == "bnb8":
        config = diffusers.BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = diffusers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return {"quantization_config": diffusers.PipelineQuantizationConfig(quant_mapping=dict.fromkeys(DENOISERS, config))}
