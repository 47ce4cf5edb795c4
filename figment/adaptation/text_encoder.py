"""Tune a generator's text encoder until CLIP finds in its images what was asked for (Zhang et al. 2024, text-encoder
tuning).

The asymmetric loss on the grouping softmax runs back through CLIP, the autoencoder and the whole sampler into the text
encoder, which alone learns. Prompts that were held out say after every so many steps how many images pass, and the best
checkpoint is kept: as an adapter, a file named by its hash that plans refer to.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from math import isfinite
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from figment.adaptation.adapters import imported_adapter, save_adapter
from figment.adaptation.config import TuningConfig
from figment.adaptation.gradient_sampler import checkpointed, sample
from figment.adaptation.held_out import PromptSplit, split_prompts
from figment.adaptation.stage import Material
from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipScorer
from figment.errors import InputError
from figment.images import contrasts_of
from figment.loop import Log, Part, Row, Stateful, Trainer, fit
from figment.prompts.tricks import Prompt
from figment.synthesis.concepts import text_encoders
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.encoding import PromptEncoder
from figment.synthesis.generator import Generator, resolve_dtype
from figment.synthesis.weights import model_revision
from figment.validation.grouping import grouping_softmax, presence_probabilities
from figment.validation.policies import AcceptancePolicy, is_settled, settle
from figment.validation.verdicts import make_verdicts
from models.losses import AsymmetricLoss

CHECKPOINT = "tuning.pt"  # of no use once the result is written
CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)
OF_CLASS = "acceptance/"  # of one class


class Quality(BaseModel):
    """What CLIP says of images of prompts: the share that passes, by class too, the mean probability of what was asked for,
    and the mean cosine between image and prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    acceptance: float
    by_label: dict[str, float]
    probability: float
    clip_score: float


