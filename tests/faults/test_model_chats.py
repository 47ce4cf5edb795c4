"""Folders of chat models: none runs code; every fault is one sentence before anything is asked."""

from pathlib import Path

from figment.prompts.chat import Chat, ChatConfig
from tests.faults.model_harm import (
    AUTO_MAP,
    CHAT,
    ODD_JSON,
    TOKENIZER_MAP,
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

CHAT_WEIGHTS = "model.safetensors"
HUB_KERNEL = "owner/kernel"


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
