"""The one training loop of the pocket models: AdamW, one-cycle cosine, EMA, and a checkpoint that survives kill -9."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.errors import InputError
from pocket.config import StageConfig


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


def takes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster: on a GPU, and on a CPU with tile instructions (AMX: five times the products of float32)."""
    return device.type == "cuda" or torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where it is faster, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=takes_bfloat16(device))


class TrainingLoop:
    """Owns the optimiser, the schedule, the averaged weights and the random order of ``module``'s training.

    Construct it, iterate ``batches`` and call ``update`` once per batch. If ``checkpoint`` exists, training resumes
    from its step with the same optimiser state and the same random stream; if it was made with another ``identity``
    (the settings and data that must not change under way), that is an InputError which names the difference.

    With ``seconds``, a budget of wall-clock time, the schedule follows the larger of the two shares used, of steps and
    of seconds, and the training ends when either is used up: for a machine that is available for a fixed time.
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
        seconds: float | None = None,
    ):
        self.module, self.checkpoint, self.steps, self.ema = module, checkpoint, steps, ema
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.peak = learning_rate
        self.device = next(iter(self.parameters.values())).device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.step, self._loss = 0, torch.zeros((), device=self.device)
        self.seconds, self._began = seconds, time.monotonic()
        self.identity = {"learning_rate": learning_rate, "seed": seed, **(identity or {})}
        self.save_seconds, self._saved = save_seconds, time.monotonic()
        if checkpoint.exists():
            self._restore()

    @classmethod
    def of(cls, module: nn.Module, folder: Path, stage: StageConfig, data: str, *, ema: float) -> "TrainingLoop":
        """The loop of one stage: ``data`` names what it is trained on."""
        return cls(
            module,
            folder / "checkpoint.safetensors",
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            seed=stage.seed,
            identity={"batch_size": stage.batch_size, "data": data},
            ema=ema,
            seconds=stage.seconds,
        )

    def autocast(self) -> torch.autocast:
        return autocast(self.device)

    def batches(self, population: int, batch_size: int) -> Iterator[tuple[int, Tensor]]:
        """Yield ``(step, rows)`` until ``steps``; rows are drawn with replacement, so resuming needs no epoch state."""
        while self.progress < 1:
            self.step += 1
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate()
            yield self.step, torch.randint(population, (batch_size,), generator=self.generator, device=self.device)
            if self.due(100):
                self._check_loss()
            if time.monotonic() - self._saved > self.save_seconds or self.progress >= 1:
                self.save()

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        spent = (time.monotonic() - self._began) / self.seconds if self.seconds else 0.0
        return min(1.0, max(self.step / self.steps, spent))

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and after the last, is due."""
        return self.step % every == 0 or self.progress >= 1

    @property
    def mean_loss(self) -> float:
        """Moving mean of the loss; reading it waits for the device."""
        return float(self._loss)

    def update(self, loss: Tensor) -> None:
        """One optimiser step on ``loss``."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - decay)
        value = loss.detach().float()
        self._loss = value if self.step == 1 else torch.lerp(self._loss, value, 0.02)

    def _check_loss(self) -> None:
        """A non-finite loss is an error, not a checkpoint."""
        if not torch.isfinite(self._loss):
            raise FloatingPointError(f"the loss is {self.mean_loss} at step {self.step}; checkpoint: {self.checkpoint}")

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
        self._check_loss()
        tensors = {"random": self.generator.get_state()}
        for name, p in self.parameters.items():
            tensors |= {f"weight/{name}": p.detach().clone(), f"average/{name}": self.average[name].clone()}
            state = self.optimizer.state[p]
            tensors |= {f"{key}/{name}": state[key].clone() for key in ("exp_avg", "exp_avg_sq")}
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            partial,
            {"progress": json.dumps({"step": self.step, "loss": self.mean_loss, "identity": self.identity})},
        )
        partial.replace(self.checkpoint)
        self._saved = time.monotonic()

    # ---------------------------------------------------------------- internals

    def _learning_rate(self) -> float:
        warm = min(1.0, self.step / max(1, min(500, self.steps // 20)))
        return self.peak * warm * max(0.5 * (1 + math.cos(math.pi * self.progress)), 0.01)

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
                        "restore that, or move the checkpoint away to start again"
                    )
            self.step, self._loss = progress["step"], torch.tensor(progress["loss"], device=self.device)
            self.generator.set_state(stored.get_tensor("random"))
            with torch.no_grad():
                for name, p in self.parameters.items():
                    p.copy_(stored.get_tensor(f"weight/{name}"))
                    self.average[name].copy_(stored.get_tensor(f"average/{name}"))
                    self.optimizer.state[p] = {
                        "step": torch.tensor(float(self.step), device=p.device),
                        "exp_avg": stored.get_tensor(f"exp_avg/{name}").to(p.device),
                        "exp_avg_sq": stored.get_tensor(f"exp_avg_sq/{name}").to(p.device),
                    }
