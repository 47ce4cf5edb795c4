"""The contract of the saved folder, for every kind of model: what is saved is loaded, scores the same, and exports the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from figment.cli import main
from figment.clip.label_vectors import LabelVectors
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.training.config import BackboneConfig, SemanticConfig, TrainingConfig
from figment.training.dual_prompt import DualPromptConfig, Scorer
from figment.training.kinds.registry import KINDS, open_model
from figment.training.saved import MODEL, WEIGHTS, Measure, add_metrics, add_provenance, read_model
from figment.training.semantic import predict_scores
from tests.saved_models import CLIP, save_clip, save_dual_prompts, save_head, save_matrix, save_timm, space_of

SPACE = space_of(("dog", "car", "banana"), unseen=("banana",))
VECTORS = LabelVectors.of(SPACE.names, torch.eye(3, 5) + 0.1, "test")
TIMM = TrainingConfig(model="test_resnet", image_size=32)
MATRIX = SemanticConfig(model="test_resnet", image_size=32, rows=2, device="cpu")
PROMPTS = DualPromptConfig(context=8, fusion_scale=0.1, device="cpu")
BACKBONE = BackboneConfig(model=f"open_clip:local-dir:{CLIP}", image_size=32, device="cpu")
PIXELS = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def timm(folder: Path) -> nn.Module:
    return save_timm(folder, SPACE, TIMM)


def semantic_matrix(folder: Path) -> nn.Module:
    return save_matrix(folder, VECTORS, MATRIX, unseen=("banana",))


def dual_prompt(folder: Path) -> nn.Module:
    return save_dual_prompts(folder, SPACE, PROMPTS)


def clip(folder: Path) -> nn.Module:
    return save_clip(folder, SPACE)


def fused(folder: Path) -> nn.Module:
    return save_clip(folder, SPACE, TIMM)


def added(model: nn.Module) -> torch.Tensor:
    """Log-probabilities of the student and of CLIP."""
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    by_student = model.student((PIXELS - mean) / std).log_softmax(1)
    return (by_student + zero_shot().log()).softmax(1)


def zero_shot() -> torch.Tensor:
    scorer = ClipScorer(ClipConfig(model=f"local-dir:{CLIP}", device="cpu"))
    return scorer.logits(PIXELS, scorer.text_features(SPACE)).softmax(1)


def few_shot_head(folder: Path) -> nn.Module:
    return save_head(folder, SPACE, BACKBONE)


def fine_tuned(folder: Path) -> nn.Module:
    return save_head(folder, SPACE, BACKBONE, finetuned=True, change=1.5)


SCORES: dict[Callable[[Path], nn.Module], Callable[[nn.Module], torch.Tensor]] = {  # by hand, not through the folder
    timm: lambda model: model(
        (PIXELS - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    ).softmax(1),
    semantic_matrix: lambda model: (model(PIXELS) @ VECTORS.vectors.T).amax(1),
    clip: lambda _: zero_shot(),
    fused: added,
    dual_prompt: lambda model: Scorer(model)(PIXELS),
    few_shot_head: lambda model: model.head(model.backbone(PIXELS)).softmax(1),
    fine_tuned: lambda model: model.head(model.backbone(PIXELS)).softmax(1),
}


@pytest.fixture(scope="module", params=list(SCORES), ids=lambda make: make.__name__)
def made(request, tmp_path_factory) -> tuple[Path, torch.Tensor]:
    """A saved model's folder, and the scores of the network as it was before."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = request.param(folder)
        return folder, SCORES[request.param](network)


def test_every_kind_is_here():
    assert {kind.name for kind in KINDS} == {make.__name__ for make in SCORES} - {"fine_tuned", "fused"}


@torch.no_grad()
def test_loaded_it_scores_as_before(made):
    folder, expected = made
    trained = open_model(folder)
    assert sorted(file.name for file in folder.iterdir()) == [MODEL, WEIGHTS]
    assert (trained.saved.labels, trained.labels) == (SPACE, SPACE.names)
    assert trained.saved.provenance.key == "k"
    assert trained.preparation[0] == (64 if trained.kind.name == "clip" else 32)  # px of that CLIP
    assert all(0 < value < 1 for value in trained.saved.preprocessing.std) or trained.kind.name == "semantic_matrix"
    scorer = trained.scorer()
    torch.testing.assert_close(scorer(PIXELS), expected, atol=1e-9, rtol=1e-5)
    assert expected.std() > 1e-6  # equal scores of all would be no test
    exported = torch.export.export(
        scorer, (PIXELS.repeat(2, 1, 1, 1)[:4],), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    ).module()
    for batch in (1, 3):
        torch.testing.assert_close(exported(PIXELS[:batch]), expected[:batch], atol=1e-7, rtol=1e-3)


def test_saved_again_it_is_the_same_file(made, tmp_path):
    folder, _ = made
    trained = open_model(folder)
    own = trained.kind.weights(trained.network, trained.settings)
    whole = load_file(folder / WEIGHTS)
    assert own.keys() == whole.keys()
    assert all(torch.equal(own[name], value) for name, value in whole.items())
    assert json.loads((folder / MODEL).read_text())["kind"] == trained.kind.name


