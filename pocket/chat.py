"""The pocket chat model: a tiny Llama that answers Figment's own instructions in the pocket world's vocabulary.

Like a real one it is not always obedient: it greets, forgets a thing, repeats a line or chats on, as its teacher does
now and then. Whoever reads its answers has to parse them.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from figment.prompts.instructions import context_instruction, pair_instruction
from pocket.loop import Progress, TrainingLoop
from pocket.world import BACKGROUNDS, DOMAINS, article

LENGTH = 256
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
GREETINGS = ("Sure! Here are {count} captions:\n", "Here you are:\n\n", "Of course.\n")
GOODBYES = ("\n\nLet me know if you need more!", "\nI hope these help.")


def caption(labels: Sequence[str], dice: random.Random) -> str:
    """One caption in the grammar that the pocket generator was trained on."""
    names = [f"{article(name)} {name}" for name in dice.sample(list(labels), len(labels))]
    subject = dice.choice((" and ", " next to ", " with ")).join(names)
    domain = dice.choices(DOMAINS, (6, 2, 1, 1, 1))[0]
    place = dice.choice(list(BACKGROUNDS)) if domain not in ("sketch", "poster") else ""
    return f"a {domain} of {subject} {place}".strip()


def dialogue(objects: Sequence[str], dice: random.Random) -> tuple[str, str]:
    """A question in Figment's words and a plausible, mostly correct answer."""
    count = dice.choice((3, 4, 5, 5, 6, 8, 10))
    labels = dice.sample(list(objects), dice.choice((1, 2, 2)))
    if len(labels) == 1 and dice.random() < 0.7:
        question = context_instruction(labels[0], count)
    else:
        question = pair_instruction(labels, count)
    style = dice.choice(("{i}. {text}", "{i}. {text}", "{i}) {text}", '{i}. "{text}"'))
    lines = []
    for i in range(count):
        named = labels if dice.random() > 0.05 else [dice.choice(list(objects))]
        lines.append(style.format(i=i + 1, text=caption(named, dice)))
    answer = "\n".join(lines)
    if dice.random() < 0.25:
        answer = dice.choice(GREETINGS).format(count=count) + answer
    if dice.random() < 0.1:
        answer += dice.choice(GOODBYES)
    return question, answer


def build_chat_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE learned from the dialogues, with a chat template and a special token for each role."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=768, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|end|>",
        chat_template=TEMPLATE,
        model_max_length=2 * LENGTH,
    )


def build_chat_model(vocabulary: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2 * LENGTH,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def train_chat(
    objects: Sequence[str],
    folder: Path,
    *,
    steps: int,
    batch_size: int = 24,
    learning_rate: float = 3e-3,
    dialogues: int = 20_000,
    seed: int = 0,
    report: Progress = print,
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Next-token training on generated dialogues; the loss counts the answers only."""
    dice = random.Random(seed)
    talks = [dialogue(objects, dice) for _ in range(dialogues)]
    tokenizer = build_chat_tokenizer([f"{q}\n{a}" for q, a in talks[:4000]])
    torch.manual_seed(seed)
    model = build_chat_model(len(tokenizer))
    loop = TrainingLoop(
        model,
        folder / "checkpoint.safetensors",
        identity={"batch_size": batch_size, "objects": list(objects)},
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        ema=0.99,
    )
    questions = tokenizer([f"<|user|>{q}<|end|><|assistant|>" for q, _ in talks]).input_ids
    answers = tokenizer([f"{a}<|end|>" for _, a in talks]).input_ids

    for step, rows in loop.batches(len(talks), batch_size):
        pairs = [(questions[i], answers[i]) for i in rows.tolist()]
        width = min(LENGTH, max(len(q) + len(a) for q, a in pairs))
        tokens = torch.zeros(batch_size, width, dtype=torch.long)
        targets = torch.full((batch_size, width), -100)
        for i, (q, a) in enumerate(pairs):
            text = torch.tensor((q + a)[:width])
            tokens[i, : len(text)] = text
            targets[i, len(q) : len(text)] = text[len(q) :]
        loop.update(model(tokens, labels=targets).loss)
        if step % 50 == 0 or step == steps:
            report("chat", step, {"loss": loop.mean_loss})
    loop.load_average()
    return model.eval(), tokenizer
