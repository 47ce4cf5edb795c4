import math
from colorsys import hsv_to_rgb

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchmetrics.functional.classification import binary_average_precision

from figment.checkpoint import Checkpoint
from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import TaggedImages
from figment.errors import InputError
from figment.training.config import SemanticConfig
from figment.training.semantic import (
    build_semantic_matrix,
    hold_out_rows,
    predict_scores,
    score_images,
    train_semantic_matrix,
)

VECTORS = LabelVectorConfig(file="words.txt")
CONFIG = SemanticConfig(
    model="test_resnet",
    image_size=32,
    rows=2,
    epochs=10,
    batch_size=16,
    learning_rate=0.01,
    cutout=0,  # its colour would be a hue
    randaugment=False,
    regularisation=0.01,
    select_by="gzsl/mAP",
)
QUICK = CONFIG.model_copy(update={"epochs": 4, "randaugment": True, "cutout": 0.5, "learning_rate": 1e-3})


def mean_average_precision(scores, targets) -> float:
    ranks = scores.argsort(dim=0).argsort(dim=0) / len(scores)  # in [0, 1): what is not, torchmetrics would squash
    each = [binary_average_precision(ranks[:, j], targets[:, j]) for j in range(targets.shape[1])]
    return torch.stack(each).mean().item()


HUES = torch.arange(8) / 8
UNSEEN = torch.arange(8) == 3


@pytest.fixture(scope="module")
def labels() -> LabelVectors:
    """Eight hues, each known by its place on the circle; one of them, with seen ones either side, is never trained on."""
    angles = 2 * math.pi * HUES
    return LabelVectors.of([f"hue {i}" for i in range(8)], torch.stack([angles.cos(), angles.sin()], 1), "test")


@pytest.fixture(scope="module")
def seen(labels):
    return labels.choose([name for name, new in zip(labels.names, UNSEEN, strict=True) if not new], "test")


def paint(halves: torch.Tensor) -> torch.Tensor:
    """(N, 3, 32, 32): noise over two halves of the hues ``halves`` (N, 2)."""
    colours = torch.tensor([[round(255 * c) for c in hsv_to_rgb(float(hue), 1, 1)] for hue in HUES])
    noise = torch.randint(0, 60, (len(halves), 3, 32, 32), generator=torch.Generator().manual_seed(1))
    noise[:, :, :16] += (0.7 * colours[halves[:, 0], :, None, None]).long()
    noise[:, :, 16:] += (0.7 * colours[halves[:, 1], :, None, None]).long()
    return noise.to(torch.uint8)


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """120 images of seen hues and their targets, all seven columns of them."""
    halves = torch.tensor([0, 1, 2, 4, 5, 6, 7])[
        torch.randint(0, 7, (120, 2), generator=torch.Generator().manual_seed(0))
    ]
    return paint(halves), torch.zeros(120, 8, dtype=torch.long).scatter_(1, halves, 1)[:, ~UNSEEN]


@pytest.fixture(scope="module")
def test_images() -> tuple[torch.Tensor, torch.Tensor]:
    """60 images of all eight."""
    halves = torch.randint(0, 8, (60, 2), generator=torch.Generator().manual_seed(2))
    return paint(halves), torch.zeros(60, 8, dtype=torch.long).scatter_(1, halves, 1)


@pytest.fixture(scope="module")
def evaluate(test_images, labels):
    pixels, targets = test_images

    def measure(model) -> dict[str, float]:
        scores = score_images(model, pixels, labels.vectors)
        zsl = mean_average_precision(scores[:, UNSEEN], targets[:, UNSEEN])
        return {"zsl/mAP": zsl, "gzsl/mAP": mean_average_precision(scores, targets)}

    return measure


@pytest.fixture(scope="module")
def trained(images, seen, evaluate):
    return train_semantic_matrix(TaggedImages(*images), seen, CONFIG, evaluate)


def same(first, second) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_the_seen_and_knows_the_unseen_by_its_vector(trained, test_images, labels):
    pixels, targets = test_images
    scores = predict_scores(trained.model, pixels, labels.vectors).scores
    chance = targets[:, ~UNSEEN].float().mean().item()
    assert mean_average_precision(scores[:, ~UNSEEN], targets[:, ~UNSEEN]) > chance + 0.4
    has_it = targets[:, UNSEEN].squeeze() == 1
    among_three = (scores[has_it].topk(3, 1).indices == UNSEEN.nonzero()).any(1)
    assert among_three.float().mean() > 0.9  # by chance 3 of 8