def test_what_is_measured_and_registered_later_joins_and_nothing_else_changes(made, tmp_path):
    folder = Path(shutil.copytree(made[0], tmp_path / "model"))
    before = read_model(folder)
    add_metrics(folder, [Measure(name="top-1", value=0.5, low=0.4, high=0.6, images=40)])
    add_metrics(folder, [Measure(name="mAP", value=0.25)])
    add_provenance(folder, "generator@1", "first")
    after = add_provenance(folder, "generator@1", "second")
    assert after == read_model(folder)
    assert [found.name for found in after.metrics] == ["top-1", "mAP"]
    assert (after.provenance.generator, after.provenance.run) == ("generator@1", "first")
    assert after.model_copy(update={"metrics": (), "provenance": before.provenance}) == before


def test_as_onnx_it_scores_the_same(made, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; `make setup` installs it")
    from torchvision.transforms.v2.functional import to_pil_image

    folder = Path(shutil.copytree(made[0], tmp_path / "model"))
    (tmp_path / "images").mkdir()
    for i, pixels in enumerate(PIXELS):
        to_pil_image(pixels).save(tmp_path / "images" / f"{i}.png")
    assert main(["export", str(folder), "--images", str(tmp_path / "images")]) == 0
    assert f"{folder}/model.onnx: scores within " in capsys.readouterr().out


def damaged_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    whole = load_file(folder / WEIGHTS)
    change(whole)
    save_file(whole, folder / WEIGHTS)


def grow(found: dict[str, torch.Tensor]) -> None:
    name = next(iter(found))
    found[name] = torch.zeros(7, *found[name].shape)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no model.json": lambda f: (f / MODEL).unlink(),
    "model.json cut short": lambda f: (f / MODEL).write_text((f / MODEL).read_text()[:-9]),
    "settings of nothing": lambda f: edit(f, settings={"more": 1}),
    "another format": lambda f: edit(f, format=2),
    "labels twice": lambda f: edit(f, labels={"labels": [{"name": "dog"}, {"name": "Dog"}, {"name": "car"}]}),
    "two labels more": lambda f: edit(f, labels={"labels": [{"name": name} for name in ("a", "b", "c", "d", "e")]}),
    "another kind": lambda f: edit(f, kind="forest"),
    "a huge image": lambda f: edit(f, preprocessing={"image_size": 10**9, "resize": "squash", "mean": [0] * 3, "std": [1] * 3}),
    "no weights": lambda f: (f / WEIGHTS).unlink(),
    "weights that are none": lambda f: (f / WEIGHTS).write_bytes(b"junk"),
    "a tensor less": lambda f: damaged_weights(f, lambda found: found.pop(next(iter(found)))),
    "a tensor more": lambda f: damaged_weights(f, lambda found: found.update(more=torch.zeros(1))),
    "another shape": lambda f: damaged_weights(f, grow),
    "NaN": lambda f: damaged_weights(f, lambda found: next(v for v in found.values() if v.is_floating_point()).mul_(torch.nan)),
}  # fmt: skip


def edit(folder: Path, **values: object) -> None:
    (folder / MODEL).write_text(json.dumps(json.loads((folder / MODEL).read_text()) | values))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_folder_is_one_sentence(made, tmp_path, damage):
    if damage is DAMAGES["two labels more"] and "dual_prompt" in str(made[0]):
        pytest.skip("dual prompts have a text for any class, and no weights of their own for each")
    damage(folder := Path(shutil.copytree(made[0], tmp_path / "model")))
    with pytest.raises(InputError) as caught:
        open_model(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["classifier.json", "head.json", "semantic.json"])
def test_a_folder_of_an_earlier_version_says_what_to_do(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"an earlier version of Figment \({name}\); run its pipeline again"):
        open_model(tmp_path)


def test_another_clip_than_it_was_trained_on_is_refused(tmp_path):
    shutil.copytree(CLIP, clip := tmp_path / "clip")
    save_dual_prompts(tmp_path / "model", SPACE, PROMPTS, str(clip))
    open_model(tmp_path / "model")
    config = clip / "open_clip_config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(InputError, match=r"trained on another local-dir:.*; restore that CLIP"):
        open_model(tmp_path / "model")
    shutil.rmtree(clip)
    with pytest.raises(InputError, match="trained on another"):
        open_model(tmp_path / "model")


def test_no_clip_is_saved_with_what_was_trained_on_it(tmp_path):
    save_dual_prompts(tmp_path / "prompts", SPACE, PROMPTS)
    weights = load_file(tmp_path / "prompts" / WEIGHTS)
    assert {name for name in weights if name.startswith("prompts.")} == {"prompts.positive", "prompts.negative"}
    assert all(".branch." in name for name in weights if not name.startswith("prompts."))
    assert len(weights) == 2 + 3 * 8  # three branches: three convolutions and a norm each
    save_head(tmp_path / "head", SPACE, BACKBONE)
    assert set(load_file(tmp_path / "head" / WEIGHTS)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_a_matrix_scores_its_labels_as_it_was_pooled_in_training(tmp_path, pooling):
    matrix = save_matrix(tmp_path, VECTORS, MATRIX.model_copy(update={"pooling": pooling}))
    images = (PIXELS * 255).byte()
    with torch.inference_mode():
        scores = open_model(tmp_path).scorer()(images.float() / 255)
    assert torch.allclose(scores, predict_scores(matrix, images, VECTORS.vectors, pooling).scores, atol=1e-5)
