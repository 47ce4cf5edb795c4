import pytest
import torch

from figment.errors import InputError
from figment.training.classifier import build_classifier, check_classifier
from figment.training.config import TrainingConfig

PIXELS = torch.zeros(1, 3, 32, 32)


def final_side(model: str, stem: str) -> int:
    net = build_classifier(TrainingConfig(model=model, stem=stem), 3).eval()
    with torch.inference_mode():
        features = net.forward_features(PIXELS)
    return int((features.shape[1] - 1) ** 0.5) if features.ndim == 3 else features.shape[-1]


@pytest.mark.parametrize(
    ("model", "native"),
    [("resnet18", 1), ("test_resnet", 1), ("test_vit", 2), ("mobilenetv3_small_050", 1), ("convnext_atto", 1),
     ("efficientnet_b0", 1), ("test_convnext", 1)],
)  # fmt: skip
def test_half_keeps_twice_and_small_four_times_the_resolution(model, native):
    assert [final_side(model, stem) for stem in ("native", "half", "small")] == [native, 2 * native, 4 * native]


def test_a_model_whose_second_halving_has_a_shortcut_beside_it_is_refused():
    with pytest.raises(
        InputError, match=r"training\.model: 'regnety_002' with stem small does not take images of 32 px"
    ):
        check_classifier(TrainingConfig(model="regnety_002", stem="small"), 3)


def test_a_model_that_does_not_halve_twice_is_refused():
    with pytest.raises(InputError, match=r"training\.stem: 'vgg11'|training\.stem: 'mixer_s32_224'"):
        build_classifier(TrainingConfig(model="mixer_s32_224", image_size=224, stem="small"), 3)


def test_an_option_the_architecture_does_not_take_is_named():
    with pytest.raises(InputError, match=r"training: 'vgg11' does not take all of drop_path_rate"):
        build_classifier(TrainingConfig(model="vgg11", drop_path=0.1), 3)
