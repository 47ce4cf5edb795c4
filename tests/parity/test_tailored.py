"""Golden values of "Diverse and Tailored Image Generation" (Zhang et al. 2024) and of its published code, run on a CPU."""

import open_clip
import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from torch import nn

from figment.labels import LabelSpace
from figment.metrics.multilabel import mean_average_precision
from figment.ops.environment import ROOT
from figment.prompts.pairs import label_pairs
from figment.validation import grouping_softmax
from figment.validation.policies import CocoPolicy
from models.dual_prompt import DualPrompts, project_tokens
from models.feature_fusion import FeatureFusion, GlobalBranch, add_feature_fusion
from models.losses import AsymmetricLoss

COCO = LabelSpace.load(ROOT / "configs/labels/coco_48_17.yaml")
UNSEEN = COCO.choose([COCO.names[i] for i in COCO.unseen_ids])


def parameters(modules) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# Asymmetric loss


@pytest.mark.parametrize(
    ("v", "y", "loss", "gradient"),
    [
        ([0.9, 0.6, 0.02, 0.3], [1, 1, 0, 0], 0.61730993, [-1.1111, -1.6667, 0, 0.0052]),
        ([0.5, 0.5, 0.04, 0.05, 0.5], [1, 0, 0, 0, 0], 0.74217725, [-2, 0.0746, 0, 0, 0.0746]),
    ],
)
def test_the_loss_on_probabilities(v, y, loss, gradient):
    for targets in (torch.tensor(y), torch.tensor([y])):  # the shape of the targets does not matter
        probabilities = torch.tensor([v], requires_grad=True)
        found = AsymmetricLoss()(probabilities, targets)
        found.backward()
        assert float(found) == pytest.approx(loss, abs=1e-6)
        assert probabilities.grad[0].tolist() == pytest.approx(gradient, abs=1e-4)


def test_the_loss_on_two_rows_of_logits():
    logits = torch.tensor([[[0.0, 1, -2], [1.0, 0, 0]]], requires_grad=True)
    loss = AsymmetricLoss(2, 1, eps=1e-6)(logits, torch.tensor([[1, 0, 0]]))
    loss.backward()
    assert float(loss) == pytest.approx(1.32238460, abs=1e-6)
    assert logits.grad[0, 0].tolist() == pytest.approx([0.0723, -0.0121, -0.4283], abs=1e-4)
    assert torch.allclose(logits.grad[0, 1], -logits.grad[0, 0])
    masked = AsymmetricLoss(2, 1, eps=1e-6)(logits, torch.tensor([[1, -1, 0]]))
    assert float(masked) == pytest.approx(1.31053948, abs=1e-6)


def test_the_loss_leaves_autograd_off_unlike_the_published_code():
    with torch.no_grad():
        AsymmetricLoss()(torch.tensor([[0.9, 0.3]]), torch.tensor([[1, 0]]))
        assert not torch.is_grad_enabled()


# Grouping softmax and acceptance: all cosines .15 but those given, scale 100, 17 classes


def judged(cosines: dict[str, float], *requested: str) -> tuple[dict[str, float], float, str, list[str]]:
    u = torch.full((1, len(UNSEEN)), 15.0, dtype=torch.float64)
    for name, cosine in cosines.items():
        u[0, UNSEEN.names.index(name)] = 100 * cosine
    ids = frozenset(UNSEEN.names.index(name) for name in requested)
    v = grouping_softmax(u, torch.tensor([[c in ids for c in range(len(UNSEEN))]]))[0]
    reason, predicted = CocoPolicy().decide(v.numpy(), ids, UNSEEN)
    by_name = dict(zip(UNSEEN.names, v.tolist(), strict=True))
    return by_name, float(v.sum()), reason, [UNSEEN.names[c] for c in predicted]


def test_two_requested_and_shown():
    v, total, reason, predicted = judged({"bus": 0.28, "dog": 0.24}, "bus", "dog")
    assert (v["bus"], v["dog"]) == pytest.approx((0.999966, 0.998152), abs=1e-6)
    assert v["cat"] == pytest.approx(6.272e-05, rel=1e-3)
    assert total == pytest.approx(1.999059, abs=1e-6)
    assert (reason, predicted) == ("accepted", ["bus", "dog"])


def test_one_of_two_missing():
    v, _, reason, predicted = judged({"bus": 0.28, "dog": 0.17}, "bus", "dog")
    assert (v["bus"], v["dog"]) == pytest.approx((0.999966, 0.330030), abs=1e-6)
    assert (reason, predicted) == ("missing_label", ["bus"])


def test_a_distractor():
    v, _, reason, predicted = judged({"bus": 0.28, "dog": 0.24, "cat": 0.25}, "bus", "dog")
    assert (v["bus"], v["dog"], v["cat"]) == pytest.approx((0.952545, 0.268817, 0.389072), abs=1e-6)
    assert (reason, predicted) == ("missing_label", ["bus"])


