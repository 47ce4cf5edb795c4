from pathlib import Path

import pytest
import torch

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors, make_label_vectors
from figment.clip.scorer import ClipConfig
from figment.datasets.tagged import TaggedImages
from figment.datasets.zero_shot import ZeroShotConfig, write_splits, zero_shot_space
from figment.errors import InputError
from figment.planning.generator_config import Origin
from figment.planning.pairs import plan_pairs
from figment.planning.plan import make_plan
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.config import SemanticTraining
from figment.training.semantic import predict_scores
from figment.training.splits import made_images
from figment.training.zero_shot import train_zero_shot
from pocket.data_sets import write_scenes

LABELS = "configs/labels/pocket_24_8.yaml"
CLIP = ClipConfig(model="local-dir:models/pocket/clip")
CONFIG = SemanticTraining(
    model="test_resnet", image_size=32, rows=2, epochs=2, batch_size=32, learning_rate=0.01, cutout=0, randaugment=False,
    unknown="negative", device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ZeroShotConfig:
    config = ZeroShotConfig(source="parquet", root=str(tmp_path_factory.mktemp("scenes")), labels=LABELS)
    write_scenes(Path(config.root), zero_shot_space(config), train=300, test=120, seed=0)
    return config


@pytest.fixture(scope="module")
def vectors(data) -> LabelVectors:
    return make_label_vectors(zero_shot_space(data), LabelVectorConfig(clip=CLIP))


def test_training_measures_every_protocol_and_chooses_by_validation(tmp_path, data, vectors):
    space = zero_shot_space(data)
    write_splits(data, space, 32, tmp_path)
    trained = train_zero_shot(tmp_path, space, vectors, CONFIG.model_copy(update={"twin_cosine": 0.45}))
    validated = [row["validation/mAP"] for row in trained.history]
    assert trained.best_epoch == 1 + max(range(2), key=validated.__getitem__)
    assert {"zsl/mAP", "zsl_twin_free/mAP", "gzsl/F1@3"} <= set(trained.history[0])
    assert trained.history[1]["loss"] < trained.history[0]["loss"]


def test_only_made_images_bring_unseen_labels_into_the_loss(tmp_path, data, vectors):
    """Images of one colour that are said to show a banana: the score of banana for that colour rises above all others
    with them in training, and not without."""
    space = zero_shot_space(data)
    banana = space.names.index("banana")
    pixels = torch.zeros(96, 3, 32, 32, dtype=torch.uint8)
    pixels[:, 0] = 255
    targets = torch.zeros(96, len(space), dtype=torch.int8)
    targets[:, banana] = 1
    ranks = {}
    for name, more in (("without", None), ("with", TaggedImages(pixels, targets))):
        write_splits(data, space, 32, tmp_path / name, more)
        trained = train_zero_shot(tmp_path / name, space, vectors, CONFIG.model_copy(update={"epochs": 4}))
        scores = predict_scores(trained.model, pixels[:1], vectors.vectors).scores[0]
        ranks[name] = int((scores > scores[banana]).sum())
    assert ranks["with"] == 0 < ranks["without"]


def test_made_images_show_what_is_said_of_them_and_nothing_else(tmp_path, data, pocket_config, synthesis):
    space = zero_shot_space(data)
    plan = make_plan(plan_pairs(space, [2, 3], 4, Origin(pocket_config, model_revision(pocket_config), 0, "pairs")))
    pool = Pool(tmp_path)
    synthesise(plan, pool, synthesis)
    shown = dict(zip(plan["image_id"].to_pylist(), plan["labels"].to_pylist(), strict=True))
    shown.pop(min(shown))
    shown[max(shown)] = ["dog", "cat"]
    made = made_images(shown, pool, space, 24)
    assert made.pixels.shape == (7, 3, 24, 24)
    for targets, image_id in zip(made.targets, sorted(shown), strict=True):
        assert {space.names[j] for j in targets.nonzero().flatten().tolist()} == set(shown[image_id])
    assert len({image.numpy().tobytes() for image in made.pixels}) == 7
    with pytest.raises(InputError, match="acceptance: no image passed the check, so none can be trained on; lower"):
        made_images({}, pool, space, 24)
