"""The calibrated filter of "DIAGen": a linear head on frozen features that says how likely a synthetic image shows its
label."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from figment.errors import InputError
from figment.metrics.accuracy import calibration_error
from figment.training.head import FeatureSet, HeadTraining, logits_of, train_head
from figment.training.sampling import class_uniform, places_in_class

TEMPERATURES = (0.05, 20.0)  # between which the best one is looked for
MAX_FOLDS = 4


@dataclass(frozen=True)
class CalibratedHead:
    """``temperature`` and the calibration errors (15 bins) before and after come from images that the judging head did
    not learn from."""

    head: nn.Linear
    temperature: float
    error_before: float
    error_after: float

    def probabilities(self, features: Tensor) -> Tensor:
        """(N, C) mean over the views (N, V, D) of the softmax at the temperature."""
        return (logits_of(self.head, features) / self.temperature).softmax(-1).mean(1)


def fit_filter(shots: FeatureSet, training: HeadTraining) -> CalibratedHead:
    """Learned from the shots alone, class by class alike; the temperature from ``held_out`` photos, or, if there are none,
    from the shots by cross-fitting: each is judged by a head that learned from the other folds."""
    head, held_out = train_head(shots, class_uniform(shots.labels), training).head, training.held_out
    if held_out is not None:
        logits, labels = logits_of(head, held_out.features[:, 0]), held_out.labels
    else:
        logits, labels = cross_fitted_logits(shots, training)
    temperature = fit_temperature(logits, labels)
    before, after = (calibration_error(logits / t, labels) for t in (1.0, temperature))
    return CalibratedHead(head, temperature, before, after)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that minimises the cross-entropy of ``logits`` (N, C) / T (Guo et al. 2017): a bounded search in log T.

    If no prediction is wrong there is no best T, and it ends where all are as good as certain.
    """
    logits = logits.double()

    def loss(log_t: float) -> float:
        return float(F.cross_entropy(logits / torch.tensor(log_t, dtype=torch.float64).exp(), labels))

    bounds = [float(torch.tensor(t).log()) for t in TEMPERATURES]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(torch.tensor(found.x, dtype=torch.float64).exp())


def cross_fitted_logits(shots: FeatureSet, training: HeadTraining) -> tuple[Tensor, Tensor]:
    """Logits and labels of every shot in every view, each by a head that never saw the photo."""
    place = places_in_class(shots.labels)
    folds = min(MAX_FOLDS, int(torch.bincount(shots.labels).min()))
    if folds < 2:
        raise InputError(
            "weights: a class has one shot, so none is left to calibrate by; give two or more of each class"
        )
    logits, labels = [], []
    for fold in range(folds):
        left_out = place % folds == fold
        rest, judged = shots.subset(~left_out), shots.subset(left_out)
        own = replace(training, seed=training.seed + fold, held_out=None)
        head = train_head(rest, class_uniform(rest.labels), own).head
        logits.append(logits_of(head, judged.features).flatten(0, 1))
        labels.append(judged.labels.repeat_interleave(judged.features.shape[1]))
    return torch.cat(logits), torch.cat(labels)
