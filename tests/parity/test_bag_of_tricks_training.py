"""Golden values of "Diversity is Definitely Needed" (Shipard et al. 2023) and of its published code: resizing, data,
training, evaluation."""

import math

import pytest
import torch
import yaml
from PIL import Image

from figment.datasets.labelled import open_labelled, read_labelled
from figment.images import bilinear, to_tensor
from figment.labels import LabelSpace
from figment.metrics.accuracy import per_class, top1
from figment.ops.environment import ROOT
from figment.training.classifier import build_classifier, check_classifier, predict
from figment.training.config import TrainingConfig
from figment.training.saved import read_model
from figment.training.schedule import learning_rate
from figment.training.train import train_classifier
from tests.saved_models import save_timm

CIFAR10 = LabelSpace.load(ROOT / "configs/labels/cifar10.yaml")
CIFAR100 = LabelSpace.load(ROOT / "configs/labels/cifar100.yaml")


@pytest.mark.parametrize(("size", "factor"), [(32, 16), (64, 8)])
def test_downscale_of_a_ramp_is_bit_equal_to_the_mean_of_the_four_centre_pixels(size, factor):
    down, across = torch.arange(512.0)[:, None], torch.arange(512.0)
    ramp = ((down * 512 + across) / 2**18).expand(1, 3, 512, 512)
    first = torch.arange(size) * factor + factor // 2 - 1
    rows = ramp[:, :, first] + ramp[:, :, first + 1]
    assert torch.equal(bilinear(ramp, size, antialias=False), (rows[..., first] + rows[..., first + 1]) / 4)


def test_downscale_with_antialiasing_has_the_same_32_taps_on_both_axes():
    for axis in (2, 3):
        taps = {}
        for first in range(0, 512, 3):
            places, impulses = range(first, min(first + 3, 512)), torch.zeros(1, 3, 512, 512)
            for channel, place in enumerate(places):
                impulses[:, channel].select(axis - 1, place).fill_(1)
            weights = bilinear(impulses, 32, antialias=True)[0, :, 16, 16].tolist()
            taps |= {place: weight for place, weight in zip(places, weights, strict=False) if weight}
        assert list(taps) == list(range(248, 280))
        assert max(taps.values()) == pytest.approx(0.060547, abs=1e-6)
        assert sum(taps.values()) == pytest.approx(1, abs=1e-6)


def test_generated_and_real_images_of_eurosat_have_one_bandwidth():
    """Noise of 512 px and of 64 px, as the paper's config has them learned from: the share of their power above what 64 px
    can show. The large one is seen by the taps of the published resizing alone."""
    parameters = yaml.safe_load((ROOT / "configs/paper/eurosat.yaml").read_text())["parameters"]
    training, side = TrainingConfig(**parameters["training"]), parameters["generator"]["width"]
    size, how = training.image_size, (training.resize, training.native_size)
    assert (side, size) == (512, 224)

    def noise(side):
        return torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def seen(pixels):
        return to_tensor(Image.fromarray(pixels.permute(1, 2, 0).numpy()), size, *how)

    def too_fine(pixels):
        power = torch.fft.fft2(pixels.double() - pixels.double().mean((1, 2), keepdim=True)).abs() ** 2
        low = torch.fft.fftfreq(size).abs() * size <= 32
        return float(1 - power[:, low][..., low].sum() / power.sum())

    generated = seen(noise(512))
    assert too_fine(generated) < 0.12
    assert too_fine(generated) == pytest.approx(too_fine(seen(noise(64))), abs=0.01)
    taps = torch.arange(64) * 8 + 3
    rows = noise(512).float()[:, taps] + noise(512).float()[:, taps + 1]
    published = ((rows[..., taps] + rows[..., taps + 1]) / 4).round().to(torch.uint8)
    assert torch.equal(generated, seen(published))


