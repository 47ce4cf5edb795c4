"""Fine-tuning: everything learns but the batch norms' statistics, the backbone more slowly, and the best step is kept."""

import pytest
import timm
import torch
from torch import nn

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import LabelledImages
from figment.training.backbone import Backbone
from figment.training.config import AugmentConfig, FinetuneConfig
from figment.training.finetune import Finetuning, classify, finetune
from figment.training.kinds.few_shot_head import FewShotClassifier

CONFIG = FinetuneConfig(steps=40, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2, validate_every=10)
GREY = torch.full((3, 1, 1), 0.5)


def striped(count: int, seed: int = 0) -> LabelledImages:
    """Rows or columns of random colours: what a layer on the pixels' means cannot tell apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    lines = torch.randint(256, (count, 3, 32, 1), generator=generator).expand(-1, -1, -1, 32).byte()
    return LabelledImages(torch.where(labels[:, None, None, None] == 0, lines, lines.transpose(2, 3)), labels)


def small() -> FewShotClassifier:
    torch.manual_seed(0)
    backbone = Backbone(timm.create_model("test_resnet", num_classes=0), GREY, GREY)
    return FewShotClassifier(backbone, nn.Linear(backbone.network.num_features, 2))


def states(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_all_weights_learn_and_the_statistics_of_batch_norms_stay():
    images, network = striped(16), small()
    before = states(network)
    found = finetune(network, images, torch.full((16,), 1 / 16), Finetuning(CONFIG, None, 0))
    after = states(network)
    moved = {name for name, value in before.items() if not value.equal(after[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked", ".mean", ".std")
    assert moved == {name for name in before if not name.endswith(statistics)}
    assert not any(module.training for module in network.backbone.modules())
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert found.kept == 40
    assert (classify(network.backbone, network.head, images.pixels, 8).argmax(1) == images.labels).float().mean() > 0.9


def test_the_backbone_moves_less_than_the_head_and_the_same_seed_gives_the_same():
    images, runs = striped(16), []
    config = CONFIG.model_copy(update={"steps": 1, "learning_rate": 1e-5})
    for _ in range(2):
        network = small()
        before = states(network)
        training = Finetuning(config, AugmentConfig(crop_scale=0.7), 3)
        finetune(network, images, torch.full((16,), 1 / 16), training)
        runs.append(states(network))
    assert all(value.equal(runs[1][name]) for name, value in runs[0].items())
    steps = {name: (runs[0][name] - value).abs().max().item() for name, value in before.items()}
    assert steps["head.weight"] == pytest.approx(1e-2, rel=0.01)  # Adam's first step is its rate
    assert max(step for name, step in steps.items() if name.startswith("backbone.")) == pytest.approx(1e-5, rel=0.05)


def test_what_has_no_probability_is_never_learned_from():
    """Half of the images are labelled wrongly and never drawn."""
    images, law = striped(32), torch.cat([torch.full((16,), 1 / 16), torch.zeros(16)])
    wrong = LabelledImages(images.pixels, torch.cat([images.labels[:16], 1 - images.labels[16:]]))
    network, other = small(), small()
    finetune(network, wrong, law, Finetuning(CONFIG, None, 0))
    finetune(other, images, law, Finetuning(CONFIG, None, 0))
    assert network.head.weight.equal(other.head.weight)


def test_a_fine_tuning_that_helps_no_held_out_image_ends_as_the_linear_head():
    images, network = striped(16), small()
    before = states(network)
    law, held_out = torch.full((16,), 1 / 16), striped(16, seed=1)
    # Held-out images all labelled as the head sees them now: later steps can be no better.
    agreed = classify(network.backbone, network.head, held_out.pixels, 8).argmax(1)
    found = finetune(network, images, law, Finetuning(CONFIG, None, 0, LabelledImages(held_out.pixels, agreed)))
    assert found.kept == 0
    assert found.history[0] == (0, {"validation_accuracy": 1.0})
    assert all(value.equal(states(network)[name]) for name, value in before.items())


def test_an_interrupted_fine_tuning_ends_with_the_same_weights(tmp_path):
    images, held_out, law = striped(16), striped(8, seed=1), torch.full((16,), 1 / 16)
    augmentation, checkpoint = AugmentConfig(crop_scale=0.7), Checkpoint(tmp_path / "checkpoint.pt", "k", 0)

    def stop(step, metrics):
        if step == 30:
            raise KeyboardInterrupt

    whole, resumed, training = small(), small(), Finetuning(CONFIG, augmentation, 0, held_out)
    expected = finetune(whole, images, law, training)
    with pytest.raises(KeyboardInterrupt):
        finetune(small(), images, law, training, checkpoint, stop)
    assert checkpoint.load().done == 20
    found = finetune(resumed, images, law, training, checkpoint)
    assert (found.history, found.kept) == (expected.history, expected.kept)
    assert all(value.equal(states(whole)[name]) for name, value in states(resumed).items())


def test_cutmix_teaches_the_head_mixed_images_and_leaves_a_backbone_of_rate_zero_alone():
    images, law = striped(16), torch.full((16,), 1 / 16)
    config, found = CONFIG.model_copy(update={"learning_rate": 0.0, "cutmix": 1.0}), []
    for changed in ({}, {}, {"cutmix": 0.0}):
        network = small()
        before = states(network.backbone)
        finetune(network, images, law, Finetuning(config.model_copy(update=changed), None, 0))
        assert all(value.equal(states(network.backbone)[name]) for name, value in before.items())
        found.append(network.head.weight)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_randaugment_changes_what_is_learned_from_and_follows_the_seed():
    augmentation = AugmentConfig(transforms="timm", auto_augment="rand-m9-n2", crop_scale=1.0)
    images, law, found = striped(16), torch.full((16,), 1 / 16), []
    for seed, change in ((0, augmentation), (0, augmentation), (1, augmentation), (0, None)):
        network = small()
        finetune(network, images, law, Finetuning(CONFIG.model_copy(update={"steps": 4}), change, seed))
        found.append(network.head.weight)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])
    assert not found[0].equal(found[3])
