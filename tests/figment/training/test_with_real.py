"""What students learn from, with the embedded CLIP and drawings."""

from pathlib import Path

import pytest
import torch

from figment.clip.config import ClipConfig
from figment.datasets.config import RealConfig
from figment.datasets.labelled import open_labelled
from figment.labels import LabelSpace
from figment.training.config import SelfTrainingConfig, TrainingConfig
from figment.training.with_real import WithReal

CLIP = ClipConfig(model="local-dir:models/pocket/clip", device="cpu")
TRAINING = TrainingConfig(model="test_resnet", steps=9, device="cpu")
REAL = RealConfig(path="data/real", unlabelled="data/real/unlabelled.parquet", shots=3)


@pytest.fixture(scope="module")
def helped() -> WithReal:
    space = LabelSpace.load(Path("configs/labels/pocket.yaml")).choose(["cat", "frog"])
    synthetic = open_labelled(Path("data/drawings"), "test", space, 32, 5)
    return WithReal(space, synthetic, CLIP, REAL, TRAINING, SelfTrainingConfig(repeat_shots=4))


def test_a_student_learns_from_generated_kept_and_labelled_images(helped):
    kept = (torch.tensor([3, 150, 7]), torch.tensor([1, 0, 1]))
    found = helped.student_set(kept, shots=True)
    assert found.labels.tolist() == [*helped.synthetic.labels.tolist(), *[1, 0, 1] * 2, *found.labels[16:].tolist()]
    assert torch.bincount(found.labels[16:]).tolist() == [12, 12]
    pixels = found.load().pixels
    assert torch.equal(pixels[:10], helped.synthetic.load().pixels)
    assert torch.equal(pixels[10:13], pixels[13:16])
    assert torch.equal(pixels[10:13], helped.unlabelled.pixels[kept[0]])
    assert torch.equal(pixels[16:22], pixels[22:28])
    assert len(helped.student_set(None, shots=False)) == len(helped.synthetic)


def test_unlabelled_images_of_other_classes_are_left_out_and_no_label_is_seen(helped):
    assert len(helped.unlabelled) == 200
    assert helped.unlabelled.labels.unique().tolist() == [-1]


def test_most_pseudo_labels_of_clip_and_a_network_are_right(helped):
    from figment.training.classifier import build_classifier

    rows, labels = helped.pseudo_labels([build_classifier(TRAINING, 2)])  # one that knows nothing
    truth = open_labelled(Path("data/real"), "unlabelled", helped.space, 32).labels
    assert 135 <= len(rows) <= 145
    assert (truth[rows] == labels).float().mean() > 0.85


def test_class_vectors_are_unit_vectors_other_than_the_texts(helped):
    for vectors in (helped.em_vectors(), helped.shot_vectors()):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
        assert not torch.allclose(vectors, helped.text, atol=1e-3)


@pytest.mark.parametrize(("length", "expected"), [({"steps": 9}, (14, 200)), ({"steps": None, "epochs": 4}, (None, 6))])
def test_a_student_has_half_as_many_updates_more(helped, length, expected):
    training = WithReal(*[getattr(helped, f) for f in ("space", "synthetic", "clip", "real")],
                        TRAINING.model_copy(update=length), SelfTrainingConfig()).student_training()  # fmt: skip
    assert (training.steps, training.epochs) == expected
