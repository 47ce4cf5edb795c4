"""All kinds of saved model, for what takes any of them: predict, evaluate, export, register."""

from pathlib import Path
from typing import Any

from figment.training.kinds.clip_classifier import CLIP
from figment.training.kinds.dual_prompt import DUAL_PROMPT
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD
from figment.training.kinds.semantic_matrix import SEMANTIC_MATRIX
from figment.training.kinds.timm_classifier import TIMM
from figment.training.saved import Kind, TrainedModel, load_model

KINDS: tuple[Kind[Any], ...] = (TIMM, CLIP, DUAL_PROMPT, SEMANTIC_MATRIX, FEW_SHOT_HEAD)


def open_model(folder: Path) -> TrainedModel[Any]:
    """Of whatever kind. Raises InputError if ``folder`` holds no model, or not the whole of it."""
    return load_model(folder, *KINDS)
