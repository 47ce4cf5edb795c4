import pytest
import timm
import torch

from models.semantic_matrix import SemanticMatrix, label_scores


@pytest.fixture(scope="module")
def model() -> SemanticMatrix:
    torch.manual_seed(0)
    return SemanticMatrix(timm.create_model("test_resnet", num_classes=0), features=96, rows=3, dim=5).eval()


def test_images_become_matrices_of_the_linear_layers_layout(model):
    pixels = torch.rand(2, 3, 32, 32)
    matrix = model(pixels)
    flat = model.embedding(model.backbone(pixels * 2 - 1))  # this backbone's mean and deviation are 0.5
    assert matrix.shape == (2, 3, 5)
    assert torch.allclose(matrix[1, 2, 4], flat[1, 4 * 3 + 2])


def test_a_score_is_the_best_rows_dot_product():
    matrix = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    scores, rows = label_scores(matrix, vectors)
    assert scores.tolist() == [[1.0, 2.0, -1.0]]
    assert rows.tolist() == [[0, 1, 0]]
    assert label_scores(matrix, vectors, "mean").scores.tolist() == [[0.5, 1.0, -1.5]]


def test_a_label_added_by_its_vector_leaves_the_others_scores_alone(model):
    matrix, vectors = model(torch.rand(2, 3, 32, 32)), torch.randn(4, 5)
    before, after = label_scores(matrix, vectors), label_scores(matrix, torch.cat([vectors, torch.randn(1, 5)]))
    assert torch.equal(after.scores[:, :4], before.scores)
    assert torch.equal(after.rows[:, :4], before.rows)
    assert after.scores.shape == (2, 5)


def test_only_weights_are_saved(model):
    assert not {"mean", "std"} & set(model.state_dict())
