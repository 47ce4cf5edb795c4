"""Folders of CLIPs: none runs code, wherever it is used; every fault is one sentence at the start."""

import json
import shutil

import pytest

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import make_label_vectors
from figment.clip.scorer import ClipConfig, ClipScorer, load_clip
from figment.labels import LabelSpace
from figment.training.backbone import load_backbone
from figment.training.config import BackboneConfig
from figment.training.dual_prompt import DualPromptConfig, build_dual_prompts
from tests.faults.model_harm import (
    AUTO_MAP,
    CLIP,
    ODD_JSON,
    TOKENIZER_MAP,
    both,
    cases,
    copy,
    cut,
    edit,
    empty_vocabulary,
    not_a_number,
    one_less,
    opened_or_refused,
    other_shape,
    pickled,
    refused,
    remove,
    tensors,
    text,
    yes,  # noqa: F401, for each test here
)

SPACE = LabelSpace.of(["cat", "dog", "frog"])
CLIP_WEIGHTS = "open_clip_model.safetensors"
CONFIG, TEXT = "open_clip_config.json", "model_cfg__text_cfg__"


CLIP_CODE = {
    "trust_remote_code for the tokenizer": both(
        edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"trust_remote_code": True}}),
        edit("tokenizer_config.json", auto_map=TOKENIZER_MAP),
    ),
    "a tokenizer's file for reading": edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}),
    "a subfolder's tokenizer": edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"subfolder": "x", "revision": "y"}}),
    "settings that are a list": edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": ["trust_remote_code"]}),
    "a text tower in a folder": lambda folder: edit(
        CONFIG, **{f"{TEXT}hf_model_name": str(folder), f"{TEXT}hf_model_pretrained": True}
    )(folder),
    "an image tower in a folder": edit(CONFIG, model_cfg__vision_cfg__timm_model_name="local-dir:evil"),
    "an image tower of the hub": edit(CONFIG, model_cfg__vision_cfg__timm_model_name="hf_hub:evil/evil"),
    "trust_remote_code in the tokenizer's config": edit("tokenizer_config.json", trust_remote_code=True),
    "pickled": pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin"),
    "pickled, another name": pickled(CLIP_WEIGHTS, "weights.pth"),
    "a pickle that open_clip prefers": both(
        lambda f: shutil.copy(f / CLIP_WEIGHTS, f / "model.safetensors"), pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin")
    ),
}  # fmt: skip
CLIP_IGNORED = {
    "auto_map of the tokenizer": edit("tokenizer_config.json", auto_map=TOKENIZER_MAP),
    "auto_map as a list": edit("tokenizer_config.json", auto_map=["evil.EvilTokenizer", "evil.EvilTokenizer"]),
    "a config of transformers with code": text(
        "config.json", json.dumps({"model_type": "evil", "auto_map": AUTO_MAP, "architectures": ["Evil"]})
    ),
    "a tokenizer's class of its own": edit("tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=TOKENIZER_MAP),
    "a pickle beside": pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin", keep=True),
}  # fmt: skip
CLIP_FAULTS = {
    **{f"config: {name}": text(CONFIG, content) for name, content in ODD_JSON.items()},
    "model_cfg: a list": edit(CONFIG, model_cfg=[]),
    "no text_cfg": edit(CONFIG, model_cfg__text_cfg=...),
    "vision_cfg as a word": edit(CONFIG, model_cfg__vision_cfg="ViT"),
    "unknown argument": edit(CONFIG, model_cfg__evil=1),
    "unknown argument of the text tower": edit(CONFIG, **{f"{TEXT}evil": 1}),
    "unknown argument of the image tower": edit(CONFIG, model_cfg__vision_cfg__evil=1),
    "unknown preprocessing": edit(CONFIG, preprocess_cfg__evil=1),
    "features as a word": edit(CONFIG, model_cfg__embed_dim="many"),
    "no features": edit(CONFIG, model_cfg__embed_dim=...),
    "quick_gelu as a word": edit(CONFIG, model_cfg__quick_gelu="yes"),
    "width as a word": edit(CONFIG, **{f"{TEXT}width": "128"}),
    "a billion layers": edit(CONFIG, **{f"{TEXT}layers": 10**9}),
    "a width that fills memory": edit(CONFIG, model_cfg__vision_cfg__width=60_000),
    "negative width": edit(CONFIG, **{f"{TEXT}width": -1}),
    "other width": edit(CONFIG, **{f"{TEXT}width": 64}),
    "other features": edit(CONFIG, model_cfg__embed_dim=128),
    "heads that do not divide": edit(CONFIG, **{f"{TEXT}heads": 7}),
    "no heads": edit(CONFIG, **{f"{TEXT}heads": 0}),
    "mean of two": edit(CONFIG, preprocess_cfg__mean=[0.5, 0.5]),
    "deviation of zero": edit(CONFIG, preprocess_cfg__std=[0.5, 0.5, 0]),
    "mean in words": edit(CONFIG, preprocess_cfg__mean=["a", "b", "c"]),
    "no vocabulary": remove("tokenizer.json"),
    "empty vocabulary": empty_vocabulary("tokenizer.json"),
    "vocabulary cut short": cut("tokenizer.json"),
    "no tokenizer's config or vocabulary": remove("tokenizer.json", "tokenizer_config.json"),
    "fewer tokens than the vocabulary": edit(CONFIG, **{f"{TEXT}vocab_size": 300}),
    "weights cut short": cut(CLIP_WEIGHTS),
    "weights with NaN": tensors(CLIP_WEIGHTS, not_a_number),
    "weights without a tensor": tensors(CLIP_WEIGHTS, one_less),
    "weights of another shape": tensors(CLIP_WEIGHTS, other_shape),
    "no weights": remove(CLIP_WEIGHTS),
    "empty weights": text(CLIP_WEIGHTS, ""),
}


@cases(CLIP_CODE | CLIP_FAULTS)
def test_a_clip_is_refused_before_anything_is_rendered(tmp_path, harm):
    harm(folder := copy(CLIP, tmp_path / "clip"))
    refused(lambda: load_clip(ClipConfig(model=f"local-dir:{folder}")), folder, "clip")


CLIP_ENTRANCES = {
    "scores": lambda model: ClipScorer(ClipConfig(model=model)),
    "few-shot backbone": lambda model: load_backbone(BackboneConfig(model=f"open_clip:{model}")),
    "dual prompts": lambda model: build_dual_prompts(DualPromptConfig(context=4), ClipConfig(model=model), SPACE),
    "label vectors": lambda model: make_label_vectors(SPACE, LabelVectorConfig(clip=ClipConfig(model=model))),
}


@pytest.mark.parametrize("entrance", CLIP_ENTRANCES.values(), ids=CLIP_ENTRANCES.keys())
@cases(
    {
        name: (CLIP_CODE | CLIP_IGNORED)[name]
        for name in ("trust_remote_code for the tokenizer", "pickled", *CLIP_IGNORED)
    }
)
def test_a_clip_runs_no_code_wherever_it_is_used(tmp_path, harm, entrance):
    harm(folder := copy(CLIP, tmp_path / "clip"))
    opened_or_refused(lambda: entrance(f"local-dir:{folder}"), folder)
