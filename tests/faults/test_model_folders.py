"""Model folders of every kind: none runs code, also if stdin answers ``y``, and every fault is one sentence at the start."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from figment.adaptation.adapters import save_adapter
from figment.cli import main
from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors, make_label_vectors
from figment.clip.scorer import ClipConfig, ClipScorer, clip_digest, load_clip
from figment.errors import InputError
from figment.files import sha256_file
from figment.labels import LabelSpace
from figment.planning.generator_config import GeneratorConfig
from figment.prompts.chat import Chat, ChatConfig
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.encoding import read_adapter
from figment.synthesis.generator import Generator
from figment.synthesis.weights import check_generator, folder_revision, unknown_names
from figment.training.backbone import load_backbone
from figment.training.config import BackboneConfig, SemanticConfig, TrainingConfig
from figment.training.dual_prompt import DualPromptConfig, build_dual_prompts
from pocket.judge import check_judge
from tests.faults.model_harm import (
    AUTO_MAP,
    CHAT,
    CLIP,
    GENERATOR,
    ODD_JSON,
    TOKENIZER_MAP,
    both,
    copy,
    cut,
    edit,
    empty_vocabulary,
    infinite,
    not_a_number,
    one_less,
    other_shape,
    pickled,
    remove,
    tensors,
    text,
)
from tests.saved_models import save_dual_prompts, save_head, save_matrix, save_timm

SPACE = LabelSpace.of(["cat", "dog", "frog"])
TRAINING = TrainingConfig(model="test_resnet", image_size=16)
UNET, ENCODER = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
CLIP_WEIGHTS, CHAT_WEIGHTS = "open_clip_model.safetensors", "model.safetensors"
CONFIG, TEXT = "open_clip_config.json", "model_cfg__text_cfg__"
HUB_KERNEL = "owner/kernel"


@pytest.fixture(autouse=True)
def yes(monkeypatch):
    """Whoever asks on stdin whether code may run is told that it may."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))


def refused(open_it, folder: Path, field: str) -> None:
    """One sentence, no code run."""
    with pytest.raises(InputError) as caught:
        open_it()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    assert field in message
    assert not (folder.parent / "marker").exists()


def opened_or_refused(open_it, folder: Path) -> None:
    """Code that is only there, or named where no loader looks, is ignored; it does not run."""
    with contextlib.suppress(InputError):
        open_it()
    assert not (folder.parent / "marker").exists()


