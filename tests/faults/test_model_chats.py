"""Folders of chat models: none runs code; every fault is one sentence before anything is asked."""

from pathlib import Path

from figment.prompts.chat import Chat, ChatConfig
from tests.faults import model_harm as harm

CHAT_WEIGHTS = "model.safetensors"
HUB_KERNEL = "owner/kernel"


CHAT_CODE = {
    "a model's own class": harm.edit("config.json", model_type="evil", auto_map=harm.AUTO_MAP),
    "trust_remote_code in the config": harm.edit("config.json", trust_remote_code=True, auto_map=harm.AUTO_MAP),
    "generation of its own": harm.edit("generation_config.json", custom_generate="."),
    "attention from the hub": harm.edit("config.json", attn_implementation=HUB_KERNEL),
    "attention from the hub, as saved": harm.edit("config.json", _attn_implementation=HUB_KERNEL),
    "weights elsewhere": harm.edit("config.json", transformers_weights="../evil.safetensors"),
    "pickled": harm.pickled(CHAT_WEIGHTS, "pytorch_model.bin"),
    "an adapter": harm.text("adapter_config.json", '{"base_model_name_or_path": "evil", "auto_mapping": {"x": "evil"}}'),
    "a template that leaves its sandbox": harm.text(
        "chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('x') }}"
    ),
}  # fmt: skip
CHAT_IGNORED = {
    "auto_map beside a known class": harm.edit("config.json", auto_map=harm.AUTO_MAP),
    "auto_map of the tokenizer": harm.edit("tokenizer_config.json", auto_map=harm.TOKENIZER_MAP),
    "auto_map of the tokenizer as a list": harm.edit("tokenizer_config.json", auto_map=["evil.EvilTokenizer", None]),
    "a tokenizer's own class": harm.edit("tokenizer_config.json", tokenizer_class="Evil", auto_map=harm.TOKENIZER_MAP),
    "a pickle beside": harm.pickled(CHAT_WEIGHTS, "pytorch_model.bin", keep=True),
    "code that is only there": harm.edit("config.json"),
}
CHAT_FAULTS = {
    **{f"config: {name}": harm.text("config.json", content) for name, content in harm.ODD_JSON.items()},
    "no config": harm.remove("config.json"),
    "no tokenizer": harm.remove("tokenizer.json", "tokenizer_config.json"),
    "no vocabulary": harm.remove("tokenizer.json"),
    "empty vocabulary": harm.empty_vocabulary("tokenizer.json"),
    "tokenizer's config: a list": harm.text("tokenizer_config.json", "[]"),
    "generation config: a list": harm.text("generation_config.json", "[]"),
    "end token as a word": harm.edit("generation_config.json", eos_token_id="end"),
    "fewer tokens than the vocabulary": harm.edit("config.json", vocab_size=10),
    "width as a word": harm.edit("config.json", hidden_size="big"),
    "other width": harm.edit("config.json", hidden_size=64),
    "no heads": harm.edit("config.json", num_attention_heads=0),
    "more layers than weights": harm.edit("config.json", num_hidden_layers=4),
    "a billion layers": harm.edit("config.json", num_hidden_layers=10**9),
    "quantised": harm.edit("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "no template": harm.remove("chat_template.jinja"),
    "template that cannot be read": harm.text("chat_template.jinja", "{% for %}"),
    "template that asks for what is not there": harm.text("chat_template.jinja", "{{ messages[7].content.x }}"),
    "weights cut short": harm.cut(CHAT_WEIGHTS),
    "weights with NaN": harm.tensors(CHAT_WEIGHTS, harm.not_a_number),
    "weights without a tensor": harm.tensors(CHAT_WEIGHTS, harm.one_less),
    "weights of another shape": harm.tensors(CHAT_WEIGHTS, harm.other_shape),
}


def ask(folder: Path) -> None:
    Chat(ChatConfig(model=str(folder), max_new_tokens=2), folder.parent / "cache").ask(["Name a dog"])


@harm.cases(CHAT_CODE | CHAT_FAULTS)
def test_a_chat_model_is_refused_before_it_is_asked(tmp_path, harm):
    harm(folder := harm.copy(harm.CHAT, tmp_path / "chat"))
    harm.refused(lambda: ask(folder), folder, "prompts.model")
    assert not (tmp_path / "cache").exists()


@harm.cases(CHAT_IGNORED)
def test_a_chat_model_runs_no_code_beside_its_own_class(tmp_path, harm):
    harm(folder := harm.copy(harm.CHAT, tmp_path / "chat"))
    harm.opened_or_refused(lambda: ask(folder), folder)
