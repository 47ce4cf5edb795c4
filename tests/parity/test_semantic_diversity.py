"""Golden values of "Semantic Diversity Learning for Zero-Shot Multi-label Classification" (Ben-Cohen et al. 2021) and of
its published code."""

import math
import random

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay

from figment.metrics.multilabel import mean_average_precision, measures, precision_recall_f1_at_k
from figment.training.randaugment import cutout
from figment.training.semantic import one_cycle
from models.losses import SemanticDiversityLoss
from models.semantic_diversity_loss import row_spread, semantic_diversity
from models.semantic_matrix import SemanticMatrix, label_scores


def det(shape: tuple[int, ...], a: float, b: float) -> torch.Tensor:
    return torch.from_numpy(np.sin(a * np.arange(math.prod(shape)) + b).astype(np.float32)).reshape(shape)


def as_matrix(flat: torch.Tensor, rows: int) -> torch.Tensor:
    """The published layout, (B, D * M) dimension-major, as (B, M, D)."""
    return flat.unflatten(1, (-1, rows)).transpose(1, 2)


VECTORS = F.normalize(det((300, 6), 0.37, 0.1), dim=0).t()
MATRIX = as_matrix(0.3 * det((3, 600), 0.011, 0.5), 2)
TARGETS = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
golden = pytest.mark.parametrize(
    ("regularisation", "mean", "each"),
    [
        (0.3, 4.0858107, [6.0362129, 4.8519177, 1.3693017]),
        (0.01, 5.7778373, [8.5362444, 6.8613327, 1.9359319]),
        (None, 2.9180915, [4.3112264, 3.4653115, 0.9777365]),
    ],
)


@golden
@pytest.mark.parametrize("dtype", [torch.long, torch.float32])
def test_loss(regularisation, mean, each, dtype):
    """The third image has no negative label and is ranked against a score of 0."""

    def loss(reduction):
        return SemanticDiversityLoss(regularisation, reduction=reduction)(MATRIX, TARGETS.to(dtype), VECTORS)

    assert loss("mean").item() == pytest.approx(mean, rel=1e-5)
    assert loss("sum").item() == pytest.approx(sum(each), rel=1e-5)
    assert loss("none").tolist() == pytest.approx(each, rel=1e-5)


@pytest.mark.parametrize(("regularisation", "expected"), [(None, 0.4401897), (0.3, 2.1162655), (0.01, 0.9215757)])
def test_loss_of_two_axes(regularisation, expected):
    vectors = torch.eye(300)[:3]
    matrix = torch.stack([2 * vectors[0], vectors[1]])[None]
    assert SemanticDiversityLoss(regularisation)(matrix, torch.tensor([[1, 1, 0]]), vectors).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert row_spread(matrix).item() == pytest.approx(2.5)


@pytest.mark.parametrize(("labels", "expected"), [([0], 5 * math.log(2)), ([0, 1], 2.9602197)])
def test_loss_of_a_matrix_of_zeros(labels, expected):
    """R is divided by the number of positives alone, so it grows with the vocabulary."""
    targets = torch.zeros(1, 6)
    targets[0, labels] = 1
    assert SemanticDiversityLoss(None)(torch.zeros(1, 2, 300), targets, VECTORS).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(("labels", "expected"), [([0], 0), ([0, 1], 0.0676736), (range(6), 0.4096194)])
def test_semantic_diversity(labels, expected):
    positive = torch.tensor([[label in labels for label in range(6)]])
    assert semantic_diversity(positive, VECTORS).item() == pytest.approx(expected, rel=1e-5)


def test_row_spread():
    assert row_spread(MATRIX)[0].item() == pytest.approx(8.268392e-4, rel=1e-5)
    assert row_spread(MATRIX)[0].item() == pytest.approx(
        (MATRIX[0, 0] - MATRIX[0, 1]).square().sum().item() / 2, rel=1e-5
    )


def test_a_target_of_minus_one_is_a_negative_only_by_choice_unlike_the_published_code():
    targets, known = torch.tensor([[1, 0, -1, -1, -1, -1]]), torch.tensor([[1, 0]])
    matrix = MATRIX[:1]
    ignored = SemanticDiversityLoss()(matrix, targets, VECTORS)
    assert ignored.item() == pytest.approx(SemanticDiversityLoss()(matrix, known, VECTORS[:2]).item(), rel=1e-6)
    as_negative = SemanticDiversityLoss(unknown="negative")(matrix, targets, VECTORS)
    assert torch.equal(as_negative, SemanticDiversityLoss()(matrix, targets.clamp(min=0), VECTORS))


