"""Every way into a model's folder, or into what the hub has of it: diffusers, open_clip, transformers.

Each reads the configs first (``figment.model_folders``), runs no code of the model's, takes safetensors only, and says in one
sentence what is wrong. The libraries are imported when they are needed: they take seconds.
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from torch import nn

from figment.errors import InputError
from figment.model_folders import (
    PROBE,
    check_config,
    check_files,
    check_finite,
    check_module,
    check_texts,
    check_tokenizer,
    check_weights,
    one_sentence,
    read_json,
    reason,
)
from figment.text import chat_messages, shown

CONFIGS = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]  # all of a model but its weights
VARIANT = re.compile(r"\.(fp16|bf16)[.-]")  # in the name of a file of weights
LOCAL, HUB = "local-dir:", "hf-hub:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
TOKENIZER_SETTINGS = {"clean": str, "strip_sep_token": bool, "language": str, "reduction_mask": str}  # of open_clip
SIZES = re.compile("width|layers|heads|size|length|dim|queries|depth|ratio")
LIMITS = {"layers": 1000, "vocab_size": 2_000_000, "image_size": 2048, "mlp_ratio": 64}


@contextmanager
def no_questions() -> Iterator[None]:
    """Within the block transformers does not ask on stdin whether it may run a model's code: it may not. Nor does it show
    progress over the files of a model, then or later."""
    from transformers import dynamic_module_utils
    from transformers.utils import logging

    logging.disable_progress_bar()
    seconds = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = seconds


def fetch(model: str, revision: str | None, field: str, patterns: Sequence[str]) -> Path:
    """The folder with those files of a hub model that match. Raises InputError if the hub, or its cache, has it not."""
    with one_sentence(f"{field}: {model!r} cannot be fetched", "connect once, or give a folder"):
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))


# diffusers


def component_classes(folder: Path, field: str) -> dict[str, Any]:
    """The class of every part that model_index.json names; only the libraries' own parts of a pipeline are among them."""
    import diffusers
    import transformers
    from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj

    file = folder / "model_index.json"
    check_config(file, field)
    index = read_json(file, field)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise InputError(f"{field}: {file}: _class_name is {shown(pipeline)}; a pipeline of diffusers belongs there")
    found = getattr(diffusers, pipeline, None) if pipeline.endswith("Pipeline") else None
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise InputError(
            f"{field}: {file}: diffusers has no pipeline {shown(pipeline)}; give a model of one that it has"
        )
    if "prompt" not in inspect.signature(found.__call__).parameters:
        raise InputError(f"{field}: {file}: {pipeline} makes no images from text; give a text-to-image model")
    parameters = inspect.signature(found).parameters.values()
    required = {p.name for p in parameters if p.default is p.empty} - {*getattr(found, "_optional_components", ())}
    if missing := sorted(name for name in required if not isinstance(index.get(name), list)):
        raise InputError(f"{field}: {file} names no {missing[0]}, a part of {pipeline}; restore the file")
    kinds = (
        diffusers.ModelMixin, diffusers.SchedulerMixin, transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase,
        transformers.ProcessorMixin, transformers.FeatureExtractionMixin, transformers.ImageProcessingMixin,
    )  # fmt: skip
    classes: dict[str, Any] = {}
    # Settings of the pipeline may be lists too, such as Krea 2's of layers.
    settings = set(found._get_signature_keys(found)[1])  # type: ignore[attr-defined]
    for name, value in index.items():
        if name.startswith("_") or name in settings or not isinstance(value, list):
            continue
        if value == [None, None] and name not in ("unet", "transformer", "vae", "scheduler"):
            continue
        if not (len(value) == 2 and all(isinstance(v, str) for v in value)):
            raise InputError(f"{field}: {file}: {shown(name)} is {shown(value)}; [library, class] belongs there")
        library, kind = value
        known = library in ("diffusers", "transformers") or _is_part_of_diffusers(library)
        with one_sentence(
            f"{field}: {file}: {shown(name)} is no {shown(kind)} of {shown(library)}", "restore the file"
        ):
            part = simple_get_class_obj(library, kind) if known else None
        if not (isinstance(part, type) and issubclass(part, kinds)):
            raise InputError(
                f"{field}: {file}: {shown(name)} is {shown(kind)} of {shown(library)}, which is no part that diffusers or "
                "transformers has; Figment runs no code of a model, give one that needs none"
            )
        classes[name] = part
    return classes


