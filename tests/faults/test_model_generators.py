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
from tests.faults import model_harm as harm
from tests.faults.test_model_chats import ask

UNET, ENCODER = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
HUB_KERNEL = "owner/kernel"


GENERATOR_CODE = {
    "class and module of the folder's own": harm.edit("model_index.json", _class_name=["evil", "EvilPipeline"]),
    "custom_pipeline": harm.edit("model_index.json", custom_pipeline="evil"),
    "a part of a module in the folder": harm.edit("model_index.json", unet=["evil", "Evil"]),
    "a part of the standard library": harm.edit("model_index.json", unet=["subprocess", "Popen"]),
    "a part of a module to be imported": harm.edit("model_index.json", scheduler=["antigravity", "geohash"]),
    "a part of a module of diffusers": harm.edit("model_index.json", unet=["pipeline_utils", "os"]),
    "a function of transformers": harm.edit("model_index.json", text_encoder=["transformers", "pipeline"]),
    "an automatic class": harm.both(
        harm.edit("model_index.json", text_encoder=["transformers", "AutoModel"]),
        harm.edit("text_encoder/config.json", auto_map=harm.AUTO_MAP),
    ),
    "an automatic tokenizer": harm.both(
        harm.edit("model_index.json", tokenizer=["transformers", "AutoTokenizer"]),
        harm.edit("tokenizer/tokenizer_config.json", auto_map=harm.TOKENIZER_MAP),
    ),
    "trust_remote_code in a config": harm.edit("text_encoder/config.json", trust_remote_code=True),
    "attention from the hub": harm.edit("text_encoder/config.json", _attn_implementation=HUB_KERNEL),
    "pickled network": harm.pickled(UNET, "diffusion_pytorch_model.bin"),
    "pickled text encoder": harm.pickled(ENCODER, "pytorch_model.bin"),
    "pickle called safetensors": harm.both(
        harm.pickled(UNET, "other.bin"), lambda f: (f / "unet/other.bin").rename(f / UNET)
    ),
}
GENERATOR_IGNORED = {
    "code that is only there": harm.edit("model_index.json"),
    "auto_map of a text encoder": harm.edit("text_encoder/config.json", auto_map=harm.AUTO_MAP),
    "auto_map of a tokenizer": harm.edit("tokenizer/tokenizer_config.json", auto_map=harm.TOKENIZER_MAP),
    "another class for the scheduler": harm.edit("scheduler/scheduler_config.json", _class_name="evil.Evil"),
    "a pickle beside": harm.pickled(UNET, "diffusion_pytorch_model.bin", keep=True),
    "_name_or_path": harm.edit("unet/config.json", _name_or_path="evil"),
}
GENERATOR_FAULTS = {
    **{f"index: {name}": harm.text("model_index.json", content) for name, content in harm.ODD_JSON.items()},
    **{f"unet config: {name}": harm.text("unet/config.json", content) for name, content in harm.ODD_JSON.items()},
    "index without a class": harm.edit("model_index.json", _class_name=...),
    "unknown pipeline": harm.edit("model_index.json", _class_name="NoSuchPipeline"),
    "no text-to-image pipeline": harm.edit("model_index.json", _class_name="DDPMPipeline"),
    "a part that is a text": harm.edit("model_index.json", unet="diffusers"),
    "a part that is numbers": harm.edit("model_index.json", unet=[1, 2]),
    "no network": harm.edit("model_index.json", unet=[None, None]),
    "a part of three": harm.edit("model_index.json", unet=["diffusers", "UNet2DConditionModel", "x"]),
    "unknown part": harm.edit("model_index.json", unet=["diffusers", "NoSuchModel"]),
    "no tokenizer": harm.remove("tokenizer"),
    "no vocabulary": harm.remove("tokenizer/tokenizer.json"),
    "empty vocabulary": harm.empty_vocabulary("tokenizer/tokenizer.json"),
    "vocabulary of another kind": harm.text("tokenizer/tokenizer.json", "[1]"),
    "vocabulary cut short": harm.cut("tokenizer/tokenizer.json"),
    "another model's vocabulary": harm.edit("text_encoder/config.json", vocab_size=5),
    "no scheduler config": harm.remove("scheduler/scheduler_config.json"),
    "scheduler config: a list": harm.text("scheduler/scheduler_config.json", "[]"),
    "scheduler steps as a word": harm.edit("scheduler/scheduler_config.json", num_train_timesteps="many"),
    "unknown scheduler law": harm.edit("scheduler/scheduler_config.json", beta_schedule="none"),
    "width as a word": harm.edit("text_encoder/config.json", hidden_size="big"),
    "other width": harm.edit("text_encoder/config.json", hidden_size=64),
    "more layers than weights": harm.edit("text_encoder/config.json", num_hidden_layers=3),
    "a billion layers": harm.edit("text_encoder/config.json", num_hidden_layers=10**9),
    "quantised": harm.edit(
        "text_encoder/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}
    ),
    "blocks as a word": harm.edit("unet/config.json", block_out_channels="x"),
    "unknown block": harm.edit("unet/config.json", down_block_types=["EvilBlock", "EvilBlock"]),
    "texts of another width": harm.edit("unet/config.json", cross_attention_dim=64),
    "latents of another depth": harm.edit("vae/config.json", latent_channels=4),
    "no vae config": harm.remove("vae/config.json"),
    "network cut short": harm.cut(UNET),
    "network with NaN": harm.tensors(UNET, harm.not_a_number),
    "text encoder with infinity": harm.tensors(ENCODER, harm.infinite),
    "network without a tensor": harm.tensors(UNET, harm.one_less),
    "text encoder without a tensor": harm.tensors(ENCODER, harm.one_less),
    "network of another shape": harm.tensors(UNET, harm.other_shape),
    "text encoder of another shape": harm.tensors(ENCODER, harm.other_shape),
    "an adapter": harm.text("text_encoder/adapter_config.json", '{"base_model_name_or_path": "owner/name"}'),
}


