"""What a killed training leaves behind."""

import json
from types import SimpleNamespace
from unittest.mock import MagicMock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors
from figment.clip.scorer import ClipConfig
from figment.datasets.config import RealConfig
from figment.labels import Label, LabelSpace
from figment.manifests import FileRef, Prepared
from figment.training.semantic import TrainedMatrix, build_semantic_matrix
from figment.training.stage import SemanticMatrix, Timm
from figment.training.trainers import semantic_matrix as trainer
from steps import training
from tests.recipes import recipe_of

SPACE = LabelSpace(labels=tuple(Label(name=name, unseen=name == "elk") for name in ("dog", "cat", "elk")))
VECTORS = LabelVectorConfig(clip=ClipConfig(model="local-dir:models/pocket/clip"))
CONFIG = SemanticMatrix(vectors=VECTORS, model="test_resnet", image_size=32, rows=2)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The step, whose training leaves a state and is counted instead of done."""
    monkeypatch.setattr(training, "tracking", MagicMock())
    monkeypatch.setattr(
        trainer, "make_label_vectors", lambda space, _: LabelVectors.of(space.names, torch.eye(3), "test")
    )
    trained = []

    def train(splits, space, vectors, config, checkpoint, log) -> TrainedMatrix:
        state = checkpoint.path
        state.parent.mkdir(parents=True, exist_ok=True)
        trained.append(state.exists())
        state.write_bytes(b"epochs")
        return TrainedMatrix(build_semantic_matrix(config, 3), 1, [{"epoch": 1}])

    monkeypatch.setattr(trainer, "train_zero_shot", train)
    monkeypatch.setattr(trainer, "read_tagged", MagicMock())
    monkeypatch.setattr(trainer, "ranking_gains", lambda *_: {})
    (tmp_path / "splits.json").write_text(json.dumps({}))
    splits = FileRef.of(tmp_path / "splits.json")
    recipe = recipe_of("semantic_diversity", tmp_path / "out", training=CONFIG)
    return SimpleNamespace(
        step=lambda: training.train_classifiers.entrypoint(recipe, SPACE, Prepared(splits=splits)),
        trained=trained,
        state=tmp_path / "out" / "model" / "checkpoint.pt",
    )


def test_the_state_outlives_a_kill_before_the_weights_are_recorded(run, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(training.caching, "mark_current", MagicMock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.step()
    run.step()
    assert run.trained == [False, True]  # the second training found what the first had learned
    assert not run.state.exists()


def test_a_state_left_by_a_kill_after_that_is_cleared_away_and_nothing_trained_again(run):
    run.step()
    run.state.write_bytes(b"epochs")
    run.step()
    assert run.trained == [False]
    assert not run.state.exists()


def test_what_is_trained_already_shows_its_curve_again(run):
    run.step()
    training.tracking.log_curve.assert_not_called()
    run.step()
    assert run.trained == [False]
    training.tracking.log_curve.assert_called_once_with("training", [(1, {"epoch": 1.0})])


def test_classifiers_that_steps_of_their_own_train_are_the_same(plan, pool, tmp_path, monkeypatch):
    """In any order; the step that gathers them trains none again and tells no curve twice."""
    rows = plan.select(["image_id", "trick", "labels"])
    pq.write_table(rows.append_column("accepted", pa.array([True] * len(plan))), tmp_path / "verdicts.parquet")
    made = (None, FileRef.of(pool.manifest_file), FileRef.of(tmp_path / "verdicts.parquet"))
    config = Timm(model="test_resnet", image_size=16, steps=2, batch_size=4, device="cpu")
    tricks = {"tricks": ["base_class", "random_guidance"], "images_per_class": 3}
    real = {"real": RealConfig(path=str(tmp_path / "none")), "training": config}
    given = LabelSpace.of(("car", "frog", "banana")), Prepared(), *made
    found, curves = [], []
    for fan_out in (False, True):
        monkeypatch.setattr(training, "tracking", tracking := MagicMock())
        recipe = recipe_of("bag_of_tricks", tmp_path / f"out_{fan_out}", fan_out=fan_out, **tricks, **real)
        apart = [training.train_part.entrypoint(recipe, *given, name) for name in reversed(recipe.apart)]
        gathered = training.train_classifiers.entrypoint(recipe, *given)
        assert {item.name for item in apart} == ({item.name for item in gathered.items} if fan_out else set())
        found.append([(item.name, item.images, item.weights.sha256) for item in gathered.items])
        curves.append(tracking.curve.call_count + tracking.log_curve.call_count)
    assert found[0] == found[1]
    assert curves == [len(found[0])] * 2 == [4, 4]
