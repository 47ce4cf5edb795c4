"""The way into a causal language model of transformers with a chat template."""

from pathlib import Path
from typing import Any

from figment.errors import InputError
from figment.model_folders import (
    PROBE,
    check_files,
    check_module,
    check_tokenizer,
    one_sentence,
    read_json,
)
from figment.model_loaders.hub import CONFIGS, check_loaded, fetch, network_shape, no_questions
from figment.text import chat_messages


def open_chat(
    model: str,
    revision: str,
    dtype: Any,
    field: str = "prompts.model",
    system: str | None = None,
    template: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """(tokenizer, network) of a causal language model, by folder or hub id, on the CPU. Its chat template has to take a
    question, with the message ``system`` before it if there is one, and the variables in ``template``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(model) if Path(model).is_dir() else fetch(model, revision, field, CONFIGS)
    check_files(folder, field, weights=Path(model).is_dir())
    read_json(folder / "config.json", field)
    if Path(model).is_dir():
        network_shape(AutoModelForCausalLM, folder, field)
    advice = "give a folder or a hub id with safetensors weights"
    with no_questions(), one_sentence(f"{field}: {model!r} is not a chat model that transformers can load", advice):
        tokenizer = AutoTokenizer.from_pretrained(
            model, revision=revision, padding_side="left", trust_remote_code=False
        )
        network, found = AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision,
            use_safetensors=True,
            dtype=dtype,
            trust_remote_code=False,
            output_loading_info=True,
        )
        size = network.get_input_embeddings().weight.shape[0]
    check_loaded(found, f"{field}: {model!r}")
    check_module(network, f"{field}: {model!r}")
    check_tokenizer(tokenizer, f"{field}: the tokenizer of {model!r}", size)
    if tokenizer.chat_template is None:
        raise InputError(f"{field}: {model!r} has no chat template; give an instruction-tuned (chat) model")
    how = "without a system message" if system is None else "with a system message"
    advice = "set or remove prompts.system, mend prompts.template, or give another model"
    with one_sentence(f"{field}: the chat template of {model!r} cannot be used {how}", advice):
        talk = chat_messages(PROBE, system)
        tokenizer.apply_chat_template(talk, add_generation_prompt=True, **(template or {}))
    return tokenizer, network
