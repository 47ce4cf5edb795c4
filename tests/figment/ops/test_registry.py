"""The registry with real MLflow: what is registered can be loaded, asked about, traced, and has to win to be champion."""

import base64
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from PIL import Image
from torch import nn
from torch.nn import functional

from figment.datasets.labelled import LabelledImages
from figment.datasets.tagged import TaggedImages
from figment.errors import InputError
from figment.ops import registry, tracking
from figment.ops.champion import accuracy_gain, challenge, ranking_gain
from figment.ops.payload import payload

pytestmark = pytest.mark.slow
NAME, LABELS = "colours", ("red", "green", "blue")


class Colours(nn.Module):
    """Probabilities of the colour of (N, 3, S, S) images; the more ``blunt``, the more it confuses red with green."""

    def __init__(self, blunt: float):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([[1, blunt, 0], [blunt, 1, 0], [0, 0, 1.0]]))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.mean((2, 3)) @ self.weights * 20).softmax(1)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    identity = mlflow.create_experiment("registry", artifact_location=(folder / "artifacts").as_uri())
    yield identity, uri
    mlflow.set_tracking_uri(before)


@pytest.fixture
def run(experiment):
    with mlflow.start_run(experiment_id=experiment[0]) as run:
        yield run


def images(size: int) -> LabelledImages:
    """60 images whose colour is clear but noisy."""
    dice = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    pixels = torch.rand(60, 3, size, size, generator=dice) * 120
    pixels[torch.arange(60), labels] += 60
    return LabelledImages(pixels.byte(), labels)


BY_COLOUR = accuracy_gain(lambda size, resize: images(size))


def register(tmp_path, blunt: float, labels=LABELS) -> str:
    card = tmp_path / "model_card.md"
    card.write_text(f"# blunt {blunt}")
    tags = {registry.WEIGHTS: f"sha-{blunt}", "measured": "well"}
    version = tracking.register_classifier(Colours(blunt), labels, (8, "squash", None), NAME, card)
    registry.tag(NAME, version, tags)
    return version


def test_life_of_versions(tmp_path, run, experiment):
    blunt = register(tmp_path, 1.5)
    said = challenge(NAME, blunt, BY_COLOUR)["champion"]
    assert said.startswith("none: ")
    assert said.endswith("over chance is not enough")
    assert registry.holder_of(NAME, "champion") is None

    fair = register(tmp_path, 0.9)
    assert challenge(NAME, fair, BY_COLOUR)["champion"].startswith(f"version {fair}: +")
    assert challenge(NAME, fair, BY_COLOUR) == {"champion": f"version {fair}: it is this one"}

    alike = register(tmp_path, 0.89)
    said = challenge(NAME, alike, BY_COLOUR)["champion"]
    assert said.startswith(f"version {fair}: ")
    assert said.endswith("is not enough")
    assert str(registry.holder_of(NAME, "champion").version) == fair

    sharp = register(tmp_path, 0.0)
    assert challenge(NAME, sharp, BY_COLOUR)["champion"].startswith(f"version {sharp}: +")
    assert str(registry.holder_of(NAME, "champion").version) == sharp

    others = register(tmp_path, 0.0, ("a", "b", "c"))
    assert "knows other classes" in challenge(NAME, others, BY_COLOUR)["champion"]
    registry.point(NAME, registry.CHALLENGER, others)

    found = registry.find_version(f"{NAME}@champion")
    assert (str(found.version), found.description) == (sharp, "# blunt 0.0")
    assert registry.aliases_of(found) == ["champion"]
    assert str(registry.find_version(NAME).version) == others
    assert [str(v.version) for v in registry.versions_with("sha-0.9")] == [fair]
    for wrong, sentence in (
        (f"{NAME}/99", "no such one"),
        (f"{NAME}@king", "no such one"),
        ("nobody", "registered are colours"),
    ):
        with pytest.raises(InputError, match=sentence):
            registry.find_version(wrong)

    tagged = TaggedImages(images(16).pixels, functional.one_hot(images(16).labels).to(torch.int8))
    gains = [ranking_gain(tagged)(registry.Registered(found), rival) for rival in (None, registry.Registered(found))]
    assert gains[0].low > 0.2  # over chance, at another size than the images'
    assert gains[1].top1 == gains[1].low == gains[1].high == 0  # over itself

    served = registry.Registered(found)
    assert (served.labels, served.image_size, served.resize) == (LABELS, 8, "squash")
    for batch in (1, 3):
        probabilities = served.predict(images(8).pixels[:batch])
        assert probabilities.shape == (batch, 3)
        assert probabilities.argmax(1).tolist() == [0, 1, 2][:batch]

    blue = Image.new("RGB", (24, 12), (0, 0, 250))
    blue.paste((0, 0, 120), (0, 0, 6, 12))  # a centre crop would lose it
    blue.save(tmp_path / "blue.png")
    answers = asked_every_way(registry.Registered(found).uri, tmp_path / "blue.png")
    assert len(set(map(json.dumps, answers))) == 1
    assert answers[0]["label"] == "blue"
    assert answers[0]["scores"].keys() == set(LABELS)
    assert answers[0]["score"] == answers[0]["scores"]["blue"] > 0.9


WRONG = {
    "no file": ("nowhere.png", "image 0: text that is no path and no base64"),
    "no image": (b"GIF87", "image 0: not a readable image"),
    "grey": ([np.ones((2, 2), int)], r"image 0: found an array of int64 \(2, 2\); expected \(H, W, 3\)"),
    "above 1": ([np.full((4, 4, 3), 1.5)], "image 0: found an array of float64"),
    "NaN": ([np.full((4, 4, 3), np.nan)], "image 0: found an array of float64"),
    "ragged": ([[[1, 2], [3]]], r"image 0: found an array of float64 \(0,\)"),
    "a number": (5, "image 0: found a int"),
}


def asked_every_way(uri: str, file: Path) -> list[dict]:
    """What a model says of an image, in process and as its server does; what is no image is refused in a sentence."""
    model, image = mlflow.pyfunc.load_model(uri), Image.open(file)
    encoded = base64.b64encode(file.read_bytes()).decode()
    kinds = (file.read_bytes(), str(file), file, image, [image, str(file)], np.asarray(image), encoded)
    answers = [answer for kind in kinds for answer in model.predict(kind)]
    for wrong, sentence in WRONG.values():
        with pytest.raises(MlflowException, match=sentence):
            model.predict(wrong)
    bodies = (json.loads(payload([file])), {"inputs": [encoded]}, {"dataframe_records": [{"image": encoded}]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("__MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        with TestClient(scoring_server.init(model)) as server:
            for body in bodies:
                answers += server.post("/invocations", json=body).json()["predictions"]
            refused = server.post("/invocations", json={"inputs": [str(file)]})
    assert refused.status_code == 400
    assert "image 0: text that is no base64" in refused.json()["message"]
    return answers
