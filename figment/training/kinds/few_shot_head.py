"""``few_shot_head``: a linear head on a backbone, which is saved with it only if it was fine-tuned; an image is of one class."""

from collections.abc import Mapping

from torch import Tensor, nn

from figment.planning.methods import Method
from figment.training.backbone import Backbone, load_backbone
from figment.training.config import BackboneConfig
from figment.training.saved import Kind, Preprocessing, SavedModel
from figment.types import Natural, NonNegative, Settings


class HeadSettings(Settings):
    """``made``: generated images that could be drawn beside the photos, ``effective_size`` of them for each photo; ``kept`` the
    step that the weights are of."""

    name: str
    method: Method
    backbone: BackboneConfig
    made: Natural
    effective_size: NonNegative
    kept: Natural
    finetuned: bool = False


class FewShotClassifier(nn.Module):
    """Images (N, 3, S, S) float in [0, 1] in, probabilities (N, C) out."""

    def __init__(self, backbone: Backbone, head: nn.Linear):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.backbone(pixels)).softmax(1)


def head_preprocessing(backbone: Backbone, image_size: int) -> Preprocessing:
    return Preprocessing.with_statistics(image_size, "squash", backbone.mean, backbone.std)


def _build(saved: SavedModel, settings: HeadSettings, tensors: Mapping[str, Tensor]) -> nn.Module:
    backbone = load_backbone(settings.backbone.model_copy(update={"device": "cpu"}))
    head = nn.Linear(tensors["head.weight"].shape[1], len(saved.labels))
    return FewShotClassifier(backbone, head).requires_grad_(False)


def _weights(network: nn.Module, settings: HeadSettings) -> dict[str, Tensor]:
    own = ("head.", "backbone.network.") if settings.finetuned else ("head.",)
    return {name: value for name, value in network.state_dict().items() if name.startswith(own)}


FEW_SHOT_HEAD = Kind("few_shot_head", HeadSettings, _build, lambda network, _: network, _weights)
