"""Few-shot classifiers on disk: the head's weights, and a JSON that says which frozen backbone they belong to."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import atomic, write_json
from figment.planning.few_shot import Method
from figment.training.backbone import Backbone, BackboneConfig


class HeadCard(BaseModel):
    """What ``head.json`` holds. ``key`` names everything that decided the weights, ``kept`` the step they are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    labels: tuple[str, ...]
    name: str
    method: Method
    backbone: BackboneConfig
    made: int  # pictures that could be drawn beside the photos
    effective_size: float  # of them, for each photo
    kept: int


def save_head(head: nn.Linear, card: HeadCard, folder: Path) -> Path:
    """Write the weights, then the card that vouches for them; returns the weights' path."""
    weights = folder / "head.safetensors"
    with atomic(weights) as partial:
        save_file({name: value.contiguous() for name, value in head.state_dict().items()}, partial)
    write_json(folder / "head.json", card.model_dump(mode="json"))
    return weights


def load_head(folder: Path) -> tuple[nn.Linear, HeadCard]:
    """Raises InputError if ``folder`` holds no such head."""
    try:
        card = HeadCard.model_validate(json.loads((folder / "head.json").read_text(encoding="utf-8")))
        tensors = load_file(folder / "head.safetensors")
        head = nn.Linear(tensors["weight"].shape[1], len(card.labels))
        head.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder}: no few-shot head in head.json and head.safetensors ({reason})") from error
    return head.requires_grad_(False), card


class DeployableHead(nn.Module):
    """What users have in, what they want out: pictures (N, 3, S, S) float in [0, 1], probabilities (N, C)."""

    def __init__(self, backbone: Backbone, head: nn.Linear):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.backbone(pixels)).softmax(1)