@harm.cases(GENERATOR_CODE | GENERATOR_FAULTS)
def test_a_generator_is_refused_before_anything_is_rendered(tmp_path, harm):
    harm(folder := harm.copy(harm.GENERATOR, tmp_path / "model"))
    harm.refused(lambda: check_generator(GeneratorConfig(model=str(folder)), ["frog"]), folder, "generator.model")


@harm.cases(GENERATOR_CODE | GENERATOR_IGNORED)
def test_a_generator_runs_no_code_when_it_is_loaded(tmp_path, harm):
    harm(folder := harm.copy(harm.GENERATOR, tmp_path / "model"))
    harm.opened_or_refused(lambda: Generator(str(folder), folder_revision(str(folder)), SynthesisConfig()), folder)
    harm.opened_or_refused(lambda: check_generator(GeneratorConfig(model=str(folder))), folder)
    assert "antigravity" not in sys.modules


@harm.cases(
    {
        "none": harm.remove("judge.safetensors"),
        "a pickle": harm.pickled("judge.safetensors", "judge.bin"),
        "cut short": harm.cut("judge.safetensors"),
        "NaN": harm.tensors("judge.safetensors", harm.not_a_number),
        "without a tensor": harm.tensors("judge.safetensors", harm.one_less),
        "of another shape": harm.tensors("judge.safetensors", harm.other_shape),
    }
)
def test_a_judge_is_refused(tmp_path, harm):
    harm(folder := Path(shutil.copytree("models/pocket/judge", tmp_path / "judge")))
    harm.refused(lambda: check_judge(folder / "judge.safetensors", ["dog"]), folder, "judge")


@pytest.mark.parametrize(
    "harm", [harm.not_a_number, harm.infinite, harm.other_shape], ids=["NaN", "infinite", "another shape"]
)
def test_an_adapter_is_refused(tmp_path, generator, harm):
    found = {f"text_encoder.{n}": v.detach().clone() for n, v in generator.pipeline.text_encoder.named_parameters()}
    harm(found)
    name = save_adapter(found, tmp_path, {})
    harm.refused(lambda: read_adapter(tmp_path, name, generator.pipeline), tmp_path / "x", "adapter")


def test_an_adapter_that_is_no_safetensors_is_refused(tmp_path, generator):
    harm.pickled("nothing", "adapter", keep=True)(tmp_path)
    name = sha256_file(tmp_path / "adapter")
    (tmp_path / "adapter").rename(tmp_path / f"{name}.safetensors")
    harm.refused(lambda: read_adapter(tmp_path, name, generator.pipeline), tmp_path / "x", "adapter")


UNKNOWN = "<|endoftext|>"  # the only token that the pocket models' tokenizers use for what they do not know


def test_a_name_of_unknown_tokens_stops_the_run_at_its_start():
    with pytest.raises(InputError, match=r"generator\.model: .* unknown tokens only"):
        check_generator(GeneratorConfig(model=str(harm.GENERATOR)), ["frog", UNKNOWN])
    with pytest.raises(InputError, match=r"clip\.model: .* unknown tokens only"):
        load_clip(ClipConfig(model=f"local-dir:{harm.CLIP}"), ["frog", UNKNOWN])
    check_generator(GeneratorConfig(model=str(harm.GENERATOR)), ["frog", "a frog on a red car", ""])


def test_a_prompt_of_unknown_tokens_stops_a_rendering(generator):
    with pytest.raises(InputError, match="unknown tokens only"):
        generator.encode.encode([UNKNOWN])
    with pytest.raises(InputError, match="unknown tokens only"):
        ClipScorer(ClipConfig(model=f"local-dir:{harm.CLIP}")).prompt_features(["a frog", f"{UNKNOWN} {UNKNOWN}"])


@pytest.mark.parametrize("content", ["{}", "[1]", "[", "7", "[[]]"])
def test_a_vocabulary_that_is_no_list_of_words_is_one_sentence(tmp_path, content):
    (tmp_path / "vocabulary.json").write_text(content)
    harm.refused(lambda: unknown_names(str(tmp_path), ["frog"]), tmp_path / "x", "vocabulary.json")


def test_what_is_whole_opens(tmp_path):
    """The copies themselves are no reason to refuse a model."""
    check_generator(GeneratorConfig(model=str(harm.copy(harm.GENERATOR, tmp_path / "model"))), ["frog"])
    load_clip(ClipConfig(model=f"local-dir:{harm.copy(harm.CLIP, tmp_path / 'clip')}"), ["frog"])
    ask(harm.copy(harm.CHAT, tmp_path / "chat"))
    assert not (tmp_path / "marker").exists()
    weights = {name: value.half() for name, value in load_file(harm.GENERATOR / UNET).items()}
    save_file(weights, tmp_path / "model" / UNET, {"format": "pt"})
    check_generator(GeneratorConfig(model=str(tmp_path / "model")))
