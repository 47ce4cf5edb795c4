"""Where a generator's weights are, and what pins them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from figment.errors import InputError
from figment.files import sha256_folder
from figment.labels import LabelSpace, key, nearest
from figment.model_configs import COMMIT, ModelConfigs, is_local, read_configs
from figment.model_folders import check_files, parse_json
from figment.model_loaders.hub import CONFIGS, fetch
from figment.model_loaders.lora import check_lora, place_lora
from figment.model_loaders.pipelines import check_pipeline, component_classes
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.families import Requests, default_of, family_of, refusal
from figment.synthesis.schedulers import check_scheduler
from figment.text import reason_of


@cache
def folder_revision(model: str) -> str:
    """The hash of a local pipeline's content. Raises InputError if ``model`` is no diffusers folder."""
    folder = Path(model)
    if folder.is_file() and folder.suffix in (".safetensors", ".ckpt", ".gguf"):
        raise InputError(
            f"generator.model: {model!r} is a checkpoint of one file; bring it in once, with `figment import generator {model}`, "
            "and give the folder that it names"
        )
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"generator.model: {model!r} holds no model_index.json; give a diffusers pipeline's folder or a hub id"
        )
    return sha256_folder(folder)[:16]


def model_revision(config: GeneratorConfig) -> str:
    """What pins the weights: the hash of a local folder's content, or the commit that a hub revision points to now."""
    if is_local(config.model):
        return folder_revision(config.model)
    if COMMIT.fullmatch(config.revision):
        return config.revision
    try:
        index = snapshot_download(config.model, revision=config.revision, allow_patterns=["model_index.json"])
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise InputError(
            f"generator.revision: {config.revision!r} of {config.model!r} cannot be resolved to a commit "
            f"({reason_of(error)}); give the 40-digit commit, or connect once"
        ) from error
    return Path(index).name


def check_generator(config: GeneratorConfig, texts: Sequence[str] = ()) -> None:
    """Raise InputError now if the generator would not load later: configs, tokenizers and weights of a folder are checked, of a
    hub model all but its weights. ``texts`` are names or prompts that its tokenizers must know something of."""
    field, folder, revision = "generator.model", Path(config.model), model_revision(config)
    if is_local(config.model):
        for part in component_classes(folder, field):
            check_files(folder / part, field)
    else:
        folder = fetch(config.model, revision, field, CONFIGS)
    check_family(config)
    networks = check_pipeline(folder, field, texts, weights=is_local(config.model))
    for i, lora in enumerate(config.loras if networks else ()):
        what, file = f"generator.loras[{i}].file", Path(lora.file)
        with TemporaryDirectory() as made:
            if not file.is_file():
                file = Path(made) / f"{place_lora(file, Path(made), what)}.safetensors"
            kind = getattr(diffusers, read_configs(config.model, revision).index["_class_name"])
            check_lora(file, kind, networks, f"{what}: {lora.file}")


def check_family(config: GeneratorConfig, requests: Requests | None = None) -> None:
    """Raise InputError now if the generator is of no family that Figment knows, if its family takes no such scheduler or size, or
    cannot do what a plan ``requests`` of it."""
    configs = read_configs(config.model, model_revision(config))
    family = family_of(configs.index.get("_class_name", ""), config.model)
    if config.scheduler:
        own = configs.scheduler["_class_name"]
        check_scheduler(config.scheduler, own, configs.scheduler, family.scheduler_takes)
    if config.long_prompts and not family.chunks:
        raise InputError(
            f"generator.long_prompts: {family.title} reads a prompt as one text; leave it out (Stable Diffusion 1, 2 and XL "
            "read longer ones in parts)"
        )
    config.adapters()  # are there
    if sentence := refusal(family, "", Requests((), loras=bool(config.loras))):
        raise InputError(f"generator.loras: {sentence}")
    unit = family.multiple(pixels_a_latent(configs.decoder), configs.denoiser)
    for name in ("width", "height"):
        if (size := getattr(config, name)) % unit:
            raise InputError(
                f"generator.{name}: {family.title} makes images whose sides are multiples of {unit}, found {size}; "
                f"set {max(unit, round(size / unit) * unit)}"
            )
    guidance = family.guidance(configs.index, with_defaults(configs))
    if requests and (sentence := refusal(family, guidance, replace(requests, side=min(config.height, config.width)))):
        raise InputError(f"generator.model: {config.model!r}: {sentence}")
    if requests and requests.negative_prompt and max(requests.scales) <= family.guided_above:
        raise InputError(
            f"generator.guidance_scale: a negative prompt has an effect above {family.guided_above:g}, found "
            f"{max(requests.scales):g}; raise it, or leave the negative prompt out"
        )


def with_defaults(configs: ModelConfigs) -> dict[str, Any]:
    """The denoiser's config with what it leaves out of how it is guided."""
    keys = ("guidance_embeds", "time_cond_proj_dim")
    return {key: default_of(configs.denoiser["_class_name"], key) for key in keys} | configs.denoiser


def pixels_a_latent(decoder: Mapping[str, Any]) -> int:
    """Pixels, in width and height, that a decoder with this config makes of one latent."""
    if "temperal_downsample" in decoder:  # of AutoencoderKLQwenImage, spelled so
        return 2 ** len(decoder["temperal_downsample"])
    return 2 ** (len(decoder.get("block_out_channels") or decoder.get("encoder_block_out_channels") or [0] * 4) - 1)


def check_revision(model: str, revision: str) -> None:
    """Raise InputError if a local model is no longer the one that a plan was made for."""
    if is_local(model) and folder_revision(model) != revision:
        raise InputError(
            f"generator.model: {model!r} changed since the plan was made (revision {revision}, now "
            f"{folder_revision(model)}); restore those weights, or plan again with the new ones"
        )


def unknown_names(model: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Names that a model with a ``vocabulary.json`` (a list of words it learned) never saw, each with the nearest it did."""
    file = Path(model) / "vocabulary.json"
    if not file.is_file():
        return {}
    known = parse_json(file, "generator.model")
    if not (isinstance(known, list) and all(isinstance(word, str) for word in known)):
        raise InputError(f"generator.model: {file} is no list of words; restore it, or remove it")
    keys = {key(word) for word in known}
    return {name: nearest(name, known) for name in names if key(name) not in keys}


def warnings_of_unknown(model: str, space: LabelSpace) -> list[str]:
    """A sentence for each class that a generator of few words never saw."""
    unknown = unknown_names(model, [label.prompt_name for label in space.labels])
    return [
        f"warning: {model} never saw {name!r}; the nearest it knows: {', '.join(near) or 'none'}"
        for name, near in unknown.items()
    ]
