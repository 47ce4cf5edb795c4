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
from tests.faults import model_harm as harms

SPACE = LabelSpace.of(["cat", "dog", "frog"])
CLIP_WEIGHTS = "open_clip_model.safetensors"
CONFIG, TEXT = "open_clip_config.json", "model_cfg__text_cfg__"


CLIP_CODE = {
    "trust_remote_code for the tokenizer": harms.both(
        harms.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"trust_remote_code": True}}),
        harms.edit("tokenizer_config.json", auto_map=harms.TOKENIZER_MAP),
    ),
    "a tokenizer's file for reading": harms.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}),
    "a subfolder's tokenizer": harms.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"subfolder": "x", "revision": "y"}}),
    "settings that are a list": harms.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": ["trust_remote_code"]}),
    "a text tower in a folder": lambda folder: harms.edit(
        CONFIG, **{f"{TEXT}hf_model_name": str(folder), f"{TEXT}hf_model_pretrained": True}
    )(folder),
    "an image tower in a folder": harms.edit(CONFIG, model_cfg__vision_cfg__timm_model_name="local-dir:evil"),
    "an image tower of the hub": harms.edit(CONFIG, model_cfg__vision_cfg__timm_model_name="hf_hub:evil/evil"),
    "trust_remote_code in the tokenizer's config": harms.edit("tokenizer_config.json", trust_remote_code=True),
    "pickled": harms.pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin"),
    "pickled, another name": harms.pickled(CLIP_WEIGHTS, "weights.pth"),
    "a pickle that open_clip prefers": harms.both(
        lambda f: shutil.copy(f / CLIP_WEIGHTS, f / "model.safetensors"),
        harms.pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin"),
    ),
}
CLIP_IGNORED = {
    "auto_map of the tokenizer": harms.edit("tokenizer_config.json", auto_map=harms.TOKENIZER_MAP),
    "auto_map as a list": harms.edit("tokenizer_config.json", auto_map=["evil.EvilTokenizer", "evil.EvilTokenizer"]),
    "a config of transformers with code": harms.text(
        "config.json", json.dumps({"model_type": "evil", "auto_map": harms.AUTO_MAP, "architectures": ["Evil"]})
    ),
    "a tokenizer's class of its own": harms.edit(
        "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=harms.TOKENIZER_MAP
    ),
    "a pickle beside": harms.pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin", keep=True),
}
CLIP_FAULTS = {
    **{f"config: {name}": harms.text(CONFIG, content) for name, content in harms.ODD_JSON.items()},
    "model_cfg: a list": harms.edit(CONFIG, model_cfg=[]),
    "no text_cfg": harms.edit(CONFIG, model_cfg__text_cfg=...),
    "vision_cfg as a word": harms.edit(CONFIG, model_cfg__vision_cfg="ViT"),
    "unknown argument": harms.edit(CONFIG, model_cfg__evil=1),
    "unknown argument of the text tower": harms.edit(CONFIG, **{f"{TEXT}evil": 1}),
    "unknown argument of the image tower": harms.edit(CONFIG, model_cfg__vision_cfg__evil=1),
    "unknown preprocessing": harms.edit(CONFIG, preprocess_cfg__evil=1),
    "features as a word": harms.edit(CONFIG, model_cfg__embed_dim="many"),
    "no features": harms.edit(CONFIG, model_cfg__embed_dim=...),
    "quick_gelu as a word": harms.edit(CONFIG, model_cfg__quick_gelu="yes"),
    "width as a word": harms.edit(CONFIG, **{f"{TEXT}width": "128"}),
    "a billion layers": harms.edit(CONFIG, **{f"{TEXT}layers": 10**9}),
    "a width that fills memory": harms.edit(CONFIG, model_cfg__vision_cfg__width=60_000),
    "negative width": harms.edit(CONFIG, **{f"{TEXT}width": -1}),
    "other width": harms.edit(CONFIG, **{f"{TEXT}width": 64}),
    "other features": harms.edit(CONFIG, model_cfg__embed_dim=128),
    "heads that do not divide": harms.edit(CONFIG, **{f"{TEXT}heads": 7}),
    "no heads": harms.edit(CONFIG, **{f"{TEXT}heads": 0}),
    "mean of two": harms.edit(CONFIG, preprocess_cfg__mean=[0.5, 0.5]),
    "deviation of zero": harms.edit(CONFIG, preprocess_cfg__std=[0.5, 0.5, 0]),
    "mean in words": harms.edit(CONFIG, preprocess_cfg__mean=["a", "b", "c"]),
    "no vocabulary": harms.remove("tokenizer.json"),
    "empty vocabulary": harms.empty_vocabulary("tokenizer.json"),
    "vocabulary cut short": harms.cut("tokenizer.json"),
    "no tokenizer's config or vocabulary": harms.remove("tokenizer.json", "tokenizer_config.json"),
    "fewer tokens than the vocabulary": harms.edit(CONFIG, **{f"{TEXT}vocab_size": 300}),
    "weights cut short": harms.cut(CLIP_WEIGHTS),
    "weights with NaN": harms.tensors(CLIP_WEIGHTS, harms.not_a_number),
    "weights without a tensor": harms.tensors(CLIP_WEIGHTS, harms.one_less),
    "weights of another shape": harms.tensors(CLIP_WEIGHTS, harms.other_shape),
    "no weights": harms.remove(CLIP_WEIGHTS),
    "empty weights": harms.text(CLIP_WEIGHTS, ""),
}


@harms.cases(CLIP_CODE | CLIP_FAULTS)
def test_a_clip_is_refused_before_anything_is_rendered(tmp_path, harm):
    harm(folder := harms.copy(harms.CLIP, tmp_path / "clip"))
    harms.refused(lambda: load_clip(ClipConfig(model=f"local-dir:{folder}")), folder, "clip")


CLIP_ENTRANCES = {
    "scores": lambda model: ClipScorer(ClipConfig(model=model)),
    "few-shot backbone": lambda model: load_backbone(BackboneConfig(model=f"open_clip:{model}")),
    "dual prompts": lambda model: build_dual_prompts(DualPromptConfig(context=4), ClipConfig(model=model), SPACE),
    "label vectors": lambda model: make_label_vectors(SPACE, LabelVectorConfig(clip=ClipConfig(model=model))),
}


@pytest.mark.parametrize("entrance", CLIP_ENTRANCES.values(), ids=CLIP_ENTRANCES.keys())
@harms.cases(
    {
        name: (CLIP_CODE | CLIP_IGNORED)[name]
        for name in ("trust_remote_code for the tokenizer", "pickled", *CLIP_IGNORED)
    }
)
def test_a_clip_runs_no_code_wherever_it_is_used(tmp_path, harm, entrance):
    harm(folder := harms.copy(harms.CLIP, tmp_path / "clip"))
    harms.opened_or_refused(lambda: entrance(f"local-dir:{folder}"), folder)
