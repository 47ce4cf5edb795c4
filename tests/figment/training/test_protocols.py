import pytest
import torch

from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import TaggedImages
from figment.labels import Label, LabelSpace
from figment.metrics.multilabel import measures
from figment.training.config import SemanticConfig, SemanticTraining
from figment.training.protocols import both_scores, columns_of, zero_shot_evaluator
from figment.training.semantic import build_semantic_matrix, predict_scores

NAMES = ("dog", "cat", "dogs", "bus", "elk", "sky")
SPACE = LabelSpace(labels=tuple(Label(name=name, unseen=name in ("dogs", "elk", "sky")) for name in NAMES))
VECTORS = LabelVectors.of(NAMES, torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), "test")


def images(count: int, seed: int) -> TaggedImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return TaggedImages(pixels, (torch.rand(count, 6, generator=generator) < 0.4).to(torch.int8))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_semantic_matrix(SemanticConfig(model="test_resnet", image_size=32, rows=3), 8).eval()


def test_a_plural_is_no_twin_free_label():
    columns = columns_of(SPACE, VECTORS, twin_cosine=0.99)
    assert columns["zsl"].tolist() == [False, False, True, False, True, True]
    assert columns["zsl_twin_free"].tolist() == [False, False, False, False, True, True]
    assert columns["gzsl"].all()


def test_a_protocol_without_labels_is_not_there():
    all_near = LabelVectors.of(NAMES, torch.ones(6, 3), "test")
    assert "zsl_twin_free" not in columns_of(SPACE, all_near)


def test_every_protocol_measures_its_own_labels_and_images(model):
    validation, zsl, gzsl = (images(20, seed) for seed in range(3))
    row = zero_shot_evaluator(validation, zsl, gzsl, SPACE, VECTORS, SemanticTraining(twin_cosine=0.99))(model)
    assert {name.partition("/")[0] for name in row} == {"validation", "zsl", "zsl_twin_free", "gzsl"}
    unseen = columns_of(SPACE, VECTORS)["zsl"]
    for name, chosen, columns in (
        ("validation", validation, ~unseen),
        ("zsl", zsl, unseen),
        ("gzsl", gzsl, unseen | True),
    ):
        scores = predict_scores(model, chosen.pixels, VECTORS.vectors).scores[:, columns]
        for what, value in measures(scores, chosen.targets[:, columns]).items():
            assert row[f"{name}/{what}"] == pytest.approx(value)


def test_any_number_of_best_tags_is_measured(model):
    row = zero_shot_evaluator(*(images(20, seed) for seed in range(3)), SPACE, VECTORS, SemanticTraining(ks=(1, 20)))(
        model
    )
    assert {name for name in row if name.startswith("gzsl")} == {
        "gzsl/mAP", *(f"gzsl/{what}@{k}" for what in ("P", "R", "F1") for k in (1, 20)),
    }  # fmt: skip
    assert row["gzsl/R@20"] == 1


@pytest.mark.parametrize("kept", [20, 7, 0])
def test_a_image_of_both_test_sets_is_scored_once(model, kept):
    """Of 20 images of the ZSL set ``kept`` are in the GZSL set, in another order."""
    zsl, others = images(20, 0), images(30, 1)
    gzsl = TaggedImages(torch.cat([zsl.pixels[:kept].flip(0), others.pixels]), torch.zeros(kept + 30, 6))
    scored = []

    def score(pixels: torch.Tensor) -> torch.Tensor:
        scored.append(len(pixels))
        return predict_scores(model, pixels, VECTORS.vectors).scores

    of_zsl, of_gzsl = both_scores(zsl, gzsl)(score)
    assert sum(scored) == 50
    assert torch.allclose(of_zsl, score(zsl.pixels), atol=1e-5)
    assert torch.allclose(of_gzsl, score(gzsl.pixels), atol=1e-5)
