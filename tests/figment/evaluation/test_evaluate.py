"""``figment evaluate``: any saved model on any readable set, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from figment.cli import main
from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import write_tagged
from figment.images import to_tensor
from figment.metrics.accuracy import map_score
from figment.metrics.multilabel import mean_average_precision
from figment.training.config import SemanticConfig, TrainingConfig
from figment.training.kinds.registry import open_model
from tests.saved_models import save_matrix, save_timm, space_of

SPACE = space_of(("cat", "dog", "elk"), unseen=("elk",))
TIMM = TrainingConfig(model="test_resnet", image_size=16)
MATRIX = SemanticConfig(model="test_resnet", image_size=16, rows=2, device="cpu")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_timm(folder := tmp_path_factory.mktemp("timm"), SPACE, TIMM)
    return folder


@pytest.fixture(scope="module")
def matrix(tmp_path_factory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vectors = LabelVectors.of(SPACE.names, torch.randn(3, 5), "test")
        save_matrix(folder := tmp_path_factory.mktemp("matrix"), vectors, MATRIX, unseen=("elk",))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Class folders: 2, 3 and 4 images."""
    root, rng = tmp_path_factory.mktemp("folders"), np.random.default_rng(0)
    for count, name in enumerate(SPACE.names, 2):
        (root / name).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Path:
    """Five images of several classes; nothing shows a dog."""
    folder = tmp_path_factory.mktemp("tagged")
    pixels = torch.randint(256, (5, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_tagged(folder, [pixels], torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, -1]]), 16)
    return folder


def evaluated(model: Path, *data: Path) -> list[dict]:
    file = model.parent / "evaluation.json"
    named = [argument for path in data for argument in ("--data", str(path))]
    assert main(["evaluate", str(model), *named, "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_a_classifier_on_class_folders_is_as_accurate_as_by_hand(classifier, folders, capsys):
    (found,) = evaluated(classifier, folders)
    scorer, right, matrix = open_model(classifier).scorer(), [], np.zeros((3, 3), int)
    for label, name in enumerate(SPACE.names):
        images = [Image.open(file).convert("RGB") for file in sorted((folders / name).iterdir())]
        with torch.no_grad():
            guesses = scorer(torch.stack([to_tensor(image, 16, TIMM.resize) for image in images]) / 255).argmax(1)
        right.append(float((guesses == label).double().mean()))
        for guess in guesses.tolist():
            matrix[label, guess] += 1
    measures = {each["name"]: each for each in found["metrics"]}
    assert measures["top-1"]["value"] == pytest.approx(np.trace(matrix) / 9)
    assert measures["macro accuracy"]["value"] == pytest.approx(np.mean(right))
    assert all(each["low"] <= each["value"] <= each["high"] for name, each in measures.items() if "calib" not in name)
    assert found["confusion"] == matrix.tolist()
    assert [row["value"] for row in found["classes"]] == pytest.approx(right)
    assert [(row["images"], row["unseen"]) for row in found["classes"]] == [(2, False), (3, False), (4, True)]
    assert (found["kind"], found["images"]) == ("timm", 9)
    said = capsys.readouterr().out
    assert "top-1" in said
    assert "elk (unseen)" in said


def test_images_of_several_classes_are_ranked_class_by_class(matrix, tagged, folders):
    ranked, classified = evaluated(matrix, tagged, folders)
    measures = {each["name"]: each for each in ranked["metrics"]}
    assert set(measures) == {"mAP", "precision@3", "recall@3", "f1@3"}
    values = [row["value"] for row in ranked["classes"]]
    assert values[1] is None
    assert measures["mAP"]["value"] == pytest.approx(np.mean([values[0], values[2]]))
    assert measures["mAP"]["low"] <= measures["mAP"]["value"] <= measures["mAP"]["high"]
    assert [row["images"] for row in ranked["classes"]] == [3, 0, 2]
    assert ranked["confusion"] == []
    assert {each["name"] for each in classified["metrics"]} == {"top-1", "macro accuracy"}


def test_mean_average_precision_with_its_interval_has_the_value_of_the_plain_one():
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(60, 4, generator=generator), (torch.rand(60, 4, generator=generator) < 0.3).int()
    found = map_score(scores, targets)
    assert found.top1 == pytest.approx(mean_average_precision(scores, targets))
    assert found.low < found.top1 < found.high


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ("{classifier}", "{tmp}/absent", "absent: no such file or folder"),
        ("{classifier}", "{tmp}/strange", "'wolf'"),
        ("{classifier}", "{tmp}/narrow", "narrow: its targets have 2 classes, the model 3"),
        ("{classifier}", "{tmp}/nothing", "no image has any of the model's classes"),
        ("{tmp}", "{tmp}/absent", "no trained model in model.json"),
    ],
)
def test_one_sentence_says_what_is_wrong(classifier, tmp_path, capsys, model, data, said):
    for name in (*SPACE.names, "wolf"):
        (tmp_path / "strange" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "strange" / name / "a.png")
    black = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    write_tagged(tmp_path / "narrow", [black], torch.tensor([[1, 0], [0, 1]]), 16)
    write_tagged(tmp_path / "nothing", [black], torch.zeros(2, 3), 16)
    named = [text.format(classifier=classifier, tmp=tmp_path) for text in (model, data)]
    assert main(["evaluate", named[0], "--data", named[1], "--json", str(tmp_path / "out.json")]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert said in printed.err
    assert not (tmp_path / "out.json").exists()


def test_as_published_the_network_measures_by_the_statistics_of_its_batches(classifier, folders):
    """Beside the honest accuracy, which stays as it is, and so does the model."""
    (honest,) = evaluated(classifier, folders)
    file = classifier.parent / "published.json"
    command = ["evaluate", str(classifier), "--data", str(folders), "--json", str(file), "--as-published"]
    assert main(command) == 0
    (found,) = json.loads(file.read_text())
    assert found["metrics"][:-1] == honest["metrics"]
    assert found["metrics"][-1]["name"] == "top-1 without eval(), as published"
    network = open_model(classifier).scorer().train()
    images = [Image.open(file) for name in SPACE.names for file in sorted((folders / name).iterdir())]
    with torch.no_grad():
        guesses = network(torch.stack([to_tensor(image, 16, TIMM.resize) for image in images]) / 255).argmax(1)
    truth = torch.tensor([0] * 2 + [1] * 3 + [2] * 4)
    assert found["metrics"][-1]["value"] == pytest.approx(float((guesses == truth).double().mean()))


def test_only_classifiers_with_batch_statistics_have_a_published_accuracy(matrix, folders, capsys):
    assert main(["evaluate", str(matrix), "--data", str(folders), "--as-published"]) == 2
    assert "is a semantic_matrix; --as-published measures timm classifiers without eval()" in capsys.readouterr().err
