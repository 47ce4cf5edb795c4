"""Folders of generators, their adapters and judges: none runs code, and every fault is one sentence at the start."""

import shutil
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from figment.adaptation.adapters import save_adapter
from figment.clip.scorer import ClipConfig, ClipScorer, load_clip
from figment.errors import InputError
from figment.files import sha256_file
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.encoding import read_adapter
from figment.synthesis.generator import Generator
from figment.synthesis.weights import check_generator, folder_revision, unknown_names
from pocket.judge import check_judge
from tests.faults import model_harm as harms
from tests.faults.test_model_chats import ask

UNET, ENCODER = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
HUB_KERNEL = "owner/kernel"


GENERATOR_CODE = {
    "class and module of the folder's own": harms.edit("model_index.json", _class_name=["evil", "EvilPipeline"]),
    "custom_pipeline": harms.edit("model_index.json", custom_pipeline="evil"),
    "a part of a module in the folder": harms.edit("model_index.json", unet=["evil", "Evil"]),
    "a part of the standard library": harms.edit("model_index.json", unet=["subprocess", "Popen"]),
    "a part of a module to be imported": harms.edit("model_index.json", scheduler=["antigravity", "geohash"]),
    "a part of a module of diffusers": harms.edit("model_index.json", unet=["pipeline_utils", "os"]),
    "a function of transformers": harms.edit("model_index.json", text_encoder=["transformers", "pipeline"]),
    "an automatic class": harms.both(
        harms.edit("model_index.json", text_encoder=["transformers", "AutoModel"]),
        harms.edit("text_encoder/config.json", auto_map=harms.AUTO_MAP),
    ),
    "an automatic tokenizer": harms.both(
        harms.edit("model_index.json", tokenizer=["transformers", "AutoTokenizer"]),
        harms.edit("tokenizer/tokenizer_config.json", auto_map=harms.TOKENIZER_MAP),
    ),
    "trust_remote_code in a config": harms.edit("text_encoder/config.json", trust_remote_code=True),
    "attention from the hub": harms.edit("text_encoder/config.json", _attn_implementation=HUB_KERNEL),
    "pickled network": harms.pickled(UNET, "diffusion_pytorch_model.bin"),
    "pickled text encoder": harms.pickled(ENCODER, "pytorch_model.bin"),
    "pickle called safetensors": harms.both(
        harms.pickled(UNET, "other.bin"), lambda f: (f / "unet/other.bin").rename(f / UNET)
    ),
}
GENERATOR_IGNORED = {
    "code that is only there": harms.edit("model_index.json"),
    "auto_map of a text encoder": harms.edit("text_encoder/config.json", auto_map=harms.AUTO_MAP),
    "auto_map of a tokenizer": harms.edit("tokenizer/tokenizer_config.json", auto_map=harms.TOKENIZER_MAP),
    "another class for the scheduler": harms.edit("scheduler/scheduler_config.json", _class_name="evil.Evil"),
    "a pickle beside": harms.pickled(UNET, "diffusion_pytorch_model.bin", keep=True),
    "_name_or_path": harms.edit("unet/config.json", _name_or_path="evil"),
}
GENERATOR_FAULTS = {
    **{f"index: {name}": harms.text("model_index.json", content) for name, content in harms.ODD_JSON.items()},
    **{f"unet config: {name}": harms.text("unet/config.json", content) for name, content in harms.ODD_JSON.items()},
    "index without a class": harms.edit("model_index.json", _class_name=...),
    "unknown pipeline": harms.edit("model_index.json", _class_name="NoSuchPipeline"),
    "no text-to-image pipeline": harms.edit("model_index.json", _class_name="DDPMPipeline"),
    "a part that is a text": harms.edit("model_index.json", unet="diffusers"),
    "a part that is numbers": harms.edit("model_index.json", unet=[1, 2]),
    "no network": harms.edit("model_index.json", unet=[None, None]),
    "a part of three": harms.edit("model_index.json", unet=["diffusers", "UNet2DConditionModel", "x"]),
    "unknown part": harms.edit("model_index.json", unet=["diffusers", "NoSuchModel"]),
    "no tokenizer": harms.remove("tokenizer"),
    "no vocabulary": harms.remove("tokenizer/tokenizer.json"),
    "empty vocabulary": harms.empty_vocabulary("tokenizer/tokenizer.json"),
    "vocabulary of another kind": harms.text("tokenizer/tokenizer.json", "[1]"),
    "vocabulary cut short": harms.cut("tokenizer/tokenizer.json"),
    "another model's vocabulary": harms.edit("text_encoder/config.json", vocab_size=5),
    "no scheduler config": harms.remove("scheduler/scheduler_config.json"),
    "scheduler config: a list": harms.text("scheduler/scheduler_config.json", "[]"),
    "scheduler steps as a word": harms.edit("scheduler/scheduler_config.json", num_train_timesteps="many"),
    "unknown scheduler law": harms.edit("scheduler/scheduler_config.json", beta_schedule="none"),
    "width as a word": harms.edit("text_encoder/config.json", hidden_size="big"),
    "other width": harms.edit("text_encoder/config.json", hidden_size=64),
    "more layers than weights": harms.edit("text_encoder/config.json", num_hidden_layers=3),
    "a billion layers": harms.edit("text_encoder/config.json", num_hidden_layers=10**9),
    "quantised": harms.edit(
        "text_encoder/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}
    ),
    "blocks as a word": harms.edit("unet/config.json", block_out_channels="x"),
    "unknown block": harms.edit("unet/config.json", down_block_types=["EvilBlock", "EvilBlock"]),
    "texts of another width": harms.edit("unet/config.json", cross_attention_dim=64),
    "latents of another depth": harms.edit("vae/config.json", latent_channels=4),
    "no vae config": harms.remove("vae/config.json"),
    "network cut short": harms.cut(UNET),
    "network with NaN": harms.tensors(UNET, harms.not_a_number),
    "text encoder with infinity": harms.tensors(ENCODER, harms.infinite),
    "network without a tensor": harms.tensors(UNET, harms.one_less),
    "text encoder without a tensor": harms.tensors(ENCODER, harms.one_less),
    "network of another shape": harms.tensors(UNET, harms.other_shape),
    "text encoder of another shape": harms.tensors(ENCODER, harms.other_shape),
    "an adapter": harms.text("text_encoder/adapter_config.json", '{"base_model_name_or_path": "owner/name"}'),
}