def _is_part_of_diffusers(library: str) -> bool:
    from diffusers import pipelines

    module = getattr(pipelines, library, None)
    return library.isidentifier() and getattr(module, "__name__", "").startswith("diffusers.pipelines.")


def check_pipeline(folder: Path, field: str, texts: Sequence[str] = (), weights: bool = True) -> None:
    """Raise InputError if a part of a diffusers folder will not load: a config, a tokenizer that knows nothing, tensors that are
    missing or of another shape. Networks are built without memory. ``texts`` are prompts that must mean something; without
    ``weights`` the networks are left out."""
    from diffusers import SchedulerMixin
    from transformers import PreTrainedTokenizerBase

    classes = component_classes(folder, field)
    networks = {}
    for name, kind in classes.items():
        check_files(folder / name, field, weights=False)
        if issubclass(kind, nn.Module):
            read_json(folder / name / "config.json", field)
            if weights:
                networks[name] = _network_shape(kind, folder / name, field)
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


def _network_shape(kind: Any, folder: Path, field: str) -> Any:
    """A network of a pipeline on the meta device, once its file has been compared with it."""
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"{field}: {str(folder)!r} is not there or has no *.safetensors; restore that part of the model"
        )
    safe = {"trust_remote_code": False} if kind.__name__.startswith("Auto") else {}  # the others know no such argument
    with no_questions(), one_sentence(f"{field}: {str(folder)!r} cannot be loaded", "restore that part of the model"):
        network, found = kind.from_pretrained(
            folder,
            variant=own_variant(folder),
            output_loading_info=True,
            device_map={"": "meta"},
            use_safetensors=True,
            local_files_only=True,
            **safe,
        )
    _check_loaded(found, f"{field}: {str(folder)!r}")
    return network


def own_variant(folder: Path) -> str | None:
    """``fp16`` or ``bf16`` where a part's folder has its weights in that variant alone, else None."""
    variants = {match and match[1] for match in (VARIANT.search(file.name) for file in folder.glob("*.safetensors"))}
    return variants.pop() if len(variants) == 1 else None


def _check_loaded(found: dict[str, Any], what: str) -> None:
    """Raise InputError for tensors that a library would have made up."""
    missing = sorted(str(name) for name in found["missing_keys"] if not str(name).endswith("position_ids"))
    other = sorted(str(entry) for entry in found["mismatched_keys"])
    if missing or other:
        wrong = f"lack {missing[0]!r}" if missing else f"have another shape than the config says: {other[0][:120]}"
        raise InputError(f"{what}: its weights {wrong}; restore that part of the model")


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


