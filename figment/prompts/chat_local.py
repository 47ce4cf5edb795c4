"""A chat model of transformers, asked in batches; an answer's randomness comes from its question, not from its batch."""

import copy
import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList
from transformers.generation import TemperatureLogitsWarper, TopPLogitsWarper

from figment.devices import choose_device
from figment.errors import InputError
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
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(config.model, revision=config.revision, padding_side="left")
            self.model = AutoModelForCausalLM.from_pretrained(
                config.model,
                revision=config.revision,
                use_safetensors=True,
                dtype="auto" if self.device.type == "cuda" else torch.float32,
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"prompts.model: {config.model!r} is not a chat model that transformers can load "
                f"({str(error).splitlines()[0]}); give a folder or a hub id with safetensors weights"
            ) from error
        if self.tokenizer.chat_template is None:
            raise InputError(
                f"prompts.model: {config.model!r} has no chat template; give an instruction-tuned (chat) model"
            )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = self.model.to(self.device).eval()

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Batch by batch; questions of like length share one, so little is spent on padding."""
        ordered = sorted(questions, key=lambda q: (len(q.text), q.key))
        for start in range(0, len(ordered), self.config.batch_size):
            yield from self._batch(ordered[start : start + self.config.batch_size])

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