@harms.cases(GENERATOR_CODE | GENERATOR_FAULTS)
def test_a_generator_is_refused_before_anything_is_rendered(tmp_path, harm):
    harm(folder := harms.copy(harms.GENERATOR, tmp_path / "model"))
    harms.refused(lambda: check_generator(GeneratorConfig(model=str(folder)), ["frog"]), folder, "generator.model")


@harms.cases(GENERATOR_CODE | GENERATOR_IGNORED)
def test_a_generator_runs_no_code_when_it_is_loaded(tmp_path, harm):
    harm(folder := harms.copy(harms.GENERATOR, tmp_path / "model"))
    harms.opened_or_refused(lambda: Generator(str(folder), folder_revision(str(folder)), SynthesisConfig()), folder)
    harms.opened_or_refused(lambda: check_generator(GeneratorConfig(model=str(folder))), folder)
    assert "antigravity" not in sys.modules


@harms.cases(
    {
        "none": harms.remove("judge.safetensors"),
        "a pickle": harms.pickled("judge.safetensors", "judge.bin"),
        "cut short": harms.cut("judge.safetensors"),
        "NaN": harms.tensors("judge.safetensors", harms.not_a_number),
        "without a tensor": harms.tensors("judge.safetensors", harms.one_less),
        "of another shape": harms.tensors("judge.safetensors", harms.other_shape),
    }
)
def test_a_judge_is_refused(tmp_path, harm):
    harm(folder := Path(shutil.copytree("models/pocket/judge", tmp_path / "judge")))
    harms.refused(lambda: check_judge(folder / "judge.safetensors", ["dog"]), folder, "judge")


@pytest.mark.parametrize(
    "harm", [harms.not_a_number, harms.infinite, harms.other_shape], ids=["NaN", "infinite", "another shape"]
)
def test_an_adapter_is_refused(tmp_path, generator, harm):
    found = {f"text_encoder.{n}": v.detach().clone() for n, v in generator.pipeline.text_encoder.named_parameters()}
    harm(found)
    name = save_adapter(found, tmp_path, {})
    harms.refused(lambda: read_adapter(tmp_path, name, generator.pipeline), tmp_path / "x", "adapter")


def test_an_adapter_that_is_no_safetensors_is_refused(tmp_path, generator):
    harms.pickled("nothing", "adapter", keep=True)(tmp_path)
    name = sha256_file(tmp_path / "adapter")
    (tmp_path / "adapter").rename(tmp_path / f"{name}.safetensors")
    harms.refused(lambda: read_adapter(tmp_path, name, generator.pipeline), tmp_path / "x", "adapter")


UNKNOWN = "<|endoftext|>"  # the only token that the pocket models' tokenizers use for what they do not know


def test_a_name_of_unknown_tokens_stops_the_run_at_its_start():
    with pytest.raises(InputError, match=r"generator\.model: .* unknown tokens only"):
        check_generator(GeneratorConfig(model=str(harms.GENERATOR)), ["frog", UNKNOWN])
    with pytest.raises(InputError, match=r"clip\.model: .* unknown tokens only"):
        load_clip(ClipConfig(model=f"local-dir:{harms.CLIP}"), ["frog", UNKNOWN])
    check_generator(GeneratorConfig(model=str(harms.GENERATOR)), ["frog", "a frog on a red car", ""])


def test_a_prompt_of_unknown_tokens_stops_a_rendering(generator):
    with pytest.raises(InputError, match="unknown tokens only"):
        generator.encode.encode([UNKNOWN])
    with pytest.raises(InputError, match="unknown tokens only"):
        ClipScorer(ClipConfig(model=f"local-dir:{harms.CLIP}")).prompt_features(["a frog", f"{UNKNOWN} {UNKNOWN}"])


@pytest.mark.parametrize("content", ["{}", "[1]", "[", "7", "[[]]"])
def test_a_vocabulary_that_is_no_list_of_words_is_one_sentence(tmp_path, content):
    (tmp_path / "vocabulary.json").write_text(content)
    harms.refused(lambda: unknown_names(str(tmp_path), ["frog"]), tmp_path / "x", "vocabulary.json")


def test_what_is_whole_opens(tmp_path):
    """The copies themselves are no reason to refuse a model."""
    check_generator(GeneratorConfig(model=str(harms.copy(harms.GENERATOR, tmp_path / "model"))), ["frog"])
    load_clip(ClipConfig(model=f"local-dir:{harms.copy(harms.CLIP, tmp_path / 'clip')}"), ["frog"])
    ask(harms.copy(harms.CHAT, tmp_path / "chat"))
    assert not (tmp_path / "marker").exists()
    weights = {name: value.half() for name, value in load_file(harms.GENERATOR / UNET).items()}
    save_file(weights, tmp_path / "model" / UNET, {"format": "pt"})
    check_generator(GeneratorConfig(model=str(tmp_path / "model")))
