"""The one training loop of the pocket models: AdamW, one-cycle cosine, EMA, and a checkpoint that survives kill -9."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.errors import InputError


class Progress(Protocol):
    """Receives ``(stage, step, metrics)`` a few times a minute; ``print`` will do, MLflow's logger is the other one."""

    def __call__(self, stage: str, step: int, metrics: Mapping[str, float], /) -> object: ...


REFRESHING_BATCHES = 40


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, forward: Callable[[], object]) -> None:
    """Statistics for averaged weights: they are buffers, so neither the average nor the checkpoint holds them.

    ``forward`` runs ``model`` on one random training batch.
    """
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches that follow
    model.train()
    for _ in range(REFRESHING_BATCHES):
        forward()


class TrainingLoop:
    """Owns the optimiser, the schedule, the averaged weights and the random order of ``module``'s training.

    Construct it, iterate ``batches`` and call ``update`` once per batch. If ``checkpoint`` exists, training goes on
    from its step with the same optimiser state and the same random stream; if it was made with another ``identity``
    (the settings and data that must not change under way), that is an InputError which names the difference.
    """

    def __init__(
        self,
        module: nn.Module,
        checkpoint: Path,
        *,
        steps: int,
        learning_rate: float,
        seed: int,
        identity: Mapping[str, object] | None = None,
        weight_decay: float = 0.01,
        ema: float = 0.998,
        save_seconds: float = 60.0,
    ):
        self.module, self.checkpoint, self.steps, self.ema = module, checkpoint, steps, ema
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.peak = learning_rate
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.mean_loss = 0, 0.0
        self.identity = {"learning_rate": learning_rate, "seed": seed, **(identity or {})}
        self.save_seconds, self._saved = save_seconds, time.monotonic()
        if checkpoint.exists():
            self._restore()

    def batches(self, population: int, batch_size: int) -> Iterator[tuple[int, Tensor]]:
        """Yield ``(step, rows)`` until ``steps``; rows are drawn with replacement, so resuming needs no epoch state."""
        device = next(iter(self.parameters.values())).device
        while self.step < self.steps:
            self.step += 1
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate()
            yield self.step, torch.randint(population, (batch_size,), generator=self.generator).to(device)
            if time.monotonic() - self._saved > self.save_seconds or self.step == self.steps:
                self.save()

    def update(self, loss: Tensor) -> None:
        """One optimiser step on ``loss``; a non-finite loss is an error, not a checkpoint."""
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {self.step}; last checkpoint: {self.checkpoint}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - decay)
        value = loss.item()
        self.mean_loss = value if self.mean_loss == 0 else 0.98 * self.mean_loss + 0.02 * value

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block, the module carries the averaged weights."""
        current = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.load_average()
        try:
            yield
        finally:
            self._copy(current)

    def load_average(self) -> None:
        self._copy(self.average)

    def save(self) -> None:
        """Write weights, average, optimiser and random state to a temporary name, then rename."""
        tensors = {"random": self.generator.get_state()}
        for name, p in self.parameters.items():
            tensors |= {f"weight/{name}": p.detach().clone(), f"average/{name}": self.average[name].clone()}
            state = self.optimizer.state[p]
            tensors |= {f"{key}/{name}": state[key].clone() for key in ("exp_avg", "exp_avg_sq")}
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        save_file(
            tensors,
            partial,
            {"progress": json.dumps({"step": self.step, "loss": self.mean_loss, "identity": self.identity})},
        )
        partial.replace(self.checkpoint)
        self._saved = time.monotonic()

    # ---------------------------------------------------------------- internals

    def _learning_rate(self) -> float:
        warm = min(1.0, self.step / max(1, min(500, self.steps // 20)))
        cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * self.step / self.steps)).item())
        return self.peak * warm * max(cosine, 0.01)

    def _copy(self, source: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(source[name])

    def _restore(self) -> None:
        with safe_open(self.checkpoint, "pt") as stored:
            progress = json.loads(stored.metadata()["progress"])
            for name, value in self.identity.items():
                before = progress["identity"].get(name)
                if before != value:
                    raise InputError(
                        f"{self.checkpoint}: it was made with {name} = {before!r}, the config now says {value!r}; "
                        "restore that, or move the checkpoint away to start anew"
                    )
            self.step, self.mean_loss = progress["step"], progress["loss"]
            self.generator.set_state(stored.get_tensor("random"))
            with torch.no_grad():
                for name, p in self.parameters.items():
                    p.copy_(stored.get_tensor(f"weight/{name}"))
                    self.average[name].copy_(stored.get_tensor(f"average/{name}"))
                    self.optimizer.state[p] = {
                        "step": torch.tensor(float(self.step)),
                        "exp_avg": stored.get_tensor(f"exp_avg/{name}").to(p.device),
                        "exp_avg_sq": stored.get_tensor(f"exp_avg_sq/{name}").to(p.device),
                    }