class Tuned(BaseModel):
    """``adapter`` is the file's SHA-256, empty if no checkpoint passed more images than the base encoder, which is step 0.
    ``before`` and ``after`` come from prompts that neither tuned nor chose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: str
    kept_step: int
    before: Quality
    after: Quality
    history: list[dict[str, float]]
    skipped: int  # steps whose gradient was not finite

    @property
    def metrics(self) -> dict[str, float]:
        return {"before": self.before.acceptance, "after": self.after.acceptance}


def tune_text_encoder(
    prompts: Sequence[Prompt],
    material: Material,
    config: TuningConfig,
    key: str = "",
    log: Log = lambda step, metrics: None,
) -> Tuned:
    """Tune on ``prompts``, whose labels are classes of the material's space; write the kept encoder into its adapters.

    Interrupted, the next call with the same ``key`` goes on after the last evaluation and ends with the same weights.
    """
    tuner = Tuner(material, config)
    tuner.split = split = split_prompts(prompts, config.held_out, config.seed)
    tuner.settle(split.choose)
    if config.imported:
        return _use_imported(tuner, split.measure, Path(config.imported), material.adapters)
    state = fit(tuner, Checkpoint(material.output / CHECKPOINT, key), log)
    after = tuner.quality(split.measure, "measure", state.best)
    before = tuner.quality(split.measure, "measure", tuner.base)
    kept = state.kept
    history = [
        {"step": step, **{name: value for name, value in row.items() if not name.startswith(OF_CLASS)}}
        for step, row in state.history
    ]
    return Tuned(
        adapter=save_adapter(state.best, material.adapters, {"kept_step": str(kept)}) if kept else "",
        kept_step=kept,
        before=before,
        after=after,
        history=history,
        skipped=int(sum(row["skipped"] for row in history)),
    )


def _use_imported(tuner: "Tuner", measure: Sequence[Prompt], source: Path, adapters: Path) -> Tuned:
    """An encoder that was tuned elsewhere, beside the base encoder on prompts of which neither says anything."""
    where = "adaptation.imported"
    _, weights = imported_adapter(source, where)
    wrong = next((n for n, v in weights.items() if n not in tuner.base or tuner.base[n].shape != v.shape), None)
    if wrong or not weights:
        own = tuple(tuner.base[wrong].shape) if wrong in tuner.base else "none of this name"
        raise InputError(f"{where}: {source}: {wrong} does not fit the generator's text encoder, which has {own}")
    adapter = save_adapter(weights, adapters, {"imported": str(source)})
    after = tuner.quality(
        measure, "measure", {**tuner.base, **{name: value.float() for name, value in weights.items()}}
    )
    before = tuner.quality(measure, "measure", tuner.base)
    return Tuned(adapter=adapter, kept_step=0, before=before, after=after, history=[], skipped=0)


class Tuner(Trainer):
    """The generator with a text encoder that learns, the CLIP that judges, and the optimizer."""

    name, unit, rate, chosen_by = "tuning", "step", "adaptation.learning_rate", "acceptance"
    split: PromptSplit

    def __init__(self, material: Material, config: TuningConfig):
        self.space, self.config, self.negative_prompt = material.space, config, material.negative_prompt
        self.policy: AcceptancePolicy = material.policy
        size = {name: getattr(config, name) for name in ("width", "height", "num_inference_steps")}
        self.generator = material.generator.model_copy(update=size)
        synthesis = SynthesisConfig(dtype=config.dtype, device=config.device)
        loaded = Generator(self.generator.model, model_revision(material.generator), synthesis)
        self.pipeline, self.device, self.denoiser = loaded.pipeline, loaded.device, loaded.denoiser
        self.pipeline.register_modules(**{n: None for n in ("safety_checker",) if n in self.pipeline.components})
        for module in self.modules():
            module.requires_grad_(False).eval()
        self.dtype = resolve_dtype(synthesis)
        self.parameters = {
            f"{name}.{parameter}": value.requires_grad_()
            for name, encoder in text_encoders(self.pipeline).items()
            for parameter, value in encoder.float().named_parameters()
        }
        for encoder in text_encoders(self.pipeline).values():
            # Images are made under autocast, which would round every weight that is tuned to bfloat16 again.
            encoder.forward = torch.autocast(self.device.type, enabled=False)(encoder.forward)
        self.base = self.weights()
        self.scorer = ClipScorer(material.clip.model_copy(update={"device": str(self.device)}))
        self.text = self.scorer.text_features(self.space).clone()  # outside inference mode: it takes part in gradients
        self.loss = AsymmetricLoss(config.gamma_neg, config.gamma_pos, eps=config.eps)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.skipped = 0
        self.count = self.steps = config.steps
        self.round_size = config.evaluate_every

    def modules(self) -> Iterator[nn.Module]:
        return (part for part in self.pipeline.components.values() if isinstance(part, nn.Module))

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.parameters.items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.parameters[name].copy_(value)

    def parts(self) -> dict[str, Stateful]:
        return {"model": Part(self.weights, self.load), "optimizer": self.optimizer}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        if first == 0:
            yield 0, self.measures()
        losses = []
        for number in range(first, last):
            losses.append(self.step(self.split.train, number))
            yield None
        finite = [loss for loss in losses if isfinite(loss)]
        yield last, self.measures(**({"loss": sum(finite) / len(finite)} if finite else {}))

    def images(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Tensor:
        texts = [prompt.text for prompt in prompts]
        mixed = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with mixed:
            return sample(
                self.pipeline, texts, seeds, self.generator, self.negative_prompt, self.config.differentiated_steps
            )

    def requested(self, prompts: Sequence[Prompt]) -> Tensor:
        """(B, C) bool"""
        names = self.space.names
        return torch.tensor([[name in p.labels for name in names] for p in prompts], device=self.device)

    def step(self, prompts: Sequence[Prompt], number: int) -> float:
        """One update on images of prompts drawn for this step; the loss an image. A gradient that is not finite is skipped
        and counted. What is drawn depends on the seed and the step's number alone."""
        drawn = torch.Generator().manual_seed((self.config.seed << 32) + number)
        rows = torch.randint(len(prompts), (self.config.batch_size,), generator=drawn).tolist()
        seeds = torch.randint(2**62, (self.config.batch_size,), generator=drawn).tolist()
        chosen = [prompts[row] for row in rows]
        parts = (self.denoiser, self.pipeline.vae.decoder, self.scorer.model.visual)
        with checkpointed(*parts) if self.config.checkpointing else nullcontext():
            logits = (
                self.scorer.model.logit_scale.exp() * self.scorer.features(self.images(chosen, seeds)) @ self.text.T
            )
            requested = self.requested(chosen)
            loss = self.loss(grouping_softmax(logits, requested), requested) / len(chosen)
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_gradient_norm)
        finite = bool(norm.isfinite())
        if finite:
            self.optimizer.step()
        self.skipped += not finite
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item() if finite else float("nan")

    def measures(self, **more: float) -> dict[str, float]:
        """Of the present weights, on the prompts that choose."""
        prompts = self.split.choose
        quality = self.quality(prompts, "choose")
        metrics = {
            "acceptance": quality.acceptance,
            "probability": quality.probability,
            "clip_score": quality.clip_score,
            "drift": self.drift(prompts),
            "skipped": float(self.skipped),
            **more,
        }
        self.skipped = 0
        return metrics | {f"{OF_CLASS}{name}": value for name, value in quality.by_label.items()}

    @torch.no_grad()
    def drift(self, prompts: Sequence[Prompt]) -> float:
        """How far the prompts' embeddings have moved from the base encoder's, relative to their length."""
        now, current = self.embeddings(prompts), self.weights()
        self.load(self.base)
        base = self.embeddings(prompts)
        self.load(current)
        return ((now - base).norm() / base.norm()).item()

    def embeddings(self, prompts: Sequence[Prompt]) -> Tensor:
        texts = sorted({prompt.text for prompt in prompts})[: self.config.evaluation_batch]
        return PromptEncoder(self.pipeline).encode(texts)["prompt_embeds"]

    def settle(self, prompts: Sequence[Prompt]) -> None:
        """A policy with a target precision gets its thresholds from the base encoder's images: one bar for all checkpoints."""
        if not is_settled(self.policy):
            asked, logits, *_ = self.judged(prompts, "choose", self.base)
            requested = self.requested(asked)
            presence = presence_probabilities(logits, requested).cpu().numpy()
            self.policy = settle(self.policy, presence, requested.cpu().numpy(), self.space)

    def quality(self, prompts: Sequence[Prompt], purpose: str, weights: dict[str, Tensor] | None = None) -> Quality:
        """Of the images that are ``judged``."""
        asked, logits, contrasts, cosines = self.judged(prompts, purpose, weights)
        requested = self.requested(asked)
        probabilities = grouping_softmax(logits, requested)
        rows = [
            {"image_id": str(i), "labels": prompt.labels, "trick": prompt.trick, "contrast": contrast, "unsafe": False}
            for i, (prompt, contrast) in enumerate(zip(asked, contrasts.tolist(), strict=True))
        ]
        verdicts = make_verdicts(rows, probabilities.cpu().numpy(), self.space, self.policy)
        passed = torch.tensor(verdicts["accepted"].to_pylist(), device=self.device).float()
        return Quality(
            acceptance=passed.mean().item(),
            by_label={
                name: passed[asks].mean().item()
                for name, asks in zip(self.space.names, requested.T, strict=True)
                if asks.any()
            },
            probability=probabilities[requested].mean().item(),
            clip_score=cosines.mean().item(),
        )

    @torch.no_grad()
    def judged(
        self, prompts: Sequence[Prompt], purpose: str, weights: dict[str, Tensor] | None = None
    ) -> tuple[list[Prompt], Tensor, Tensor, Tensor]:
        """(prompts asked for, logits (N, C), contrasts (N,), cosines (N,) of image and prompt) of ``evaluated_images``
        images, the prompts in turn, or evenly chosen ones where there are more; with ``weights``, of a generator that has
        those. The noise is the same for whatever weights, and another for another ``purpose``."""
        if weights is not None:
            current = self.weights()
            self.load(weights)
        count = self.config.evaluated_images
        stride = max(1.0, len(prompts) / count)
        asked = [prompts[int(i * stride) % len(prompts)] for i in range(count)]
        start = 2**62 + (purpose == "measure") * 2**61
        logits, contrasts, cosines = [], [], []
        for i in range(0, count, self.config.evaluation_batch):
            some = asked[i : i + self.config.evaluation_batch]
            pixels = self.images(some, range(start + i, start + i + len(some)))
            features = self.scorer.features(pixels)
            logits.append(self.scorer.model.logit_scale.exp() * features @ self.text.T)
            contrasts.append(contrasts_of(pixels))
            cosines.append(F.cosine_similarity(features, self.scorer.prompt_features([p.text for p in some])))
        if weights is not None:
            self.load(current)
        return asked, torch.cat(logits), torch.cat(contrasts), torch.cat(cosines)
