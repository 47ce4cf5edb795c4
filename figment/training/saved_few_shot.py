"""Few-shot classifiers on disk: the head's weights, a JSON that says which backbone they belong to, and that one's own
weights if it has learnt too."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import atomic, sha256_file, write_json
from figment.model_folders import load_state, one_sentence, read_json, read_tensors
from figment.planning.methods import Method
from figment.training.backbone import Backbone, load_backbone
from figment.training.config import BackboneConfig

BACKBONE = "backbone.safetensors"


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
    finetuned: str = ""  # SHA-256 of backbone.safetensors, if the backbone has learnt too


def save_head(head: nn.Linear, card: HeadCard, folder: Path) -> Path:
    """Write the weights, then the card that vouches for them; returns the weights' path."""
    weights = folder / "head.safetensors"
    with atomic(weights) as partial:
        save_file({name: value.contiguous() for name, value in head.state_dict().items()}, partial)
    write_json(folder / "head.json", card.model_dump(mode="json"))
    return weights


def load_head(folder: Path) -> tuple[nn.Linear, HeadCard]:
    """Raises InputError if ``folder`` holds no such head."""
    what = f"{folder}: no few-shot head in head.json and head.safetensors"
    advice = "give the folder of a trained classifier, or train again"
    with one_sentence(what, advice):
        card = HeadCard.model_validate(read_json(folder / "head.json", what))
        tensors = read_tensors(folder / "head.safetensors", what)
        head = nn.Linear(tensors["weight"].shape[1], len(card.labels))
        load_state(head, tensors, what)
    return head.requires_grad_(False), card


def save_backbone(backbone: Backbone, folder: Path) -> str:
    """Write the weights of a backbone that has learnt; returns the file's SHA-256, for the card."""
    path = folder / BACKBONE
    with atomic(path) as partial:
        save_file({name: value.contiguous().cpu() for name, value in backbone.network.state_dict().items()}, partial)
    return sha256_file(path)


def load_own_backbone(card: HeadCard, folder: Path, device: str) -> Backbone:
    """The backbone that a head belongs to: the one its card names, with the weights beside it if it has learnt too."""
    backbone = load_backbone(card.backbone.model_copy(update={"device": device}))
    if card.finetuned:
        path = folder / BACKBONE
        if not path.is_file() or sha256_file(path) != card.finetuned:
            raise InputError(f"{path}: not the backbone that {folder / 'head.json'} names; train again, or restore it")
        load_state(backbone.network, read_tensors(path, "classifier"), f"classifier: {path}")
    return backbone


class DeployableHead(nn.Module):
    """What users have in, what they want out: pictures (N, 3, S, S) float in [0, 1], probabilities (N, C)."""

    def __init__(self, backbone: Backbone, head: nn.Linear):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.backbone(pixels)).softmax(1)
