"""The families of diffusers' text-to-image pipelines that Figment renders with, and what each of them takes and can do.

Everything here is read off the pipelines' own source. ``tests/conformance`` holds every entry beside the stock pipeline call.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import diffusers
import torch
from torch import Tensor

from figment.errors import InputError

Meaning = dict[str, Tensor]  # argument of the pipeline's call -> (1, ...) tensor
Sizes = Mapping[str, Any]  # the configs of a model's parts


@lru_cache(maxsize=4)
def _apart(tokenizer: Any) -> Any:
    """A copy for counting: a fast tokenizer keeps padding and truncation as state, so counting without them while another thread
    encodes with them would take them from it."""
    return copy.deepcopy(tokenizer)


@dataclass(frozen=True)
class Reader:
    """A tokenizer of a pipeline and how many of its tokens the text encoder reads. ``template``: the text with what the pipeline
    puts around it; ``around``: tokens of that which do not count."""

    tokenizer: str = "tokenizer"
    limit: int | None = None  # by default the tokenizer's own
    template: Callable[[Any, str], str] = lambda pipeline, text: text
    around: Callable[[Any], int] = lambda pipeline: 0

    def count(self, pipeline: Any, text: str) -> tuple[int, int]:
        """(tokens of ``text``, tokens that are read)."""
        tokenizer = pipeline.components[self.tokenizer]
        tokenizer = _apart(getattr(tokenizer, "tokenizer", tokenizer))  # of a processor
        tokens = len(tokenizer(self.template(pipeline, text), verbose=False).input_ids) - self.around(pipeline)
        return tokens, self.limit or tokenizer.model_max_length


@dataclass(frozen=True)
class Family:
    """What a pipeline class takes and can do."""

    title: str
    pipeline: str  # class of diffusers
    outputs: tuple[str, ...]  # the call's arguments that encode_prompt returns; "" for what the call makes by itself
    readers: tuple[Reader, ...]
    image_pipeline: str = ""  # class for rows with an initial image
    image: Literal["strength", "reference", "none"] = "none"  # what an initial image is used for
    handed: tuple[str, ...] = ()  # arguments of encode_prompt that the call hands on; theirs are its defaults
    scale: str = "guidance_scale"
    guided_above: float = 1  # a row of this scale or less has no unconditional pass
    axes: int = 3  # of size 1 behind the batch, in the scale that the network's output is multiplied by; 0: see Turns
    embedded: str = ""  # key of the denoiser's config: where it is set, the scale is an input of the network
    classifier_free: bool = True  # where it is not
    distilled: str = ""  # key of the pipeline's config: where it is set, the scale has no effect
    negatives: bool = True
    pads: Literal["same", "mask", "list", "alone"] = "same"  # texts of unequal length in a call; alone: not in one call
    channels_last: bool = True  # whether the networks' convolutions are all two-dimensional
    scheduler_takes: tuple[str, ...] = ()  # "method.argument" that the call needs of a scheduler
    settings: Mapping[str, Any] = field(default_factory=dict)  # more arguments of the call
    loras: bool = True  # whether diffusers loads LoRAs into its networks
    chunks: bool = False  # whether longer prompts can be read in parts
    # of pixels, width and height; vae: pixels a latent
    multiple: Callable[[int, Sizes], int] = lambda vae, denoiser: vae
    encode: Callable[..., Meaning] | None = None  # in place of the rule of ``outputs``
    fit_negative: Callable[[Meaning, Meaning], Meaning] | None = (
        None  # a row's negative meaning, given its positive one
    )
    pixels: Callable[[Tensor], Tensor] = lambda images: images  # of the call's output, to (B, 3, H, W) in [0, 1]

    def guidance(self, index: Sizes, denoiser: Sizes) -> Literal["classifier_free", "embedded", "none"]:
        """How a model of the family is guided. ``index``, ``denoiser``: the configs of the pipeline and of its network."""
        if self.embedded and denoiser.get(self.embedded):
            return "embedded"
        return (
            "classifier_free" if self.classifier_free and not (self.distilled and index.get(self.distilled)) else "none"
        )

    def read(self, pipeline: Any, texts: list[str], negative: bool) -> dict[str, Any]:
        """The call's arguments for ``texts`` that are encoded together, as prompts or as negative prompts (whose names then
        begin with ``negative_``). An empty negative text is the one that the pipeline itself uses."""
        return (self.encode or encode)(self, pipeline, texts, negative)

    def split(self, values: Mapping[str, Any]) -> list[Meaning]:
        """Each row's part of what ``read`` returns."""
        count = len(next(iter(values.values())))
        lists = self.pads == "list"
        return [{n: v[i][None] if lists else v[i : i + 1] for n, v in values.items()} for i in range(count)]

    def batch(self, meanings: list[Meaning]) -> dict[str, Any]:
        """The call's arguments for these rows, each tensor (B, ...)."""
        if self.pads == "list":
            return {name: [meaning[name][0] for meaning in meanings] for name in meanings[0]}
        return {name: joined([meaning[name] for meaning in meanings]) for name in meanings[0]}