def cases(harms: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("harm", harms.values(), ids=harms.keys())


GENERATOR_CODE = {
    "class and module of the folder's own": edit("model_index.json", _class_name=["evil", "EvilPipeline"]),
    "custom_pipeline": edit("model_index.json", custom_pipeline="evil"),
    "a part of a module in the folder": edit("model_index.json", unet=["evil", "Evil"]),
    "a part of the standard library": edit("model_index.json", unet=["subprocess", "Popen"]),
    "a part of a module to be imported": edit("model_index.json", scheduler=["antigravity", "geohash"]),
    "a part of a module of diffusers": edit("model_index.json", unet=["pipeline_utils", "os"]),
    "a function of transformers": edit("model_index.json", text_encoder=["transformers", "pipeline"]),
    "an automatic class": both(
        edit("model_index.json", text_encoder=["transformers", "AutoModel"]), edit("text_encoder/config.json", auto_map=AUTO_MAP)
    ),
    "an automatic tokenizer": both(
        edit("model_index.json", tokenizer=["transformers", "AutoTokenizer"]),
        edit("tokenizer/tokenizer_config.json", auto_map=TOKENIZER_MAP),
    ),
    "trust_remote_code in a config": edit("text_encoder/config.json", trust_remote_code=True),
    "attention from the hub": edit("text_encoder/config.json", _attn_implementation=HUB_KERNEL),
    "pickled network": pickled(UNET, "diffusion_pytorch_model.bin"),
    "pickled text encoder": pickled(ENCODER, "pytorch_model.bin"),
    "pickle called safetensors": both(pickled(UNET, "other.bin"), lambda f: (f / "unet/other.bin").rename(f / UNET)),
}  # fmt: skip
GENERATOR_IGNORED = {
    "code that is only there": edit("model_index.json"),
    "auto_map of a text encoder": edit("text_encoder/config.json", auto_map=AUTO_MAP),
    "auto_map of a tokenizer": edit("tokenizer/tokenizer_config.json", auto_map=TOKENIZER_MAP),
    "another class for the scheduler": edit("scheduler/scheduler_config.json", _class_name="evil.Evil"),
    "a pickle beside": pickled(UNET, "diffusion_pytorch_model.bin", keep=True),
    "_name_or_path": edit("unet/config.json", _name_or_path="evil"),
}
GENERATOR_FAULTS = {
    **{f"index: {name}": text("model_index.json", content) for name, content in ODD_JSON.items()},
    **{f"unet config: {name}": text("unet/config.json", content) for name, content in ODD_JSON.items()},
    "index without a class": edit("model_index.json", _class_name=...),
    "unknown pipeline": edit("model_index.json", _class_name="NoSuchPipeline"),
    "no text-to-image pipeline": edit("model_index.json", _class_name="DDPMPipeline"),
    "a part that is a text": edit("model_index.json", unet="diffusers"),
    "a part that is numbers": edit("model_index.json", unet=[1, 2]),
    "no network": edit("model_index.json", unet=[None, None]),
    "a part of three": edit("model_index.json", unet=["diffusers", "UNet2DConditionModel", "x"]),
    "unknown part": edit("model_index.json", unet=["diffusers", "NoSuchModel"]),
    "no tokenizer": remove("tokenizer"),
    "no vocabulary": remove("tokenizer/tokenizer.json"),
    "empty vocabulary": empty_vocabulary("tokenizer/tokenizer.json"),
    "vocabulary of another kind": text("tokenizer/tokenizer.json", "[1]"),
    "vocabulary cut short": cut("tokenizer/tokenizer.json"),
    "another model's vocabulary": edit("text_encoder/config.json", vocab_size=5),
    "no scheduler config": remove("scheduler/scheduler_config.json"),
    "scheduler config: a list": text("scheduler/scheduler_config.json", "[]"),
    "scheduler steps as a word": edit("scheduler/scheduler_config.json", num_train_timesteps="many"),
    "unknown scheduler law": edit("scheduler/scheduler_config.json", beta_schedule="none"),
    "width as a word": edit("text_encoder/config.json", hidden_size="big"),
    "other width": edit("text_encoder/config.json", hidden_size=64),
    "more layers than weights": edit("text_encoder/config.json", num_hidden_layers=3),
    "a billion layers": edit("text_encoder/config.json", num_hidden_layers=10**9),
    "quantised": edit("text_encoder/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "blocks as a word": edit("unet/config.json", block_out_channels="x"),
    "unknown block": edit("unet/config.json", down_block_types=["EvilBlock", "EvilBlock"]),
    "texts of another width": edit("unet/config.json", cross_attention_dim=64),
    "latents of another depth": edit("vae/config.json", latent_channels=4),
    "no vae config": remove("vae/config.json"),
    "network cut short": cut(UNET),
    "network with NaN": tensors(UNET, not_a_number),
    "text encoder with infinity": tensors(ENCODER, infinite),
    "network without a tensor": tensors(UNET, one_less),
    "text encoder without a tensor": tensors(ENCODER, one_less),
    "network of another shape": tensors(UNET, other_shape),
    "text encoder of another shape": tensors(ENCODER, other_shape),
    "an adapter": text("text_encoder/adapter_config.json", '{"base_model_name_or_path": "owner/name"}'),
}  # fmt: skip


@cases(GENERATOR_CODE | GENERATOR_FAULTS)
def test_a_generator_is_refused_before_anything_is_rendered(tmp_path, harm):
    harm(folder := copy(GENERATOR, tmp_path / "model"))
    refused(lambda: check_generator(GeneratorConfig(model=str(folder)), ["frog"]), folder, "generator.model")


@cases(GENERATOR_CODE | GENERATOR_IGNORED)
def test_a_generator_runs_no_code_when_it_is_loaded(tmp_path, harm):
    harm(folder := copy(GENERATOR, tmp_path / "model"))
    opened_or_refused(lambda: Generator(str(folder), folder_revision(str(folder)), SynthesisConfig()), folder)
    opened_or_refused(lambda: check_generator(GeneratorConfig(model=str(folder))), folder)
    assert "antigravity" not in sys.modules


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


CHAT_CODE = {
    "a model's own class": edit("config.json", model_type="evil", auto_map=AUTO_MAP),
    "trust_remote_code in the config": edit("config.json", trust_remote_code=True, auto_map=AUTO_MAP),
    "generation of its own": edit("generation_config.json", custom_generate="."),
    "attention from the hub": edit("config.json", attn_implementation=HUB_KERNEL),
    "attention from the hub, as saved": edit("config.json", _attn_implementation=HUB_KERNEL),
    "weights elsewhere": edit("config.json", transformers_weights="../evil.safetensors"),
    "pickled": pickled(CHAT_WEIGHTS, "pytorch_model.bin"),
    "an adapter": text("adapter_config.json", '{"base_model_name_or_path": "evil", "auto_mapping": {"x": "evil"}}'),
    "a template that leaves its sandbox": text(
        "chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('x') }}"
    ),
}  # fmt: skip
CHAT_IGNORED = {
    "auto_map beside a known class": edit("config.json", auto_map=AUTO_MAP),
    "auto_map of the tokenizer": edit("tokenizer_config.json", auto_map=TOKENIZER_MAP),
    "auto_map of the tokenizer as a list": edit("tokenizer_config.json", auto_map=["evil.EvilTokenizer", None]),
    "a tokenizer's own class": edit("tokenizer_config.json", tokenizer_class="Evil", auto_map=TOKENIZER_MAP),
    "a pickle beside": pickled(CHAT_WEIGHTS, "pytorch_model.bin", keep=True),
    "code that is only there": edit("config.json"),
}
CHAT_FAULTS = {
    **{f"config: {name}": text("config.json", content) for name, content in ODD_JSON.items()},
    "no config": remove("config.json"),
    "no tokenizer": remove("tokenizer.json", "tokenizer_config.json"),
    "no vocabulary": remove("tokenizer.json"),
    "empty vocabulary": empty_vocabulary("tokenizer.json"),
    "tokenizer's config: a list": text("tokenizer_config.json", "[]"),
    "generation config: a list": text("generation_config.json", "[]"),
    "end token as a word": edit("generation_config.json", eos_token_id="end"),
    "fewer tokens than the vocabulary": edit("config.json", vocab_size=10),
    "width as a word": edit("config.json", hidden_size="big"),
    "other width": edit("config.json", hidden_size=64),
    "no heads": edit("config.json", num_attention_heads=0),
    "more layers than weights": edit("config.json", num_hidden_layers=4),
    "a billion layers": edit("config.json", num_hidden_layers=10**9),
    "quantised": edit("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "no template": remove("chat_template.jinja"),
    "template that cannot be read": text("chat_template.jinja", "{% for %}"),
    "template that asks for what is not there": text("chat_template.jinja", "{{ messages[7].content.x }}"),
    "weights cut short": cut(CHAT_WEIGHTS),
    "weights with NaN": tensors(CHAT_WEIGHTS, not_a_number),
    "weights without a tensor": tensors(CHAT_WEIGHTS, one_less),
    "weights of another shape": tensors(CHAT_WEIGHTS, other_shape),
}


def ask(folder: Path) -> None:
    Chat(ChatConfig(model=str(folder), max_new_tokens=2), folder.parent / "cache").ask(["Name a dog"])


@cases(CHAT_CODE | CHAT_FAULTS)
def test_a_chat_model_is_refused_before_it_is_asked(tmp_path, harm):
    harm(folder := copy(CHAT, tmp_path / "chat"))
    refused(lambda: ask(folder), folder, "prompts.model")
    assert not (tmp_path / "cache").exists()


@cases(CHAT_IGNORED)
def test_a_chat_model_runs_no_code_beside_its_own_class(tmp_path, harm):
    harm(folder := copy(CHAT, tmp_path / "chat"))
    opened_or_refused(lambda: ask(folder), folder)


WEIGHTS, CARD = "model.safetensors", "model.json"
CLASSIFIER_FAULTS = {
    **{f"card: {name}": text(CARD, content) for name, content in ODD_JSON.items()},
    "card without labels": edit(CARD, labels=...),
    "labels as numbers": edit(CARD, labels__labels=[1, 2]),
    "model of the hub": edit(CARD, settings__model="hf_hub:evil/evil"),
    "model in a folder": edit(CARD, settings__model="local-dir:evil"),
    "another model": edit(CARD, settings__model="test_vit"),
    "pickled weights": pickled(WEIGHTS, "model.bin"),
    "a pickle called safetensors": both(pickled(WEIGHTS, "x.bin"), lambda f: (f / "x.bin").rename(f / WEIGHTS)),
    "no weights": remove(WEIGHTS),
    "weights cut short": cut(WEIGHTS),
    "weights with NaN": tensors(WEIGHTS, not_a_number),
    "weights without a tensor": tensors(WEIGHTS, one_less),
    "weights with another": tensors(WEIGHTS, lambda found: found.update(evil=torch.zeros(1))),
    "weights of another shape": tensors(WEIGHTS, other_shape),
}


def predict(folder: Path, capsys) -> str:
    """What the command says of an image, once it has refused the model."""
    Image.new("RGB", (16, 16)).save(image := folder.parent / "image.png")
    assert main(["predict", str(image), "--model", str(folder)]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (folder.parent / "marker").exists()
    return error


@cases(CLASSIFIER_FAULTS)
def test_a_trained_classifier_is_refused(tmp_path, capsys, harm):
    save_timm(tmp_path / "model", SPACE, TRAINING)
    harm(tmp_path / "model")
    assert "model.json" in predict(tmp_path / "model", capsys)


SEMANTIC_FAULTS = {
    "card: a list": text(CARD, "[]"),
    "more names than vectors": edit(CARD, labels__labels=[{"name": name} for name in ("cat", "dog", "frog", "elk")]),
    "no source of vectors": edit(CARD, settings__vectors={}),
    "other vectors": tensors(WEIGHTS, lambda found: found.update(vectors=torch.eye(3, 5))),
    "weights with NaN": tensors(WEIGHTS, not_a_number),
    "weights without vectors": tensors(WEIGHTS, lambda found: found.pop("vectors")),
    "pickled weights": pickled(WEIGHTS, "model.pt"),
}


@cases(SEMANTIC_FAULTS)
def test_a_semantic_matrix_is_refused(tmp_path, capsys, harm):
    config = SemanticConfig(model="test_resnet", image_size=16, rows=2, pretrained=False, device="cpu")
    save_matrix(tmp_path / "model", LabelVectors(SPACE.names, torch.eye(3, 4)), config)
    harm(tmp_path / "model")
    assert "model.json" in predict(tmp_path / "model", capsys)


def test_dual_prompts_run_no_code_of_the_clip_that_their_card_names(tmp_path, capsys):
    CLIP_CODE["trust_remote_code for the tokenizer"](evil := copy(CLIP, tmp_path / "clip"))
    save_dual_prompts(tmp_path / "model", SPACE, DualPromptConfig(context=4, device="cpu"))
    clip = ClipConfig(model=f"local-dir:{evil}")
    edit(CARD, settings__clip__model=clip.model, settings__clip_digest=clip_digest(clip))(tmp_path / "model")
    assert "trust_remote_code" in predict(tmp_path / "model", capsys)


BACKBONES = {
    "a pickle": ("timm:test_resnet", "weights.pth"),
    "a pickle called safetensors": ("timm:test_resnet", "weights.safetensors"),
    "of the hub": ("timm:hf_hub:evil/evil", None),
    "in a folder": ("timm:local-dir:evil", None),
    "a CLIP that runs code": ("open_clip:local-dir:{folder}/clip", None),
    "a pickled CLIP file": ("open_clip:ViT-B-32", "weights.pth"),
}


@pytest.mark.parametrize(("model", "weights"), BACKBONES.values(), ids=BACKBONES.keys())
def test_a_few_shot_head_runs_no_code_of_the_backbone_that_its_card_names(tmp_path, capsys, model, weights):
    CLIP_CODE["trust_remote_code for the tokenizer"](copy(CLIP, tmp_path / "clip"))
    if weights:
        pickled("nothing", weights, keep=True)(tmp_path)
    backbone = BackboneConfig(
        model=model.format(folder=tmp_path), weights=str(tmp_path / weights) if weights else None, image_size=16, device="cpu"
    )  # fmt: skip
    own = BackboneConfig(model="open_clip:local-dir:models/pocket/clip", image_size=32, device="cpu")
    save_head(tmp_path / "model", SPACE, own)
    edit(CARD, settings__backbone=backbone.model_dump(mode="json"))(tmp_path / "model")
    predict(tmp_path / "model", capsys)


@cases(
    {
        "none": remove("judge.safetensors"),
        "a pickle": pickled("judge.safetensors", "judge.bin"),
        "cut short": cut("judge.safetensors"),
        "NaN": tensors("judge.safetensors", not_a_number),
        "without a tensor": tensors("judge.safetensors", one_less),
        "of another shape": tensors("judge.safetensors", other_shape),
    }
)
def test_a_judge_is_refused(tmp_path, harm):
    harm(folder := Path(shutil.copytree("models/pocket/judge", tmp_path / "judge")))
    refused(lambda: check_judge(folder / "judge.safetensors", ["dog"]), folder, "judge")


@pytest.mark.parametrize("harm", [not_a_number, infinite, other_shape], ids=["NaN", "infinite", "another shape"])
def test_an_adapter_is_refused(tmp_path, generator, harm):
    found = {f"text_encoder.{n}": v.detach().clone() for n, v in generator.pipeline.text_encoder.named_parameters()}
    harm(found)
    name = save_adapter(found, tmp_path, {})
    refused(lambda: read_adapter(tmp_path, name, generator.pipeline), tmp_path / "x", "adapter")


def test_an_adapter_that_is_no_safetensors_is_refused(tmp_path, generator):
    pickled("nothing", "adapter", keep=True)(tmp_path)
    name = sha256_file(tmp_path / "adapter")
    (tmp_path / "adapter").rename(tmp_path / f"{name}.safetensors")
    refused(lambda: read_adapter(tmp_path, name, generator.pipeline), tmp_path / "x", "adapter")


UNKNOWN = "<|endoftext|>"  # the only token that the pocket models' tokenizers use for what they do not know


def test_a_name_of_unknown_tokens_stops_the_run_at_its_start():
    with pytest.raises(InputError, match=r"generator\.model: .* unknown tokens only"):
        check_generator(GeneratorConfig(model=str(GENERATOR)), ["frog", UNKNOWN])
    with pytest.raises(InputError, match=r"clip\.model: .* unknown tokens only"):
        load_clip(ClipConfig(model=f"local-dir:{CLIP}"), ["frog", UNKNOWN])
    check_generator(GeneratorConfig(model=str(GENERATOR)), ["frog", "a frog on a red car", ""])


def test_a_prompt_of_unknown_tokens_stops_a_rendering(generator):
    with pytest.raises(InputError, match="unknown tokens only"):
        generator.encode.encode([UNKNOWN])
    with pytest.raises(InputError, match="unknown tokens only"):
        ClipScorer(ClipConfig(model=f"local-dir:{CLIP}")).prompt_features(["a frog", f"{UNKNOWN} {UNKNOWN}"])


@pytest.mark.parametrize("content", ["{}", "[1]", "[", "7", "[[]]"])
def test_a_vocabulary_that_is_no_list_of_words_is_one_sentence(tmp_path, content):
    (tmp_path / "vocabulary.json").write_text(content)
    refused(lambda: unknown_names(str(tmp_path), ["frog"]), tmp_path / "x", "vocabulary.json")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(source: Path, cache: Path, harm, monkeypatch) -> Path:
    """A model in the hub's cache on disk, laid out as huggingface_hub does, under the name owner/name."""
    repository = cache / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    harm(folder := copy(source, repository / "snapshots" / COMMIT))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return folder


HUB = {
    "generator": (GENERATOR, lambda: check_generator(GeneratorConfig(model="owner/name"), ["frog"])),
    "clip": (CLIP, lambda: ClipScorer(ClipConfig(model="hf-hub:owner/name"))),
    "chat": (CHAT, lambda: Chat(ChatConfig(model="owner/name", max_new_tokens=2), Path("none"))._open_backend()),
}
HUB_HARM = {
    "generator": GENERATOR_CODE["custom_pipeline"],
    "clip": CLIP_CODE["trust_remote_code for the tokenizer"],
    "chat": CHAT_CODE["a model's own class"],
}


@pytest.mark.parametrize("kind", HUB)
def test_a_model_of_the_hub_runs_no_code_either(tmp_path, monkeypatch, kind):
    source, open_it = HUB[kind]
    folder = cached(source, tmp_path / "cache", HUB_HARM[kind], monkeypatch)
    refused(open_it, folder, "owner/name" if kind == "chat" else COMMIT)


@pytest.mark.parametrize("kind", HUB)
def test_a_whole_model_of_the_hub_opens(tmp_path, monkeypatch, kind):
    source, open_it = HUB[kind]
    folder = cached(
        source, tmp_path / "cache", edit("config.json") if kind == "chat" else remove("evil.py"), monkeypatch
    )
    open_it()
    assert not (folder.parent / "marker").exists()


def test_what_is_whole_opens(tmp_path):
    """The copies themselves are no reason to refuse a model."""
    check_generator(GeneratorConfig(model=str(copy(GENERATOR, tmp_path / "model"))), ["frog"])
    load_clip(ClipConfig(model=f"local-dir:{copy(CLIP, tmp_path / 'clip')}"), ["frog"])
    ask(copy(CHAT, tmp_path / "chat"))
    assert not (tmp_path / "marker").exists()
    weights = {name: value.half() for name, value in load_file(GENERATOR / UNET).items()}
    save_file(weights, tmp_path / "model" / UNET, {"format": "pt"})
    check_generator(GeneratorConfig(model=str(tmp_path / "model")))
