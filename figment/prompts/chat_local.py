"""A chat model of transformers, asked in batches; an answer's randomness comes from its question, not from its batch."""

import copy
import hashlib
import inspect
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import BatchEncoding, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase
from transformers.generation import TemperatureLogitsWarper, TopPLogitsWarper

from figment.devices import choose_device
from figment.errors import InputError
from figment.model_folders import check_texts, one_sentence
from figment.model_loaders.chat import open_chat
from figment.prompts.chat import Answer, ChatConfig, Question, only_thought, thought_too_long
from figment.text import chat_messages, shown


class GumbelNoise(LogitsProcessor):
    """Makes the largest score a draw from the softmax (the Gumbel-max trick), each row with a generator of its own."""

    def __init__(self, seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(B, V) log-scores plus standard Gumbel noise."""
        draws = [torch.rand(scores.shape[1], generator=g, dtype=torch.float64) for g in self.generators]
        uniform = torch.stack(draws).clamp_(min=1e-300)
        return scores + (-(-uniform.log()).log()).to(scores)


class LocalChat:
    """Any causal language model with a chat template, by hub id or folder. Only safetensors, no code of the model's."""

    def __init__(self, config: ChatConfig):
        self.config = config
        self.device = choose_device(config.device)
        ours = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
        if taken := [name for name in config.template if name in ours]:
            raise InputError(
                f"prompts.template: {shown(taken[0])} is no variable of a template; such is enable_thinking: false"
            )
        dtype = "auto" if self.device.type == "cuda" else torch.float32
        self.tokenizer, self.model = open_chat(
            config.model, config.revision, dtype, system=config.system, template=config.template
        )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = self.model.to(self.device).eval()

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Batch by batch; questions of like length share one, so little is spent on padding."""
        ordered = sorted(questions, key=lambda q: (len(q.text), q.key))
        for start in range(0, len(ordered), self.config.batch_size):
            batch = ordered[start : start + self.config.batch_size]
            what = f"prompts.model: {self.config.model!r}"
            check_texts(self.tokenizer, [question.text for question in batch], what)
            with one_sentence(f"{what} gives no answer", "restore the model, or give another one"):
                answers = self._batch(batch)
            cut = [answer for answer in answers if not answer.finished and only_thought(answer.text)]
            yield from (answer for answer in answers if answer not in cut)
            if cut:
                raise InputError(f"prompts.model: {thought_too_long(self.config)}")

    @torch.inference_mode()
    def _batch(self, questions: Sequence[Question]) -> list[Answer]:
        inputs = self._inputs(questions).to(self.device)
        settings = copy.deepcopy(self.model.generation_config)
        settings.update(
            do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=self.config.max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
        )  # fmt: skip
        if settings.eos_token_id is None:
            settings.eos_token_id = self.tokenizer.eos_token_id
        output = self.model.generate(**inputs, generation_config=settings, logits_processor=self._sampling(questions))
        ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        answers = []
        for question, tokens in zip(questions, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            finished = any(end in tokens for end in ends)
            answers.append(Answer(self.tokenizer.decode(tokens, skip_special_tokens=True), finished, question.key))
        return answers

    def _inputs(self, questions: Sequence[Question]) -> BatchEncoding:
        """The questions in the model's own chat template."""
        return self.tokenizer.apply_chat_template(
            [chat_messages(q.text, self.config.system) for q in questions],
            add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True, **self.config.template,
        )  # fmt: skip

    def _sampling(self, questions: Sequence[Question]) -> LogitsProcessorList:
        """Temperature, then the nucleus, then the draw; nothing at temperature 0."""
        if self.config.temperature == 0:
            return LogitsProcessorList()
        seeds = [int.from_bytes(hashlib.sha256(q.key.encode()).digest()[:7]) for q in questions]
        return LogitsProcessorList(
            [TemperatureLogitsWarper(self.config.temperature), TopPLogitsWarper(self.config.top_p), GumbelNoise(seeds)]
        )
