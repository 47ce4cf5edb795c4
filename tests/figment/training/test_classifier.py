import pyarrow as pa
import pytest
import torch

from figment.datasets.labelled import LabelledImages
from figment.errors import InputError
from figment.training.augment import augment
from figment.training.classifier import build_classifier, check_classifier, predict
from figment.training.config import TrainingConfig
from figment.training.lists import open_training_list, training_list
from figment.training.saved import ClassifierCard, Deployable, load_classifier, save_classifier
from figment.training.train import train_classifier

CONFIG = TrainingConfig(
    model="test_resnet", steps=40, batch_size=16, learning_rate=3e-3, weight_decay=0.01, crop_scale=0.8
)


@pytest.fixture(scope="module")
def colours() -> LabelledImages:
    """Three classes that differ in colour alone."""
    labels = torch.arange(60) % 3
    noise = torch.randint(0, 60, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels = noise + 180 * torch.nn.functional.one_hot(labels, 3)[:, :, None, None]
    return LabelledImages(pixels.to(torch.uint8), labels)


@pytest.fixture(scope="module")
def model(colours):
    return train_classifier(colours, 3, CONFIG)


def test_it_learns(model, colours):
    assert (predict(model, colours.pixels).argmax(1) == colours.labels).float().mean() == 1


def test_the_same_images_and_config_give_the_same_model(model, colours):
    again = train_classifier(colours, 3, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_training_leaves_the_global_random_state_alone(colours):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_classifier(colours, 3, CONFIG.model_copy(update={"steps": 1}))
    assert torch.equal(torch.rand(1), expected)


def test_evaluation_neither_sees_the_batch_nor_changes_the_model_unlike_the_published_code(model, colours):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()  # even if somebody left it so
    together = predict(model, colours.pixels)
    alone = torch.cat([predict(model, picture[None]) for picture in colours.pixels[:4]])
    assert torch.allclose(together[:4], alone, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_learning_rate_falls_by_the_papers_cosine(colours):
    rates = []
    config = CONFIG.model_copy(update={"steps": 200, "batch_size": 2, "learning_rate": 2e-4})
    train_classifier(colours, 3, config, log=lambda step, m: rates.append((step, m["learning_rate"])))
    expected = {100: 1e-4, 200: 0.0}
    for step, rate in expected.items():
        assert dict(rates)[step] == pytest.approx(rate, abs=1e-9)


def test_augmentation_draws_for_every_picture():
    pixels = torch.linspace(0, 255, 32).to(torch.uint8).expand(8, 3, 32, 32).clone()
    changed = augment(pixels, TrainingConfig(crop_scale=0.3), torch.Generator().manual_seed(0))
    assert changed.shape == pixels.shape
    assert len({float(picture.sum()) for picture in changed}) == 8
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_small_stem_keeps_resolution():
    native, small = (
        build_classifier(TrainingConfig(model="test_resnet", stem=s), 3).eval() for s in ("native", "small")
    )
    pixels = torch.zeros(1, 3, 32, 32)
    assert small.forward_features(pixels).shape[-1] == 4 * native.forward_features(pixels).shape[-1]


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"timm has no 'resnet5O'; the nearest names are .*resnet50"):
        build_classifier(TrainingConfig(model="resnet5O"), 3)


def test_saved_and_loaded_it_predicts_the_same(model, colours, labels, tmp_path):
    card = ClassifierCard(key="k", labels=labels, training=CONFIG, images=60)
    save_classifier(model, card, tmp_path)
    loaded, read = load_classifier(tmp_path)
    assert read == card
    assert torch.equal(predict(loaded, colours.pixels), predict(model, colours.pixels))
    probabilities = Deployable(loaded)(colours.pixels[:3].float() / 255)
    assert torch.allclose(probabilities.sum(1), torch.ones(3), atol=1e-5)


def verdicts(rows):
    return pa.Table.from_pylist(
        [{"image_id": i, "label": label, "trick": trick, "accepted": ok} for i, label, trick, ok in rows]
    )


def test_a_training_list_is_what_passed_of_the_tricks_asked_for_sorted():
    table = verdicts(
        [("c", "car", "a", True), ("a", "car", "a", True), ("b", "car", "b", True), ("d", "car", "a", False)]
    )
    assert training_list(table, ["a"])["image_id"].to_pylist() == ["a", "c"]


def test_a_class_without_accepted_pictures_is_named(pool, labels):
    chosen = training_list(verdicts([("a", "car", "a", True)]), ["a"])
    with pytest.raises(InputError, match="training set base: no accepted picture of frog, banana"):
        open_training_list(chosen, pool, labels, 32, "base")


def test_a_model_that_cannot_take_the_pictures_is_refused_before_any_work():
    with pytest.raises(InputError, match=r"training\.model: 'vgg11' does not take pictures of 1 px"):
        check_classifier(TrainingConfig(model="vgg11", image_size=1), 3)


def test_a_vision_transformer_is_built_for_the_pictures_at_hand():
    check_classifier(TrainingConfig(model="test_vit", image_size=32), 3)
