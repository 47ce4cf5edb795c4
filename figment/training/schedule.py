"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math

from figment.training.config import TrainingConfig

RISE = 0.25  # share of a one-cycle that goes up


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int, steps: int) -> float:
    """The rate of update number ``step``, from 0, of ``steps``.

    ``cosine`` in epochs is the paper's: epoch e of E has 1/2 (1 + cos(pi e / E)) of the full rate, from its first update
    to its last.
    """
    if config.schedule == "one_cycle":
        rise = max(1, round(RISE * steps))
        if step < rise:
            return config.learning_rate * (step + 1) / rise
        progress = (step - rise) / max(1, steps - rise)
    elif config.steps is not None:
        progress = step / steps
    else:
        progress = (step // steps_per_epoch) / config.epochs
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
