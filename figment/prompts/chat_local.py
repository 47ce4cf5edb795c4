"""A chat model of transformers, asked in batches; an answer's randomness comes from its question, not from its batch."""

import copy
import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import TemperatureLogitsWarper, TopPLogitsWarper

from figment.devices import choose_device
from figment.model_folders import check_texts, one_sentence
from figment.model_loaders import open_chat
from figment.prompts.chat import Answer, ChatConfig, Question


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
        dtype = "auto" if self.device.type == "cuda" else torch.float32
        self.tokenizer, self.model = open_chat(config.model, config.revision, dtype)
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
            yield from answers

    @torch.inference_mode()
    def _batch(self, questions: Sequence[Question]) -> list[Answer]:
        talks = [[{"role": "user", "content": q.text}] for q in questions]
        inputs = self.tokenizer.apply_chat_template(
            talks, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(self.device)
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

    def _sampling(self, questions: Sequence[Question]) -> LogitsProcessorList:
        """Temperature, then the nucleus, then the draw; nothing at temperature 0."""
        if self.config.temperature == 0:
            return LogitsProcessorList()
        seeds = [int.from_bytes(hashlib.sha256(q.key.encode()).digest()[:7]) for q in questions]
        return LogitsProcessorList(
            [TemperatureLogitsWarper(self.config.temperature), TopPLogitsWarper(self.config.top_p), GumbelNoise(seeds)]
        )