def open_pipeline(model: str, dtype: torch.dtype, revision: str | None, field: str = "generator.model") -> Any:
    """A text-to-image pipeline of diffusers, on the CPU; ``revision`` of a hub id, None for a folder."""
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
    with one_sentence(f"{field}: {model!r} cannot be loaded", advice):
        variants = [found for part in folder.iterdir() if part.is_dir() and (found := own_variant(part))]
        pipeline = AutoPipelineForText2Image.from_pretrained(
            str(folder),
            dtype=dtype,
            variant=min(filter(None, variants), default=None),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            check_module(part, f"{field}: {model!r}: {name}")
    return pipeline


# transformers


def open_chat(
    model: str,
    revision: str,
    dtype: Any,
    field: str = "prompts.model",
    system: str | None = None,
    template: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """(tokenizer, network) of a causal language model, by folder or hub id, on the CPU. Its chat template has to take a
    question, with the message ``system`` before it if there is one, and the variables in ``template``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(model) if Path(model).is_dir() else fetch(model, revision, field, CONFIGS)
    check_files(folder, field, weights=Path(model).is_dir())
    read_json(folder / "config.json", field)
    if Path(model).is_dir():
        _network_shape(AutoModelForCausalLM, folder, field)
    advice = "give a folder or a hub id with safetensors weights"
    with no_questions(), one_sentence(f"{field}: {model!r} is not a chat model that transformers can load", advice):
        tokenizer = AutoTokenizer.from_pretrained(
            model, revision=revision, padding_side="left", trust_remote_code=False
        )
        network, found = AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision,
            use_safetensors=True,
            dtype=dtype,
            trust_remote_code=False,
            output_loading_info=True,
        )
        size = network.get_input_embeddings().weight.shape[0]
    _check_loaded(found, f"{field}: {model!r}")
    check_module(network, f"{field}: {model!r}")
    check_tokenizer(tokenizer, f"{field}: the tokenizer of {model!r}", size)
    if tokenizer.chat_template is None:
        raise InputError(f"{field}: {model!r} has no chat template; give an instruction-tuned (chat) model")
    how = "without a system message" if system is None else "with a system message"
    advice = "set or remove prompts.system, mend prompts.template, or give another model"
    with one_sentence(f"{field}: the chat template of {model!r} cannot be used {how}", advice):
        talk = chat_messages(PROBE, system)
        tokenizer.apply_chat_template(talk, add_generation_prompt=True, **(template or {}))
    return tokenizer, network


# open_clip


def open_clip_model(model: str, pretrained: str | None, force_quick_gelu: bool, field: str = "clip.model") -> Any:
    """A CLIP of open_clip on the CPU: ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME``, or a name of open_clip's with ``pretrained``,
    a tag of its or a safetensors file."""
    import open_clip

    folder = _clip_folder(model, field, weights=True)
    if pretrained and folder is None and Path(pretrained).suffix and Path(pretrained).exists():
        if Path(pretrained).suffix != ".safetensors":
            raise InputError(
                f"clip.pretrained: {pretrained!r} is no safetensors file; give such a file, or a tag of open_clip"
            )
        check_weights(Path(pretrained), "clip.pretrained")
    advice = "connect once to fetch the weights, or give an open_clip folder"
    with no_questions(), one_sentence(f"clip: {model!r} with pretrained {pretrained!r} cannot be loaded", advice):
        network = open_clip.create_model(
            f"{LOCAL}{folder}" if folder else model,
            pretrained,
            force_quick_gelu=force_quick_gelu,
            require_pretrained=True,  # or a name without weights would be a CLIP of random ones, and a warning
        )
    check_module(network, f"{field}: {model!r}")
    if folder is not None:
        _check_features(network.eval(), open_clip_tokenizer(model, field), f"{field}: {str(folder)!r}")
    return network


def _check_features(network: Any, tokenizer: Any, what: str) -> None:
    size = network.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    with one_sentence(f"{what} cannot be used", "restore its config and weights"), torch.inference_mode():
        texts, images = network.encode_text(tokenizer([PROBE])), network.encode_image(torch.zeros(1, 3, height, width))
    check_finite({"features": torch.cat([texts.flatten(), images.flatten()])}, what)
    if texts.shape != images.shape:
        raise InputError(
            f"{what}: texts have {texts.shape[-1]} features, images {images.shape[-1]}; restore its config"
        )


def open_clip_tokenizer(model: str, field: str = "clip.model") -> Any:
    """The tokenizer that belongs to ``open_clip_model``."""
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    folder = _clip_folder(model, field, weights=False)
    what, advice = f"{field}: the tokenizer of {model!r}", "restore its files"
    with no_questions(), one_sentence(f"{what} cannot be loaded", advice):
        if folder is None:
            text = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
            safe = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
            return open_clip.get_tokenizer(model, **safe)
        text = read_json(folder / "open_clip_config.json", field)["model_cfg"]["text_cfg"]
        length, settings = text.get("context_length", 77), text.get("tokenizer_kwargs") or {}
        if not text.get("hf_tokenizer_name"):
            return SimpleTokenizer(context_length=length, **settings)
        own = [
            file for file in folder.iterdir() if file.name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece"))
        ]
        source = text["hf_tokenizer_name"] if model.startswith(HUB) and not own else str(folder)
        tokenizer = HFTokenizer(
            source,
            context_length=length,
            tokenizer_mode=text.get("tokenizer_mode"),
            trust_remote_code=False,
            **settings,
        )
    check_tokenizer(tokenizer, what, text.get("vocab_size") if not text.get("hf_model_name") else None)
    return tokenizer


def _clip_folder(model: str, field: str, weights: bool) -> Path | None:
    """Where a CLIP's files are, checked; None for a name of open_clip's own."""
    if model.startswith(HUB):
        patterns = [*CONFIGS, "open_clip*.safetensors"] if weights else CONFIGS
        folder = fetch(model.removeprefix(HUB), None, field, patterns)
    elif model.startswith(LOCAL):
        folder = Path(model.removeprefix(LOCAL))
    else:
        return None
    if not (folder / "open_clip_config.json").is_file():
        raise InputError(
            f"{field}: {str(folder)!r} holds no open_clip_config.json; give an open_clip folder or model name"
        )
    check_files(folder, field, weights)
    check_clip_config(folder / "open_clip_config.json", field)
    if weights:
        _check_clip_weights(folder, field)
        _check_clip_sizes(folder / "open_clip_config.json", field)
    return folder


def _check_clip_weights(folder: Path, field: str) -> None:
    """Raise InputError for a folder of which open_clip would take no safetensors: it prefers some names of pickles to others."""
    pickles = [folder / f"open_clip_pytorch_model{suffix}" for suffix in (".bin", ".pth")]
    for file in pickles:
        if file.exists() and not list(folder.glob("open_clip*.safetensors")):
            raise InputError(
                f"{field}: {file} is pickled, which can run code; give the weights as open_clip_model.safetensors"
            )
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{field}: {str(folder)!r} cannot be loaded: it has no weights (*.safetensors); restore them")


def _check_clip_sizes(file: Path, field: str) -> None:
    """Raise InputError for sizes that no tensor of the folder's weights has: open_clip takes the memory before it compares."""
    shapes: list[tuple[int, ...]] = []
    for weights in file.parent.glob("*.safetensors"):
        with safe_open(weights, "pt") as tensors:
            shapes += [tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    largest = max((size for shape in shapes for size in shape), default=0)
    config = read_json(file, field)["model_cfg"]
    sizes: dict[tuple[str, ...], Any] = {("embed_dim",): config.get("embed_dim")}
    for part in ("vision_cfg", "text_cfg", "multimodal_cfg"):
        inner = config.get(part) or {}
        sizes |= {(part, name): inner.get(name) for name in ("width", "vocab_size", "context_length", "n_queries")}
        layers = inner.get("layers")
        count = sum(layers) if isinstance(layers, list) else layers
        if isinstance(count, int) and count > len(shapes):
            raise InputError(
                f"{field}: {file}: {part}.layers is {shown(layers)}, more than the weights have; restore the file"
            )
    for path, size in sizes.items():
        if isinstance(size, int) and size > largest:
            raise InputError(
                f"{field}: {file}: {'.'.join(path)} is {shown(size)}, the weights' largest size is {largest}; restore the file"
            )


def check_clip_config(file: Path, field: str) -> None:
    """Raise InputError for an open_clip_config.json that holds anything but what describes a model: sizes and names, of the right
    types. What it may pass on to a tokenizer is in ``TOKENIZER_SETTINGS``."""
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import PreprocessCfg

    where, content = f"{field}: {file}", read_json(file, field)
    config = _object(content, "model_cfg", where)
    parts = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}
    parts |= {"multimodal_cfg": MultimodalCfg} if "multimodal_cfg" in config else {}
    types = {"embed_dim": int, "quick_gelu": bool, "init_logit_scale": float, "init_logit_bias": float}
    types |= {"nonscalar_logit_scale": bool, "custom_text": bool}
    _typed(config, types | dict.fromkeys(parts, dict), f"{where}: model_cfg")
    for name, kind in parts.items():
        fields = {entry.name: entry.type for entry in dataclasses.fields(kind)}
        _typed(_object(config, name, f"{where}: model_cfg"), fields, f"{where}: model_cfg.{name}")
    text, vision = config["text_cfg"], config["vision_cfg"]
    settings = text.get("tokenizer_kwargs") or {}
    _only(settings, TOKENIZER_SETTINGS, f"{where}: model_cfg.text_cfg.tokenizer_kwargs")
    for name, value in settings.items():
        if not isinstance(value, TOKENIZER_SETTINGS[name]):
            raise InputError(f"{where}: model_cfg.text_cfg.tokenizer_kwargs.{name} is {shown(value)}; restore the file")
    for name in ("hf_model_name", "hf_tokenizer_name"):
        value = text.get(name)
        if value and not (HUB_ID.fullmatch(value) and (name != "hf_model_name" or not Path(value).exists())):
            raise InputError(f"{where}: model_cfg.text_cfg.{name} is {shown(value)}; only a hub id belongs there")
    _check_timm(vision.get("timm_model_name"), where)
    preprocess = content.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        raise InputError(f"{where}: preprocess_cfg is {shown(preprocess)}; a JSON object belongs there")
    fields = {entry.name: entry.type for entry in dataclasses.fields(PreprocessCfg)}
    _typed(preprocess, fields, f"{where}: preprocess_cfg")
    for name in ("mean", "std"):
        values = preprocess.get(name, (1, 1, 1))
        if len(values) != 3 or not all(abs(v) < 1000 and (name == "mean" or v > 0) for v in values):
            raise InputError(f"{where}: preprocess_cfg.{name} is {shown(values)}; three numbers belong there")


def _check_timm(name: str | None, where: str) -> None:
    import timm

    if name is not None and name.partition(".")[0] not in timm.list_models():
        raise InputError(f"{where}: model_cfg.vision_cfg.timm_model_name: timm has no {shown(name)}; restore the file")


def _object(content: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        found = shown(value) if name in content else "missing"
        raise InputError(f"{where}: {name} is {found}; a JSON object belongs there, restore the file")
    return value


def _only(content: Any, known: Any, where: str) -> None:
    if not isinstance(content, dict):
        raise InputError(f"{where} is {shown(content)}; a JSON object belongs there, restore the file")
    if unknown := sorted(content.keys() - set(known)):
        raise InputError(f"{where}: {shown(unknown[0])} is no setting that a downloaded model may have; remove it")


def _typed(content: dict[str, Any], types: dict[str, Any], where: str) -> None:
    """Raise InputError for entries that are not in ``types``, or of another type."""
    _only(content, types, where)
    for name, value in content.items():
        if value is None:
            continue
        try:
            TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise InputError(f"{where}.{name} is {shown(value)} ({reason(error)}); restore the file") from error
    _whole_numbers({name: value for name, value in content.items() if SIZES.search(name)}, where)


def _whole_numbers(content: dict[str, Any], where: str) -> None:
    for name, value in content.items():
        for number in value if isinstance(value, list) else [value]:
            limit = LIMITS.get(name, 65_536)
            if isinstance(number, int | float) and not 0 <= number <= limit:
                raise InputError(
                    f"{where}.{name} is {shown(number)}; from 0 to {limit:,} belongs there, restore the file"
                )
