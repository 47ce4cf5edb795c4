import pyarrow as pa
import pytest
import torch

from figment.errors import InputError
from figment.images import decode, to_tensor
from figment.training.classifier import build_classifier, check_classifier, predict
from figment.training.config import TrainingConfig
from figment.training.kinds.timm_classifier import TIMM
from figment.training.lists import open_training_list, training_list
from figment.training.saved import load_model
from figment.training.train import train_classifier
from tests.saved_models import save_timm

CONFIG = TrainingConfig(
    model="test_resnet", steps=40, batch_size=16, learning_rate=3e-3, weight_decay=0.01, crop_scale=0.8
)


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
    alone = torch.cat([predict(model, image[None]) for image in colours.pixels[:4]])
    assert torch.allclose(together[:4], alone, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"timm has no 'resnet5O'; the nearest names are .*resnet50"):
        build_classifier(TrainingConfig(model="resnet5O"), 3)


def test_saved_and_loaded_it_predicts_the_same(model, colours, labels, tmp_path):
    save_timm(tmp_path, labels, CONFIG, model)
    loaded = load_model(tmp_path, TIMM)
    assert loaded.settings == CONFIG
    assert torch.equal(predict(loaded.network, colours.pixels), predict(model, colours.pixels))
    probabilities = loaded.scorer()(colours.pixels[:3].float() / 255)
    torch.testing.assert_close(probabilities, predict(model, colours.pixels[:3]).softmax(1))


def verdicts(rows):
    return pa.Table.from_pylist(
        [{"image_id": i, "labels": [label], "trick": trick, "accepted": ok} for i, label, trick, ok in rows]
    )


def test_a_training_list_is_what_passed_of_the_tricks_asked_for_sorted():
    table = verdicts(
        [("c", "car", "a", True), ("a", "car", "a", True), ("b", "car", "b", True), ("d", "car", "a", False)]
    )
    assert training_list(table, ["a"])["image_id"].to_pylist() == ["a", "c"]


def test_a_class_without_accepted_images_is_named(pool, labels):
    chosen = training_list(verdicts([("a", "car", "a", True)]), ["a"])
    with pytest.raises(InputError, match="training set base: no accepted image of frog, banana"):
        open_training_list(chosen, pool, labels, 32, "base")


def test_generated_images_go_through_the_native_size(plan, pool, labels):
    rows = [row for part in pool.read(plan["image_id"].to_pylist(), ["image_id", "image"]) for row in part.to_pylist()]
    numbered = [(row["image_id"], labels.names[i % 3], "a", True) for i, row in enumerate(rows)]
    chosen = training_list(verdicts(numbered), ["a"])
    images = open_training_list(chosen, pool, labels, 48, "a", "bilinear_no_antialias", 8).load()
    expected = {
        row["image_id"]: to_tensor(decode(row["image"]["bytes"], "row"), 48, "bilinear_no_antialias", 8) for row in rows
    }
    assert torch.equal(images.pixels, torch.stack([expected[i] for i in chosen["image_id"].to_pylist()]))


def test_a_model_that_cannot_take_the_images_is_refused_before_any_work():
    with pytest.raises(InputError, match=r"training\.model: 'vgg11' with stem native does not take images of 1 px"):
        check_classifier(TrainingConfig(model="vgg11", image_size=1), 3)


def test_a_vision_transformer_is_built_for_the_images_at_hand():
    check_classifier(TrainingConfig(model="test_vit", image_size=32), 3)
