"""Folders of chat models: none runs code; every fault is one sentence before anything is asked."""

from pathlib import Path

from figment.prompts.chat import Chat, ChatConfig
from tests.faults import model_harm as harms

CHAT_WEIGHTS = "model.safetensors"
HUB_KERNEL = "owner/kernel"


CHAT_CODE = {
    "a model's own class": harms.edit("config.json", model_type="evil", auto_map=harms.AUTO_MAP),
    "trust_remote_code in the config": harms.edit("config.json", trust_remote_code=True, auto_map=harms.AUTO_MAP),
    "generation of its own": harms.edit("generation_config.json", custom_generate="."),
    "attention from the hub": harms.edit("config.json", attn_implementation=HUB_KERNEL),
    "attention from the hub, as saved": harms.edit("config.json", _attn_implementation=HUB_KERNEL),
    "weights elsewhere": harms.edit("config.json", transformers_weights="../evil.safetensors"),
    "pickled": harms.pickled(CHAT_WEIGHTS, "pytorch_model.bin"),
    "an adapter": harms.text("adapter_config.json", '{"base_model_name_or_path": "evil", "auto_mapping": {"x": "evil"}}'),
    "a template that leaves its sandbox": harms.text(
        "chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('x') }}"
    ),
}  # fmt: skip
CHAT_IGNORED = {
    "auto_map beside a known class": harms.edit("config.json", auto_map=harms.AUTO_MAP),
    "auto_map of the tokenizer": harms.edit("tokenizer_config.json", auto_map=harms.TOKENIZER_MAP),
    "auto_map of the tokenizer as a list": harms.edit("tokenizer_config.json", auto_map=["evil.EvilTokenizer", None]),
    "a tokenizer's own class": harms.edit(
        "tokenizer_config.json", tokenizer_class="Evil", auto_map=harms.TOKENIZER_MAP
    ),
    "a pickle beside": harms.pickled(CHAT_WEIGHTS, "pytorch_model.bin", keep=True),
    "code that is only there": harms.edit("config.json"),
}
CHAT_FAULTS = {
    **{f"config: {name}": harms.text("config.json", content) for name, content in harms.ODD_JSON.items()},
    "no config": harms.remove("config.json"),
    "no tokenizer": harms.remove("tokenizer.json", "tokenizer_config.json"),
    "no vocabulary": harms.remove("tokenizer.json"),
    "empty vocabulary": harms.empty_vocabulary("tokenizer.json"),
    "tokenizer's config: a list": harms.text("tokenizer_config.json", "[]"),
    "generation config: a list": harms.text("generation_config.json", "[]"),
    "end token as a word": harms.edit("generation_config.json", eos_token_id="end"),
    "fewer tokens than the vocabulary": harms.edit("config.json", vocab_size=10),
    "width as a word": harms.edit("config.json", hidden_size="big"),
    "other width": harms.edit("config.json", hidden_size=64),
    "no heads": harms.edit("config.json", num_attention_heads=0),
    "more layers than weights": harms.edit("config.json", num_hidden_layers=4),
    "a billion layers": harms.edit("config.json", num_hidden_layers=10**9),
    "quantised": harms.edit("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "no template": harms.remove("chat_template.jinja"),
    "template that cannot be read": harms.text("chat_template.jinja", "{% for %}"),
    "template that asks for what is not there": harms.text("chat_template.jinja", "{{ messages[7].content.x }}"),
    "weights cut short": harms.cut(CHAT_WEIGHTS),
    "weights with NaN": harms.tensors(CHAT_WEIGHTS, harms.not_a_number),
    "weights without a tensor": harms.tensors(CHAT_WEIGHTS, harms.one_less),
    "weights of another shape": harms.tensors(CHAT_WEIGHTS, harms.other_shape),
}


def ask(folder: Path) -> None:
    Chat(ChatConfig(model=str(folder), max_new_tokens=2), folder.parent / "cache").ask(["Name a dog"])


@harms.cases(CHAT_CODE | CHAT_FAULTS)
def test_a_chat_model_is_refused_before_it_is_asked(tmp_path, harm):
    harm(folder := harms.copy(harms.CHAT, tmp_path / "chat"))
    harms.refused(lambda: ask(folder), folder, "prompts.model")
    assert not (tmp_path / "cache").exists()


@harms.cases(CHAT_IGNORED)
def test_a_chat_model_runs_no_code_beside_its_own_class(tmp_path, harm):
    harm(folder := harms.copy(harms.CHAT, tmp_path / "chat"))
    harms.opened_or_refused(lambda: ask(folder), folder)