def joined(parts: list[Tensor]) -> Tensor:
    """(1, L, ...) tensors as one (B, L, ...), with zeros behind the shorter ones (a mask then says what they are)."""
    longest = max(part.shape[1] for part in parts)
    if all(part.shape[1] == longest for part in parts):
        return torch.cat(parts)
    return torch.cat([torch.cat([p, p.new_zeros(1, longest - p.shape[1], *p.shape[2:])], 1) for p in parts])


def encode(family: Family, pipeline: Any, texts: list[str], negative: bool, **more: Any) -> dict[str, Any]:
    """What ``encode_prompt`` makes of the texts, by the names in ``family.outputs``. Where these name no negative ones, a
    negative text is encoded as a prompt."""
    defaults = inspect.signature(type(pipeline).__call__).parameters
    parameters = inspect.signature(pipeline.encode_prompt).parameters
    values = {"device": pipeline._execution_device, "num_images_per_prompt": 1} | more
    values |= {name: defaults[name].default for name in family.handed}
    values |= {n: None for n in ("prompt_2", "prompt_3") if n in parameters}
    apart = any(name.startswith("negative_") for name in family.outputs)
    if negative and apart:
        (text,) = texts
        values |= {"prompt": [""], "negative_prompt": [text] if text else None, "do_classifier_free_guidance": True}
        if text == "" and parameters["negative_prompt"].default == "":
            values["negative_prompt"] = ""
    else:
        values |= {"prompt": list(texts), "do_classifier_free_guidance": False}
    outputs = pipeline.encode_prompt(**{n: v for n, v in values.items() if n in parameters})
    named = {n: v for n, v in zip(family.outputs, outputs, strict=False) if n}
    if apart:
        return {n: v for n, v in named.items() if n.startswith("negative_") == negative}
    return {f"negative_{n}": v for n, v in named.items()} if negative else named


def encode_masked(family: Family, pipeline: Any, texts: list[str], negative: bool) -> dict[str, Any]:
    """With the mask that encode_prompt leaves out where it would be all ones."""
    named = encode(family, pipeline, texts, negative)
    names = [name for name in named if name.endswith("_mask")]
    full = next(value for value in named.values() if value is not None).shape[:2]
    device = pipeline._execution_device
    return named | {n: torch.ones(full, dtype=torch.long, device=device) for n in names if named[n] is None}


def encode_twice(family: Family, pipeline: Any, texts: list[str], negative: bool) -> dict[str, Any]:
    """HunyuanDiT has encode_prompt run once for each of its text encoders."""
    found: dict[str, Any] = {}
    for i, (length, suffix) in enumerate(((77, ""), (256, "_2"))):
        named = encode(family, pipeline, texts, negative, text_encoder_index=i, max_sequence_length=length)
        found |= {name + suffix: value for name, value in named.items()}
    return found


def encode_cut(family: Family, pipeline: Any, texts: list[str], negative: bool) -> dict[str, Any]:
    """Kandinsky 3 cuts a prompt's padding off, and the negative text to the prompt's length, which ``fit_cut`` does."""
    if not negative:
        return encode(family, pipeline, texts, negative, _cut_context=True)
    width = pipeline.text_encoder.config.d_model
    given = {"prompt_embeds": torch.zeros(1, 128, width), "attention_mask": torch.zeros(1, 128, dtype=torch.long)}
    given = {name: value.to(pipeline._execution_device) for name, value in given.items()}
    outputs = pipeline.encode_prompt(None, negative_prompt=[texts[0]] if texts[0] else None, **given)
    return {n: v for n, v in zip(family.outputs, outputs, strict=True) if n.startswith("negative_")}