def test_a_tie_is_two_labels_unlike_the_published_code():
    assert judged({"bus": 0.28, "dog": 0.28}, "bus", "dog")[2:] == ("accepted", ["bus", "dog"])
    assert judged({"bus": 0.28, "dog": 0.279}, "bus", "dog")[2:] == ("accepted", ["bus", "dog"])


def test_a_single_request_is_a_plain_softmax():
    v, total, reason, _ = judged({"cat": 0.25, "dog": 0.24}, "cat")
    assert (v["cat"], v["dog"]) == pytest.approx((0.730695, 0.268808), abs=1e-6)
    assert total == pytest.approx(1)
    assert reason == "accepted"


# The classifier


def test_token_projection():
    torch.manual_seed(0)
    pool = AttentionPool2d(7, 64, 8, 32)
    features = project_tokens(pool, torch.randn(2, 64, 7, 7)).transpose(1, 2)
    assert features.shape == (2, 32, 50)
    assert float(features.sum()) == pytest.approx(59.53302, abs=1e-3)
    assert float(features[0, 0, 0]) == pytest.approx(-0.103666, abs=1e-6)


def test_the_fusion_branch_without_its_unused_convolutions():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(64, 16, 1), nn.Conv2d(32, 8, 1), nn.Conv2d(32, 8, 1)]
    for _ in range(2):
        nn.Conv2d(
            64, 64, 1
        )  # the published code builds two that it never uses; they take their share of the random numbers
    x = torch.randn(2, 64, 7, 7)
    branch = GlobalBranch(64).eval()
    branch.reduce, branch.aggregate, branch.broadcast = convolutions
    y = branch(x)
    assert float(y.mean()) == pytest.approx(-0.00405014, abs=1e-7)
    assert float(y.std()) == pytest.approx(0.0731675, abs=1e-6)
    assert float(y[0, 0, 0, 0]) == pytest.approx(0.00301484, abs=1e-7)
    y.square().sum().backward()
    assert all(p.grad is not None for p in branch.parameters())


def test_fusion_changes_almost_nothing_at_first():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(2, 64, 7, 7)
    with torch.no_grad():
        change = (FeatureFusion(conv).eval()(x) - conv(x)).norm() / conv(x).norm()
    assert 1e-6 < float(change) < 3e-5  # 7.0e-6 there


@pytest.mark.parametrize(("layers", "modules", "used"), [([3, 4, 6, 3], 16, 353_328), ([3, 4, 23, 3], 33, 676_736)])
def test_fusion_has_only_the_parameters_that_the_published_code_uses(layers, modules, used):
    branches = add_feature_fusion(ModifiedResNet(layers, output_dim=1024, heads=32, image_size=224, width=64))
    assert len(branches) == modules
    assert parameters(branches) == used


class TextOnly(nn.Module):
    """The text side of CLIP RN50 as far as prompts need it: 512 wide, 77 long, the original vocabulary."""

    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(49408, 512)


def test_prompts_have_65536_parameters_and_the_original_tokens():
    prompts = DualPrompts(TextOnly(), open_clip.tokenizer.SimpleTokenizer(), ["snowboard", "computer keyboard"])
    assert sum(p.numel() for p in prompts.parameters()) == 65_536
    assert prompts.tokens.shape == (2, 77)
    assert prompts.tokens[0, 65:68].tolist() == [33403, 269, 49407]  # start, 64 of context, name, full stop, end
    assert prompts.tokens[1, 65:68].tolist() == [11639, 652, 13017]
    assert prompts.tokens[0].argmax() == 67


# Metrics


def test_mean_average_precision():
    targets = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    scores = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.3], [0.35, 0.6, 0.7], [0.5, 0.1, 0.2]]
    assert 100 * mean_average_precision(scores, targets) == pytest.approx(77.7777773, abs=1e-5)
    without = [[a, b, 0] for a, b, _ in targets]
    assert 100 * mean_average_precision(scores, without) == pytest.approx(61.1111108, abs=1e-5)
    assert 100 * mean_average_precision(scores, without, absent="ignore") == pytest.approx(91.6666662, abs=1e-5)


def test_average_precision_of_equal_scores():
    assert mean_average_precision([[0.5]] * 4, [[1], [0], [0], [1]]) == pytest.approx(0.75)


def test_equal_scores_rank_in_the_order_of_the_images_unlike_the_published_code():
    assert mean_average_precision([[0.5]] * 4, [[1], [1], [0], [0]]) == 1


# The split


def test_coco_has_48_seen_and_17_unseen_classes():
    assert (len(COCO.seen_ids), len(COCO.unseen_ids)) == (48, 17)


def test_the_generator_is_asked_for_149_pairs():
    """17 * 18 / 2 unordered pairs and self pairs, less the four that the paper calls easily confused."""
    pairs = label_pairs(UNSEEN)
    assert len(pairs) == 149
    assert sum(len(pair) == 2 for pair in pairs) == 132
    assert ("skateboard", "snowboard equipment") not in {tuple(sorted(x.prompt_name for x in pair)) for pair in pairs}
