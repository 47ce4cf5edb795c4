"""The policies on pocket scenes, where it is known what an image shows: in two of five one requested object is not there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.labels import LabelSpace
from figment.validation import grouping_softmax
from figment.validation.grouping import presence_probabilities
from figment.validation.policies import CalibratedPolicy, CocoPolicy, NusPolicy, settle
from figment.validation.verdicts import make_verdicts
from pocket.artwork import OBJECTS
from pocket.world import World

SPACE = LabelSpace.of(list(OBJECTS))
COUNT = 1600


def scenes(seed: int) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """CLIP logits, what is shown and what was requested, each (N, 32), of scenes with two objects."""
    g = torch.Generator().manual_seed(seed)
    drawn = World([Path("data/artwork/noto.parquet")], list(OBJECTS)).sample(COUNT, g, pairs=1.0, domain="photo")
    shown = drawn.objects.bool()
    requested = shown.clone()
    for row, what in zip(requested, shown, strict=True):
        if torch.rand(1, generator=g) < 0.4:
            present, absent = what.nonzero()[:, 0], (~what).nonzero()[:, 0]
            row[present[torch.randint(len(present), (1,), generator=g)]] = False
            row[absent[torch.randint(len(absent), (1,), generator=g)]] = True
    scorer = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip", device="cpu"))
    return scorer.logits(drawn.pixels, scorer.text_features(SPACE)), shown.numpy(), requested


@pytest.fixture(scope="module")
def quality():
    """Precision of the labels that pass, and the share of right images that do, for each policy."""
    logits, _, asked = scenes(0)
    target = CalibratedPolicy(target_precision=0.9)
    calibrated = settle(target, presence_probabilities(logits, asked).numpy(), asked.numpy(), SPACE)
    logits, shown, asked = scenes(1)
    v, requested = grouping_softmax(logits, asked).numpy(), asked.numpy()
    labels = [[SPACE.names[c] for c in np.flatnonzero(row)] for row in requested]
    right = (shown == requested).all(1)
    found = {"unfiltered": ((shown & requested).sum() / requested.sum(), 1.0)}
    for policy in (CocoPolicy(), NusPolicy(), calibrated):
        rows = [
            {"image_id": str(i), "labels": names, "trick": "", "contrast": 1.0, "unsafe": False}
            for i, names in enumerate(labels)
        ]
        verdicts = make_verdicts(rows, v, SPACE, policy)
        passed = np.array(verdicts["accepted"].to_pylist())
        precision = (shown & requested)[passed].sum() / requested[passed].sum()
        found[policy.kind] = (float(precision), float((passed & right).sum() / right.sum()))
    return found, calibrated, (v, shown, requested)


def test_every_policy_makes_the_labels_purer(quality):
    found, *_ = quality
    unfiltered = found["unfiltered"][0]
    assert 0.75 < unfiltered < 0.85
    assert found["coco"][0] > 0.98
    assert found["nus"][0] > unfiltered + 0.08
    assert found["calibrated"][0] > 0.9  # the target


def test_calibration_keeps_more_right_images_than_one_threshold_for_all(quality):
    found, *_ = quality
    assert found["calibrated"][1] > found["coco"][1] + 0.1


def test_the_bounds_of_the_classes_hold(quality):
    _, calibrated, (v, shown, requested) = quality
    below = 0
    for c, name in enumerate(SPACE.names):
        threshold = calibrated.thresholds[name]
        passed = requested[:, c] & (v[:, c] >= threshold.value)
        below += shown[passed, c].mean() < threshold.low
    assert below <= 32 * 0.1