def fit_cut(positive: Meaning, negative: Meaning) -> Meaning:
    length = positive["prompt_embeds"].shape[1]
    return {name: value[:, :length] for name, value in negative.items()}


def chat(pipeline: Any, text: str, **more: Any) -> str:
    messages = [{"role": "user", "content": text}]
    return pipeline.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **more)


def flux_2_chat(pipeline: Any, text: str) -> str:
    from diffusers.pipelines.flux2.pipeline_flux2 import format_input

    messages = format_input(prompts=[text], system_message=pipeline.system_message)[0]
    return pipeline.tokenizer.apply_chat_template(messages, add_generation_prompt=False, tokenize=False)


def cells(vae: int, denoiser: Sizes) -> int:
    return vae * denoiser.get("patch_size", 2)


def packed(vae: int, denoiser: Sizes) -> int:
    return vae * 2


CLIP = (Reader(),)
TWO_CLIPS = (Reader(), Reader("tokenizer_2"))
SIDE_BY_SIDE = ("prompt_embeds", "negative_prompt_embeds")
POOLED = (*SIDE_BY_SIDE, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
IN_TURN = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
LENGTH = ("max_sequence_length",)
FLOW = ("set_timesteps.sigmas", "set_timesteps.mu")
SMALLEST_REFERENCE = 64  # pixels of a side
NO_NEGATIVE = {"negative_prompt": None}  # its default is a text, which may not stand beside embeddings
ANY_SIZE: Callable[[int, Sizes], int] = lambda vae, denoiser: 8  # rendered at a size of its own, then resized  # noqa: E731

FAMILIES = (
    Family("Stable Diffusion 1 and 2", "StableDiffusionPipeline", SIDE_BY_SIDE, CLIP,
           image_pipeline="StableDiffusionImg2ImgPipeline", image="strength", embedded="time_cond_proj_dim", chunks=True),
    Family("Stable Diffusion XL", "StableDiffusionXLPipeline", POOLED, TWO_CLIPS,
           image_pipeline="StableDiffusionXLImg2ImgPipeline", image="strength", embedded="time_cond_proj_dim", chunks=True),
    Family("Stable Diffusion 3", "StableDiffusion3Pipeline", POOLED, (*TWO_CLIPS, Reader("tokenizer_3", 256)), handed=LENGTH,
           image_pipeline="StableDiffusion3Img2ImgPipeline", image="strength", multiple=cells,
           scheduler_takes=("set_timesteps.sigmas",)),
    Family("Latent Consistency Model", "LatentConsistencyModelPipeline", SIDE_BY_SIDE, CLIP, negatives=False,
           image_pipeline="LatentConsistencyModelImg2ImgPipeline", image="strength", embedded="time_cond_proj_dim",
           classifier_free=False, scheduler_takes=("set_timesteps.original_inference_steps",)),
    Family("Flux.1", "FluxPipeline", ("prompt_embeds", "pooled_prompt_embeds"), (Reader(), Reader("tokenizer_2", 512)),
           handed=LENGTH, image_pipeline="FluxImg2ImgPipeline", image="strength", embedded="guidance_embeds",
           classifier_free=False, negatives=False, scheduler_takes=FLOW, multiple=packed),
    Family("Flux.2", "Flux2Pipeline", ("prompt_embeds",), (Reader(limit=512, template=flux_2_chat),), handed=LENGTH,
           image_pipeline="Flux2Pipeline", image="reference", embedded="guidance_embeds", classifier_free=False,
           negatives=False, scheduler_takes=FLOW, multiple=packed),
    Family("Flux.2 klein", "Flux2KleinPipeline", ("prompt_embeds",),
           (Reader(limit=512, template=partial(chat, enable_thinking=False)),), handed=(*LENGTH, "text_encoder_out_layers"),
           image_pipeline="Flux2KleinPipeline", image="reference", distilled="is_distilled", axes=2, scheduler_takes=FLOW,
           multiple=packed),
    Family("Qwen-Image", "QwenImagePipeline", ("prompt_embeds", "prompt_embeds_mask"),
           (Reader(limit=512, template=lambda pipeline, text: pipeline.prompt_template_encode.format(text),
                   around=lambda pipeline: pipeline.prompt_template_encode_start_idx),),
           handed=LENGTH, image_pipeline="QwenImageImg2ImgPipeline", image="strength", scale="true_cfg_scale", axes=2,
           pads="mask", encode=encode_masked, channels_last=False, scheduler_takes=FLOW, multiple=packed),
    Family("Z-Image", "ZImagePipeline", ("prompt_embeds", "negative_prompt_embeds"),
           (Reader(limit=512, template=partial(chat, enable_thinking=True)),), handed=LENGTH,
           image_pipeline="ZImageImg2ImgPipeline", image="strength", guided_above=0, axes=0, pads="list",
           scheduler_takes=FLOW, multiple=packed),
    Family("Chroma", "ChromaPipeline",
           ("prompt_embeds", "", "prompt_attention_mask", "negative_prompt_embeds", "", "negative_prompt_attention_mask"),
           (Reader(limit=512),), handed=LENGTH, image_pipeline="ChromaImg2ImgPipeline", image="strength", axes=2,
           scheduler_takes=FLOW, loras=False, multiple=packed),
    Family("PixArt-alpha", "PixArtAlphaPipeline", IN_TURN, (Reader(limit=120),), handed=(*LENGTH, "clean_caption"),
           settings=NO_NEGATIVE, loras=False, multiple=ANY_SIZE),
    Family("PixArt-Sigma", "PixArtSigmaPipeline", IN_TURN, (Reader(limit=300),), handed=(*LENGTH, "clean_caption"),
           settings=NO_NEGATIVE, loras=False, multiple=ANY_SIZE),
    Family("Sana", "SanaPipeline", IN_TURN, (Reader(limit=300),),
           handed=(*LENGTH, "clean_caption", "complex_human_instruction"), settings=NO_NEGATIVE, multiple=ANY_SIZE),
    Family("Lumina 2", "Lumina2Pipeline", IN_TURN,
           (Reader(limit=256, template=lambda pipeline, text: f"{pipeline.system_prompt} <Prompt Start> {text}"),),
           handed=LENGTH, scheduler_takes=FLOW, multiple=cells),
    Family("AuraFlow", "AuraFlowPipeline", IN_TURN, (Reader(limit=256),), handed=LENGTH, multiple=cells,
           scheduler_takes=("set_timesteps.sigmas",)),
    Family("CogView 4", "CogView4Pipeline", SIDE_BY_SIDE, (Reader(limit=1024),), handed=LENGTH, pads="alone",
           scheduler_takes=(*FLOW, "set_timesteps.timesteps"), multiple=cells),
    Family("HunyuanDiT", "HunyuanDiTPipeline",
           (*SIDE_BY_SIDE, "prompt_attention_mask", "negative_prompt_attention_mask"),
           (Reader(limit=77), Reader("tokenizer_2", 256)), encode=encode_twice, loras=False,
           settings={"use_resolution_binning": False}, multiple=lambda vae, denoiser: 16),
    Family("Kandinsky 3", "Kandinsky3Pipeline", (*SIDE_BY_SIDE, "attention_mask", "negative_attention_mask"),
           (Reader(limit=128),), image_pipeline="Kandinsky3Img2ImgPipeline", image="strength", pads="alone",
           encode=encode_cut, fit_negative=fit_cut, scheduler_takes=("step.generator",),
           loras=False, multiple=lambda vae, denoiser: 64, pixels=lambda images: (images * 0.5 + 0.5).clamp(0, 1)),
    Family("Krea 2", "Krea2Pipeline", ("prompt_embeds", "prompt_embeds_mask"),
           (Reader(limit=507, template=lambda pipeline, text: pipeline.prompt_template_encode_prefix + text,
                   around=lambda pipeline: pipeline.prompt_template_encode_start_idx),),
           handed=LENGTH, guided_above=0, axes=2, channels_last=False, loras=False, scheduler_takes=FLOW, multiple=packed),
)  # fmt: skip
BY_CLASS = {family.pipeline: family for family in FAMILIES}


def family_of(pipeline: str, model: str) -> Family:
    """The family of a pipeline's class. Raises InputError, naming ``model``, for one that is not among them."""
    if pipeline not in BY_CLASS:
        known = ", ".join(family.title for family in FAMILIES)
        raise InputError(
            f"generator.model: {model!r} is a {pipeline or 'model without _class_name'}, which Figment does not render with; "
            f"take a model of {known}"
        )
    return BY_CLASS[pipeline]


class GuidanceVector(torch.Tensor):
    """A guidance scale per sample where diffusers expects one number: its pipelines compare it with a number, then multiply.

    A number would leave the type of what it multiplies alone; so does this.
    """

    def __gt__(self, other: Any) -> Any:
        return bool((self.as_subclass(torch.Tensor) > other).any())

    def __le__(self, other: Any) -> Any:
        return not self > other

    def __mul__(self, other: Any) -> Any:
        return (self.as_subclass(torch.Tensor) * other).to(other.dtype)


class Turns:
    """Guidance scales for a pipeline that multiplies sample by sample: each product takes the next one."""

    def __init__(self, scales: Iterable[float]):
        self.scales, self.turn = list(scales), 0

    def __gt__(self, other: float) -> bool:
        return max(self.scales) > other

    def __mul__(self, other: Tensor) -> Tensor:
        scale = self.scales[self.turn % len(self.scales)]
        self.turn += 1
        return scale * other


def guidance_of(family: Family, scales: list[float], device: torch.device) -> Any:
    """The scales of a guided call's rows in the shape that its pipeline multiplies by."""
    if not family.axes:
        return Turns(scales)
    return torch.tensor(scales, device=device).view(-1, *[1] * family.axes).as_subclass(GuidanceVector)


def embedded_guidance(pipeline: Any, denoiser: Any, scales: list[float]) -> tuple[str, Tensor]:
    """The denoiser's argument that holds the scales of a call's rows, and its value (B, ...)."""
    vector = torch.tensor(scales, dtype=torch.float32)
    if width := getattr(denoiser.config, "time_cond_proj_dim", None):
        return "timestep_cond", pipeline.get_guidance_scale_embedding(vector - 1, embedding_dim=width)
    return "guidance", vector


def default_of(class_name: str, key: str) -> Any:
    """What a config of this class of diffusers means where it leaves ``key`` out."""
    known = inspect.signature(getattr(diffusers, class_name)).parameters if hasattr(diffusers, class_name) else {}
    return known[key].default if key in known else None


@dataclass(frozen=True)
class Requests:
    """What a plan asks of a generator: all its guidance scales, a negative prompt, the strengths at which it starts from images
    (none: it starts from noise)."""

    scales: tuple[float, ...]
    negative_prompt: str = ""
    strengths: tuple[float, ...] = ()
    side: int = 0  # of the images, the smaller one; 0 if it is not known
    loras: bool = False
    masks: bool = False


def refusal(family: Family, guidance: str, requests: Requests) -> str:
    """Why a model of the family, guided so, cannot do what is asked, in one sentence; empty if it can."""
    title = family.title
    if guidance == "none" and len(set(requests.scales)) > 1:
        found = f"{min(requests.scales):g} to {max(requests.scales):g}"
        return f"this {title} model is distilled and guidance_scale has no effect on it, found {found}; plan with one scale"
    if requests.negative_prompt and not (family.negatives and guidance == "classifier_free"):
        return f"this {title} model reads no negative prompt, found {requests.negative_prompt!r}; leave it out"
    if requests.loras and not family.loras:
        return f"diffusers loads no LoRA into a {title} model; leave it out, or choose another model"
    if requests.strengths and family.image == "none":
        return f"{title} cannot start from an image; choose another model, or rows without an initial image"
    if requests.masks and family.image != "strength":
        return f"{title} cannot render a part of an image; choose another model, or rows without a mask"
    if family.image == "reference" and any(strength < 1 for strength in requests.strengths):
        found = f"{min(requests.strengths):g}"
        return f"{title} takes an initial image as a reference and knows no strength, found {found}; set it to 1"
    if family.image == "reference" and requests.strengths and 0 < requests.side < SMALLEST_REFERENCE:
        return (
            f"{title} reads images of {SMALLEST_REFERENCE} pixels or more, found {requests.side}; choose a larger size"
        )
    return ""