def test_every_epoch_has_both_protocols_and_the_best_is_kept(trained, evaluate):
    assert [row["epoch"] for row in trained.history] == list(range(1, 11))
    assert all({"loss", "without_label", "learning_rate", "zsl/mAP", "gzsl/mAP"} <= set(row) for row in trained.history)
    best = max(trained.history, key=lambda row: row["gzsl/mAP"])
    assert trained.best_epoch == best["epoch"]
    assert evaluate(trained.model)["gzsl/mAP"] == best["gzsl/mAP"]


def test_an_earlier_epoch_is_kept_if_it_was_better(images, seen):
    scores = iter([0.1, 0.9, 0.5, 0.9])
    weights = []

    def falling(model):
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"gzsl/mAP": next(scores)}

    trained = train_semantic_matrix(TaggedImages(images[0][:32], images[1][:32]), seen, QUICK, falling)
    assert trained.best_epoch == 2
    assert all(torch.equal(value, weights[1][name]) for name, value in trained.model.state_dict().items())


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("stop_in", [1, 3])
def test_stopped_and_resumed_is_bit_equal_to_uninterrupted(images, seen, tmp_path, ema_decay, stop_in):
    config = QUICK.model_copy(update={"ema_decay": ema_decay, "model": "test_vit"})
    pixels, targets = images[0][:48], images[1][:48]

    def scores(model):
        return {"gzsl/mAP": predict_scores(model, pixels, seen.vectors).scores.std().item()}

    whole = train_semantic_matrix(TaggedImages(pixels, targets), seen, config, scores)
    epochs = []

    def stops(model):
        epochs.append(1)
        if len(epochs) > stop_in:
            raise KeyboardInterrupt
        return scores(model)

    checkpoint = Checkpoint(tmp_path / "state.pt", "key", 0)
    with pytest.raises(KeyboardInterrupt):
        train_semantic_matrix(TaggedImages(pixels, targets), seen, config, stops, checkpoint)
    torch.rand(7)  # what else the process draws makes no difference
    resumed_epochs, measured = [], []

    def counted(model):
        measured.append(1)
        return scores(model)

    resumed = train_semantic_matrix(
        TaggedImages(pixels, targets),
        seen,
        config,
        counted,
        checkpoint,
        lambda epoch, row: resumed_epochs.append(epoch),
    )
    assert len(measured) == 4 - stop_in, "earlier epochs are not trained again"
    assert resumed_epochs == [1, 2, 3, 4], "a log sees the earlier ones, too"
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    assert same(resumed.model, whole.model)
    again = train_semantic_matrix(
        TaggedImages(pixels, targets), seen, config, None, checkpoint
    )  # nothing is left to do
    assert same(again.model, whole.model)


def test_a_state_of_another_key_is_not_gone_on_with(images, seen, tmp_path):
    pixels, targets, measured = images[0][:32], images[1][:32], []
    config = QUICK.model_copy(update={"epochs": 1})

    def measure(model):
        measured.append(1)
        return {"gzsl/mAP": 0.5}

    for key in ("one", "two", "two"):
        train_semantic_matrix(
            TaggedImages(pixels, targets), seen, config, measure, Checkpoint(tmp_path / "state.pt", key, 0)
        )
    assert len(measured) == 2


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_state_is_named(images, seen, tmp_path, damage):
    state = tmp_path / "state.pt"
    if damage is None:
        torch.save({"other": 1}, state)
    else:
        state.write_bytes(damage)
    with pytest.raises(InputError, match=r"state\.pt: not a checkpoint .*move it away"):
        train_semantic_matrix(
            TaggedImages(images[0][:32], images[1][:32]), seen, QUICK, lambda model: {}, Checkpoint(state, "key")
        )


def test_the_moving_average_is_what_is_measured_and_kept(images, seen):
    pixels, targets = images[0][:48], images[1][:48]
    plain, averaged = (
        train_semantic_matrix(
            TaggedImages(pixels, targets),
            seen,
            QUICK.model_copy(update={"ema_decay": decay}),
            lambda model: {"gzsl/mAP": 0.0},
        )
        for decay in (None, 0.5)
    )
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in averaged.history]  # training is the same
    assert not same(plain.model, averaged.model)


def test_workers_change_nothing(images, seen):
    pixels, targets = images[0][:32], images[1][:32]
    config = QUICK.model_copy(update={"epochs": 1})
    models = [
        train_semantic_matrix(
            TaggedImages(pixels, targets),
            seen,
            config.model_copy(update={"workers": workers}),
            lambda model: {"gzsl/mAP": 0.0},
        ).model
        for workers in (0, 2)
    ]
    assert same(*models)