def test_no_label_one_row_and_a_margin_of_200_are_finite_unlike_the_published_code():
    loss = SemanticDiversityLoss(0.3, reduction="none")
    vectors = torch.eye(2)
    assert loss(MATRIX, 0 * TARGETS, VECTORS).tolist() == [0, 0, 0]
    assert loss.skipped == 3
    assert loss(torch.tensor([[[0.0, 200.0]]]), torch.tensor([[1, 0]]), vectors).tolist() == pytest.approx(
        [2 * 0.7 * 200]
    )


def test_layout_is_dimension_major():
    model = SemanticMatrix(torch.nn.Identity(), features=8, rows=2, dim=4)
    model.embedding.weight.data = torch.eye(8)
    model.mean, model.std = torch.zeros(1), torch.ones(1)
    assert model(torch.arange(8.0)[None]).tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7]]]


def test_ranking_of_labels_and_of_images():
    matrix = as_matrix(torch.tensor([[2.0, 0, 0, 1], [0, 0, 3, 1]]), 2)
    scores = label_scores(matrix, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])).scores
    assert scores.argsort(dim=1, descending=True, stable=True).tolist() == [[0, 2, 1], [1, 2, 0]]
    assert scores.flatten().tolist() == pytest.approx([2, 1, 1.2, 0, 3, 2.4])


@pytest.mark.parametrize(("rows", "parameters"), [(7, 33_640_832), (2, 30_568_832)])
def test_tresnet_m_has_the_published_parameters(rows, parameters):
    backbone = timm.create_model("tresnet_m", num_classes=0)
    assert sum(p.numel() for p in backbone.parameters()) == 29_340_032
    model = SemanticMatrix(backbone, 2048, rows, 300).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert not model.mean.any()  # the paper's pixels stay as they are, in [0, 1]
    assert (model.std == 1).all()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, rows, 300)


@pytest.mark.slow
def test_tresnet_m_takes_images_of_608_px():
    model = SemanticMatrix(timm.create_model("tresnet_m", num_classes=0), 2048, 2, 300).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 608, 608)).shape == (1, 2, 300)


@pytest.mark.parametrize(
    ("k", "drop_unlabelled", "expected"),
    [(3, False, (25, 60, 35.2941)), (3, True, (100 / 3, 60, 42.8571)), (1, False, (50, 40, 44.4444))],
)
def test_precision_recall_and_f1_of_the_k_best(k, drop_unlabelled, expected):
    """Images without a label count as misses unless a protocol leaves them out."""
    targets = [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    ranks = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 1, 2, 3, 4], [3, 0, 1, 2, 4]]
    scores = [[-rank.index(label) for label in range(5)] for rank in ranks]
    found = precision_recall_f1_at_k(scores, targets, k, drop_unlabelled)
    assert [100 * value for value in found] == pytest.approx(expected, abs=5e-5)


def test_average_precision():
    scores, shown = [[0.9], [0.8], [0.7], [0.6], [0.5]], [[1], [0], [1], [0], [1]]
    assert mean_average_precision(scores, shown) == pytest.approx(0.7555556, abs=1e-7)
    assert mean_average_precision(scores, [[0]] * 5) == 0


def test_a_protocol_keeps_its_own_labels_and_the_images_that_have_one():
    """Of labels 3 and 2, in that order, only the first image shows the second and only the third the first."""
    targets = torch.zeros(3, 4, dtype=torch.long)
    targets[[0, 0, 1, 2], [0, 2, 1, 3]] = 1
    chosen, scores = targets[:, [3, 2]], torch.tensor([[0.1, 0.9], [0.8, 0.7], [0.6, 0.2]])
    kept = measures(scores, chosen)["mAP"]
    assert kept == mean_average_precision(scores[[0, 2]], torch.tensor([[0, 1], [1, 0]])) == 1


def nus_targets(nus_wide, *tags: str) -> torch.Tensor:
    targets = torch.zeros(1, len(nus_wide.names))
    targets[0, [nus_wide.names.index(tag) for tag in tags]] = 1
    return targets


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("sky", "clouds"), 1.4354),
        (("dog", "cat"), 1.3619),
        (("dog", "beach"), 1.8241),
        (("sky", "clouds", "sea", "sunset"), 1.6102),
    ],
)
def test_diversity_weights_of_nus_wide_tags(nus_wide, tags, expected):
    weight = 1 + semantic_diversity(nus_targets(nus_wide, *tags) > 0, nus_wide.vectors)
    assert weight.item() == pytest.approx(expected, abs=5e-5)