def synthetic(folder, name, mode, colour, file="0.png"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new(mode, (32, 32), colour).save(folder / name / file)


def test_generated_folders_of_rgba_images_have_the_official_labels(tmp_path):
    two = CIFAR10.choose(["airplane", "truck"])
    for name in ("truck", "airplane"):
        synthetic(tmp_path, name, "RGBA", (10, 20, 30, 255))
    images = open_labelled(tmp_path, "test", two, 32).load()
    official = [CIFAR10.names.index(two.names[label]) for label in images.labels]
    assert sorted(official) == [0, 9]
    values = images.pixels[:, :, 5, 5].float() / 255
    assert torch.allclose(values, torch.tensor([0.0392157, 0.0784314, 0.1176471]).expand(2, 3), atol=1e-7)


def test_cifar100_has_its_hundred_names_in_order():
    assert len(CIFAR100) == 100
    assert list(CIFAR100.names) == sorted(CIFAR100.names)
    assert CIFAR100.names.index("worm") == 99
    assert CIFAR100.names.index("aquarium_fish") == 1


def test_spaces_nested_samples_and_grayscale_are_read_where_the_published_loader_fails(tmp_path):
    synthetic(tmp_path, "aquarium fish/samples", "L", 77, "00000.png")
    synthetic(tmp_path, "worm", "RGB", (1, 2, 3))
    two = CIFAR100.choose(["aquarium_fish", "worm"])
    images = open_labelled(tmp_path, "test", two, 32).load()
    assert images.labels.tolist() == [0, 1]
    assert images.pixels[0].unique().tolist() == [77]


def test_the_archives_names_need_no_rule(tmp_path):
    """``EuroSat_generated_64`` lacks the substring by which the published code chooses its reader."""
    space = LabelSpace.load(ROOT / "configs/labels/eurosat.yaml")
    for spelling in ("AnnualCrop", "forest", "Herbaceous_Vegetation", "Highway", "industrial", "Pasture",
                     "Permanent Crop", "Residential", "River", "Sea Lake"):  # fmt: skip
        synthetic(tmp_path / "EuroSat_generated_64", spelling, "RGB", (9, 9, 9))
    labels = open_labelled(tmp_path / "EuroSat_generated_64", "test", space, 64).labels
    assert sorted(labels.tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("model", "classes", "parameters"),
    [
        ("resnet50", 10, 23_528_522), ("resnet50", 100, 23_712_932),
        ("resnet101", 10, 42_520_650), ("resnet101", 100, 42_705_060),
        ("mobilenetv3_small_100", 10, 1_528_106), ("mobilenetv3_small_100", 100, 1_620_356),
        ("convnext_small", 10, 49_462_378), ("convnext_small", 100, 49_531_588),
    ],
)  # fmt: skip
def test_the_papers_networks_have_their_number_of_parameters(model, classes, parameters):
    with torch.device("meta"):
        net = build_classifier(TrainingConfig(model=model), classes)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_vit_b_has_five_tokens_at_32_px_and_refuses_224():
    """timm's ViT-B/16 is the published one and a bias to each query, key and value."""
    vit = build_classifier(TrainingConfig(model="vit_base_patch16_224"), 10).eval()
    assert vit.pos_embed.shape == (1, 5, 768)
    depth, dim = 12, 768
    assert sum(p.numel() for p in vit.parameters()) == 85_631_242 + depth * 3 * dim
    with pytest.raises(AssertionError):
        vit(torch.zeros(1, 3, 224, 224))
    with torch.device("meta"):
        at_224 = build_classifier(TrainingConfig(model="vit_base_patch16_224", image_size=224), 10)
    assert at_224.pos_embed.shape == (1, 197, 768)


@pytest.mark.parametrize("stem", ["native", "small"])
@pytest.mark.parametrize(
    "model", ["resnet50", "resnet101", "vit_base_patch16_224", "mobilenetv3_small_100", "convnext_small"]
)
def test_the_papers_five_take_images_of_32_px_as_they_are_and_adapted(model, stem):
    check_classifier(TrainingConfig(model=model, stem=stem), 10)


def test_the_papers_recipe_is_the_default():
    """Sec. 4.1; the two exceptions in weight decay are the user's to set."""
    config = TrainingConfig()
    assert (config.epochs, config.batch_size, config.learning_rate) == (200, 128, 2e-4)
    assert (config.schedule, config.weight_decay, config.label_smoothing) == ("cosine", 0.9, 0)
    assert (config.crop_scale, config.flip, config.ema_decay, config.holdout) == (0.08, True, None, 0)


def test_learning_rate_falls_once_an_epoch_by_the_cosine():
    """391 updates an epoch: 50,000 images in batches of 128."""
    config = TrainingConfig(learning_rate=2e-4, epochs=200)
    rates = [learning_rate(config, epoch * 391, 391, 78_200) for epoch in range(200)]
    assert rates == pytest.approx([1e-4 * (1 + math.cos(math.pi * e / 200)) for e in range(200)], rel=1e-12)
    assert rates[100] == pytest.approx(1e-4)
    assert rates[199] == pytest.approx(1.23e-8, rel=5e-3)
    assert learning_rate(config, 390, 391, 78_200) == rates[0] == 2e-4
    assert learning_rate(config, 391, 391, 78_200) == rates[1] < 2e-4


def test_weight_decay_is_decoupled():
    """Zero gradient: every update multiplies every weight, biases and norms too, by 1 - 1.8e-4."""
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    config = TrainingConfig()
    optimizer = torch.optim.AdamW([weight], config.learning_rate, weight_decay=config.weight_decay)
    for _ in range(5):
        weight.grad = torch.zeros(3, dtype=torch.float64)
        optimizer.step()
    assert weight.tolist() == pytest.approx([(1 - 1.8e-4) ** 5] * 3, rel=1e-12)


def test_evaluation_leaves_batch_statistics_alone_unlike_the_published_code():
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    net[0].running_mean.fill_(5)
    pixels = torch.randint(0, 256, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    net.train()  # as the published evaluation leaves it
    together = predict(net, pixels)
    assert net[0].running_mean.tolist() == [5, 5, 5]
    assert torch.allclose(together[:8], predict(net, pixels[:8]), atol=1e-6)
    net.train()
    with torch.no_grad():
        net(torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
    assert net[0].running_mean.tolist() == pytest.approx([4.5] * 3, abs=0.02)  # what the published one does


def test_accuracy_is_micro_and_known_for_each_class():
    truth = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[2.0, 1], [2, 1], [1, 2], [1, 2]])
    assert top1(logits, truth).top1 == 0.75  # not the mean of 2/3 and 1
    assert [score.top1 for score in per_class(logits, truth)] == pytest.approx([2 / 3, 1])


def test_a_classifier_is_saved_where_told_unlike_the_published_code(tmp_path):
    config = TrainingConfig(model="test_resnet")
    folder = tmp_path / "saved_models" / "x.pt"
    save_timm(folder, CIFAR10, config)
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert read_model(folder).labels == CIFAR10


def test_a_hold_out_never_empties_a_small_set_unlike_the_published_code(tmp_path):
    """The published split takes 10,000 of any set: of a smaller one nothing is left to train on."""
    for name in ("cat", "dog"):
        for number in range(6):
            synthetic(tmp_path, name, "RGB", (number, 0, 0), f"{number}.png")
    images = open_labelled(tmp_path, "test", LabelSpace.of(["cat", "dog"]), 32).load()
    config = TrainingConfig(model="test_resnet", epochs=1, batch_size=4, holdout=0.5, keep="best")
    entries: list = []
    train_classifier(images, 2, config, lambda step, m: entries.append((step, m)))
    assert entries[-1][0] == 2  # six images in batches of four
    assert read_labelled(tmp_path, "test", LabelSpace.of(["cat", "dog"]), 32).labels.tolist() == [0] * 6 + [1] * 6