def test_images_without_a_label_are_counted(images, seen):
    targets = images[1][:48].clone()
    targets[[3, 20]] = 0
    targets[[30]] = -1
    trained = train_semantic_matrix(TaggedImages(images[0][:48], targets), seen, QUICK, lambda model: {"gzsl/mAP": 0.0})
    assert [row["without_label"] for row in trained.history] == [3] * 4


def test_training_leaves_the_global_random_state_alone(images, seen):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_semantic_matrix(TaggedImages(images[0][:32], images[1][:32]), seen, QUICK, lambda model: {"gzsl/mAP": 0.0})
    assert torch.equal(torch.rand(1), expected)


def test_what_does_not_fit_is_named(images, seen):
    pixels, targets = images[0][:32], images[1][:32]

    def train(pixels=pixels, targets=targets, config=QUICK, measures=None):
        train_semantic_matrix(TaggedImages(pixels, targets), seen, config, lambda model: measures or {"gzsl/mAP": 0.0})

    with pytest.raises(InputError, match=r"torch\.float32 of shape .* expected uint8 \(N, 3, 32, 32\)"):
        train(pixels=pixels.float())
    with pytest.raises(InputError, match=r"expected uint8 \(N, 3, 64, 64\)"):
        train(config=QUICK.model_copy(update={"image_size": 64}))
    with pytest.raises(InputError, match=r"targets have shape \(32, 2\); expected 32 images by 7 labels"):
        train(targets=targets[:, :2])
    with pytest.raises(InputError, match="no image has any of the labels"):
        train(targets=0 * targets)
    with pytest.raises(InputError, match=r"select_by: 'gzsl/mAP' is not measured; there are .*validation/F1"):
        train(measures={"validation/F1": 0.0})
    with pytest.raises(InputError, match=r"select_by: 'gzsl/mAP' is not a number"):
        train(measures={"gzsl/mAP": float("nan")})
    with pytest.raises(InputError, match=r"the loss is .* after epoch 1; lower training\.learning_rate"):
        train(config=QUICK.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(InputError, match=r"timm has no 'tresnet'; the nearest names are tresnet_"):
        train(config=QUICK.model_copy(update={"model": "tresnet"}))


def test_held_out_rows_are_disjoint_and_all_there():
    train, held = hold_out_rows(50, 0.1, seed=3)
    assert len(held) == 5
    assert sorted(train.tolist() + held.tolist()) == list(range(50))
    assert torch.equal(held, hold_out_rows(50, 0.1, seed=3)[1])
    assert not torch.equal(held, hold_out_rows(50, 0.1, seed=4)[1])


def test_the_papers_backbone_is_built():
    model = build_semantic_matrix(SemanticConfig(image_size=64), 300)
    assert sum(p.numel() for p in model.parameters()) == 33_640_832
    assert model.training


def test_pretrained_weights_come_from_timm_with_their_own_mean_and_deviation(tmp_path, monkeypatch):
    config = SemanticConfig(model="test_resnet.r160_in1k", image_size=32, pretrained=True)
    weights, create = timm.create_model("test_resnet"), timm.create_model
    save_file(weights.state_dict(), tmp_path / "weights.safetensors")

    def from_file(name, pretrained=False, **options):
        overlay = {"file": str(tmp_path / "weights.safetensors")} if pretrained else None
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **options)

    monkeypatch.setattr(timm, "create_model", from_file)
    model = build_semantic_matrix(config, 5)
    assert all(torch.equal(value, weights.state_dict()[name]) for name, value in model.backbone.state_dict().items())
    assert model.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    tagged = build_semantic_matrix(SemanticConfig(model="tresnet_m.miil_in1k", image_size=64), 5)
    assert not tagged.mean.any()


def test_weights_that_are_not_to_be_had_are_named():
    with pytest.raises(
        InputError, match=r"no weights of 'vovnet39a' that fit stem 'native' and 64 px \(.*connect to the hub"
    ):
        build_semantic_matrix(SemanticConfig(model="vovnet39a", image_size=64, pretrained=True), 5)
    with pytest.raises(InputError, match=r"timm has no 'tresnet_m\.mine'; there are tresnet_m\.miil_in1k"):
        build_semantic_matrix(SemanticConfig(model="tresnet_m.mine", image_size=64), 5)