def test_a_matrix_beats_one_vector_on_two_unlike_tags(nus_wide):
    targets = nus_targets(nus_wide, "dog", "beach")
    matrix = nus_wide.vectors[targets[0] > 0][None]
    loss = SemanticDiversityLoss(None)
    assert loss(matrix, targets, nus_wide.vectors).item() == pytest.approx(708.98, rel=1e-5)
    assert loss(matrix.mean(1, keepdim=True), targets, nus_wide.vectors).item() == pytest.approx(952.90240, rel=1e-5)
    zeros = SemanticDiversityLoss(0.3)(0 * matrix, targets, nus_wide.vectors)
    assert zeros.item() == pytest.approx(1777, abs=0.5)


def test_cutout_of_the_published_seeds():
    """NumPy's and Python's seed 0 draw the centre (172, 47) and the colour (197, 215, 20)."""
    draws, colours = np.random.RandomState(0), random.Random(0)
    centre = (draws.randint(224), draws.randint(224))
    image = cutout(
        torch.zeros(3, 224, 224, dtype=torch.uint8), centre, [colours.randint(0, 255) for _ in range(3)], 0.5
    )
    filled = image.any(0).nonzero()
    assert filled.amin(0).tolist() == [116, 0]
    assert filled.amax(0).tolist() == [223, 103]
    assert len(filled) == 108 * 104
    assert image[:, 200, 50].tolist() == [197, 215, 20]


def test_cutout_covers_a_fifth_of_the_image_on_average():
    image = torch.zeros(3, 224, 224, dtype=torch.uint8)
    covered = [
        cutout(image, (row, column), (1, 1, 1), 0.5)[0].float().mean().item()
        for row in range(0, 224, 8)
        for column in range(0, 224, 8)
    ]
    assert sum(covered) / len(covered) == pytest.approx(0.196, abs=0.005)
    assert min(covered) == pytest.approx(0.065, abs=0.003)
    assert max(covered) == pytest.approx(0.25, abs=0.005)


def test_one_cycle_of_a_hundred_steps():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 2.5e-5)
    schedule = one_cycle(optimizer, 2.5e-5, 100, 0.1)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-6)
    assert max(rates) == rates[9] == pytest.approx(2.5e-5)
    assert rates[-1] == pytest.approx(1e-10)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_one_cycle_of_very_few_steps(steps):
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = one_cycle(optimizer, 1.0, steps, 0.1)
    for _ in range(steps):
        assert 0 < schedule.get_last_lr()[0] <= 1
        optimizer.step()
        schedule.step()


def test_only_matrices_decay():
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    groups = param_groups_weight_decay(layers, 3e-4)
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(4, 0), (2, 3e-4)]


def best_tags(nus_wide, matrix: torch.Tensor, count: int) -> list[tuple[str, float]]:
    scores, order = label_scores(matrix[None], nus_wide.vectors).scores[0].sort(descending=True, stable=True)
    return [(nus_wide.names[i], float(s)) for s, i in zip(scores[:count], order[:count], strict=True)]


def test_nearest_tags_of_one_word(nus_wide):
    matrix = torch.zeros(7, 300)
    matrix[0] = nus_wide.vectors[nus_wide.row_of("dog")]
    expected = {
        "dog": 1.0, "dogs": 0.8104, "puppy": 0.6964, "rabbit": 0.6491, "cat": 0.6381,
        "goat": 0.6006, "kitten": 0.5959, "cow": 0.5820, "pet": 0.5803, "animal": 0.5636,
    }  # fmt: skip
    found = best_tags(nus_wide, matrix, 10)
    assert [tag for tag, _ in found] == list(expected)
    assert [score for _, score in found] == pytest.approx(list(expected.values()), abs=5e-5)


def test_nearest_tags_of_three_words_each_with_its_row(nus_wide):
    words = nus_wide.choose(["dog", "beach", "wedding"], "")
    matrix = words.vectors * torch.tensor([[1.0], [0.9], [0.8]])
    found = best_tags(nus_wide, matrix, 5)
    assert [tag for tag, _ in found] == ["dog", "beach", "dogs", "wedding", "puppy"]
    assert [score for _, score in found] == pytest.approx([1, 0.9, 0.8104, 0.8, 0.6964], abs=5e-5)
    assert label_scores(matrix[None], words.vectors).rows.tolist() == [[0, 1, 2]]
