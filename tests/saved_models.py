"""Small models of every kind, saved as the recipes save them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors
from figment.clip.scorer import ClipConfig, ClipScorer, clip_digest
from figment.labels import Label, LabelSpace
from figment.planning.methods import Method
from figment.training.backbone import load_backbone
from figment.training.classifier import build_classifier
from figment.training.config import BackboneConfig, SemanticConfig, TrainingConfig
from figment.training.dual_prompt import DualPromptConfig, build_dual_prompts
from figment.training.kinds.clip_classifier import CLIP as KIND_OF_CLIP
from figment.training.kinds.clip_classifier import ClipClassifier, ClipSettings, clip_preprocessing
from figment.training.kinds.dual_prompt import DUAL_PROMPT, DualPromptSettings, dual_prompt_preprocessing
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD, FewShotClassifier, HeadSettings, head_preprocessing
from figment.training.kinds.semantic_matrix import (
    SEMANTIC_MATRIX,
    LabelledMatrix,
    SemanticSettings,
    semantic_preprocessing,
)
from figment.training.kinds.timm_classifier import TIMM, timm_preprocessing
from figment.training.saved import Provenance, SavedModel, save_model
from figment.training.semantic import build_semantic_matrix
from models.semantic_matrix import SemanticMatrix

CLIP = "models/pocket/clip"
KEY = Provenance(key="k")


def space_of(names: tuple[str, ...], unseen: tuple[str, ...] = ()) -> LabelSpace:
    return LabelSpace(labels=tuple(Label(name=name, unseen=name in unseen) for name in names)).checked()


def save_timm(folder: Path, space: LabelSpace, training: TrainingConfig, network: nn.Module | None = None) -> nn.Module:
    network = network or build_classifier(training, len(space))
    saved = SavedModel(labels=space, preprocessing=timm_preprocessing(training), images=4, provenance=KEY)
    save_model(TIMM, network, training, saved, folder)
    return network.eval()


def save_matrix(
    folder: Path,
    labels: LabelVectors,
    config: SemanticConfig,
    unseen: tuple[str, ...] = (),
    source: LabelVectorConfig | None = None,
    matrix: SemanticMatrix | None = None,
) -> SemanticMatrix:
    matrix = matrix or build_semantic_matrix(config, labels.dim)
    space = space_of(labels.names, unseen)
    saved = SavedModel(labels=space, preprocessing=semantic_preprocessing(matrix, config.image_size), provenance=KEY)
    settings = SemanticSettings(vectors=source or LabelVectorConfig(file="words.txt"), training=config)
    save_model(SEMANTIC_MATRIX, LabelledMatrix(matrix, labels.vectors, config.pooling), settings, saved, folder)
    return matrix.eval()


def save_dual_prompts(folder: Path, space: LabelSpace, training: DualPromptConfig, clip: str = CLIP) -> Any:
    config = ClipConfig(model=f"local-dir:{clip}")
    model = build_dual_prompts(training, config, space).eval()
    settings = DualPromptSettings(clip=config, clip_digest=clip_digest(config), training=training)
    saved = SavedModel(labels=space, preprocessing=dual_prompt_preprocessing(model, 32), provenance=KEY)
    save_model(DUAL_PROMPT, model, settings, saved, folder)
    return model


def save_clip(folder: Path, space: LabelSpace, student: TrainingConfig | None = None) -> ClipClassifier:
    """CLIP's zero-shot classifier, and fused with a network of random weights."""
    config = ClipConfig(model=f"local-dir:{CLIP}", device="cpu")
    scorer = ClipScorer(config)
    network = build_classifier(student, len(space)) if student else None
    model = ClipClassifier(scorer, scorer.text_features(space), network, student.image_size if student else 0).eval()
    settings = ClipSettings(clip=config, clip_digest=clip_digest(config), student=student)
    saved = SavedModel(labels=space, preprocessing=clip_preprocessing(scorer), provenance=KEY)
    save_model(KIND_OF_CLIP, model, settings, saved, folder)
    return model


def save_head(
    folder: Path, space: LabelSpace, backbone: BackboneConfig, finetuned: bool = False, change: float = 1.0
) -> FewShotClassifier:
    """With ``change`` the backbone's first weights are multiplied, as if it had been trained."""
    loaded = load_backbone(backbone)
    with torch.no_grad():
        next(loaded.network.parameters()).mul_(change)
        width = loaded(torch.zeros(1, 3, backbone.image_size, backbone.image_size)).shape[1]
    settings = HeadSettings(
        name="base", method=Method(), backbone=backbone, made=0, effective_size=0, kept=1, finetuned=finetuned
    )
    network = FewShotClassifier(loaded, nn.Linear(width, len(space))).eval()
    saved = SavedModel(labels=space, preprocessing=head_preprocessing(loaded, backbone.image_size), provenance=KEY)
    save_model(FEW_SHOT_HEAD, network, settings, saved, folder)
    return network
