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
from tests.faults import model_harm as harm

SPACE = LabelSpace.of(["cat", "dog", "frog"])
CLIP_WEIGHTS = "open_clip_model.safetensors"
CONFIG, TEXT = "open_clip_config.json", "model_cfg__text_cfg__"


CLIP_CODE = {
    "trust_remote_code for the tokenizer": harm.both(
        harm.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"trust_remote_code": True}}),
        harm.edit("tokenizer_config.json", auto_map=harm.TOKENIZER_MAP),
    ),
    "a tokenizer's file for reading": harm.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}),
    "a subfolder's tokenizer": harm.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": {"subfolder": "x", "revision": "y"}}),
    "settings that are a list": harm.edit(CONFIG, **{f"{TEXT}tokenizer_kwargs": ["trust_remote_code"]}),
    "a text tower in a folder": lambda folder: harm.edit(
        CONFIG, **{f"{TEXT}hf_model_name": str(folder), f"{TEXT}hf_model_pretrained": True}
    )(folder),
    "an image tower in a folder": harm.edit(CONFIG, model_cfg__vision_cfg__timm_model_name="local-dir:evil"),
    "an image tower of the hub": harm.edit(CONFIG, model_cfg__vision_cfg__timm_model_name="hf_hub:evil/evil"),
    "trust_remote_code in the tokenizer's config": harm.edit("tokenizer_config.json", trust_remote_code=True),
    "pickled": harm.pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin"),
    "pickled, another name": harm.pickled(CLIP_WEIGHTS, "weights.pth"),
    "a pickle that open_clip prefers": harm.both(
        lambda f: shutil.copy(f / CLIP_WEIGHTS, f / "model.safetensors"),
        harm.pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin"),
    ),
}
CLIP_IGNORED = {
    "auto_map of the tokenizer": harm.edit("tokenizer_config.json", auto_map=harm.TOKENIZER_MAP),
    "auto_map as a list": harm.edit("tokenizer_config.json", auto_map=["evil.EvilTokenizer", "evil.EvilTokenizer"]),
    "a config of transformers with code": harm.text(
        "config.json", json.dumps({"model_type": "evil", "auto_map": harm.AUTO_MAP, "architectures": ["Evil"]})
    ),
    "a tokenizer's class of its own": harm.edit(
        "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=harm.TOKENIZER_MAP
    ),
    "a pickle beside": harm.pickled(CLIP_WEIGHTS, "open_clip_pytorch_model.bin", keep=True),
}
CLIP_FAULTS = {
    **{f"config: {name}": harm.text(CONFIG, content) for name, content in harm.ODD_JSON.items()},
    "model_cfg: a list": harm.edit(CONFIG, model_cfg=[]),
    "no text_cfg": harm.edit(CONFIG, model_cfg__text_cfg=...),
    "vision_cfg as a word": harm.edit(CONFIG, model_cfg__vision_cfg="ViT"),
    "unknown argument": harm.edit(CONFIG, model_cfg__evil=1),
    "unknown argument of the text tower": harm.edit(CONFIG, **{f"{TEXT}evil": 1}),
    "unknown argument of the image tower": harm.edit(CONFIG, model_cfg__vision_cfg__evil=1),
    "unknown preprocessing": harm.edit(CONFIG, preprocess_cfg__evil=1),
    "features as a word": harm.edit(CONFIG, model_cfg__embed_dim="many"),
    "no features": harm.edit(CONFIG, model_cfg__embed_dim=...),
    "quick_gelu as a word": harm.edit(CONFIG, model_cfg__quick_gelu="yes"),
    "width as a word": harm.edit(CONFIG, **{f"{TEXT}width": "128"}),
    "a billion layers": harm.edit(CONFIG, **{f"{TEXT}layers": 10**9}),
    "a width that fills memory": harm.edit(CONFIG, model_cfg__vision_cfg__width=60_000),
    "negative width": harm.edit(CONFIG, **{f"{TEXT}width": -1}),
    "other width": harm.edit(CONFIG, **{f"{TEXT}width": 64}),
    "other features": harm.edit(CONFIG, model_cfg__embed_dim=128),
    "heads that do not divide": harm.edit(CONFIG, **{f"{TEXT}heads": 7}),
    "no heads": harm.edit(CONFIG, **{f"{TEXT}heads": 0}),
    "mean of two": harm.edit(CONFIG, preprocess_cfg__mean=[0.5, 0.5]),
    "deviation of zero": harm.edit(CONFIG, preprocess_cfg__std=[0.5, 0.5, 0]),
    "mean in words": harm.edit(CONFIG, preprocess_cfg__mean=["a", "b", "c"]),
    "no vocabulary": harm.remove("tokenizer.json"),
    "empty vocabulary": harm.empty_vocabulary("tokenizer.json"),
    "vocabulary cut short": harm.cut("tokenizer.json"),
    "no tokenizer's config or vocabulary": harm.remove("tokenizer.json", "tokenizer_config.json"),
    "fewer tokens than the vocabulary": harm.edit(CONFIG, **{f"{TEXT}vocab_size": 300}),
    "weights cut short": harm.cut(CLIP_WEIGHTS),
    "weights with NaN": harm.tensors(CLIP_WEIGHTS, harm.not_a_number),
    "weights without a tensor": harm.tensors(CLIP_WEIGHTS, harm.one_less),
    "weights of another shape": harm.tensors(CLIP_WEIGHTS, harm.other_shape),
    "no weights": harm.remove(CLIP_WEIGHTS),
    "empty weights": harm.text(CLIP_WEIGHTS, ""),
}


@harm.cases(CLIP_CODE | CLIP_FAULTS)
def test_a_clip_is_refused_before_anything_is_rendered(tmp_path, harm):
    harm(folder := harm.copy(harm.CLIP, tmp_path / "clip"))
    harm.refused(lambda: load_clip(ClipConfig(model=f"local-dir:{folder}")), folder, "clip")


CLIP_ENTRANCES = {
    "scores": lambda model: ClipScorer(ClipConfig(model=model)),
    "few-shot backbone": lambda model: load_backbone(BackboneConfig(model=f"open_clip:{model}")),
    "dual prompts": lambda model: build_dual_prompts(DualPromptConfig(context=4), ClipConfig(model=model), SPACE),
    "label vectors": lambda model: make_label_vectors(SPACE, LabelVectorConfig(clip=ClipConfig(model=model))),
}


@pytest.mark.parametrize("entrance", CLIP_ENTRANCES.values(), ids=CLIP_ENTRANCES.keys())
@harm.cases(
    {
        name: (CLIP_CODE | CLIP_IGNORED)[name]
        for name in ("trust_remote_code for the tokenizer", "pickled", *CLIP_IGNORED)
    }
)
def test_a_clip_runs_no_code_wherever_it_is_used(tmp_path, harm, entrance):
    harm(folder := harm.copy(harm.CLIP, tmp_path / "clip"))
    harm.opened_or_refused(lambda: entrance(f"local-dir:{folder}"), folder)
