"""``figment import sdl``: a checkpoint in the release's names gives the tags that its numbers give, the unseen marked."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from figment.cli import main
from figment.images import squash
from figment.imports.contract import Options
from figment.imports.registry import import_source
from tests.figment.test_tensor_files import Planted

ROWS, DIM = 3, 8
NAMES = [f"tag{number}" for number in range(20)]
UNSEEN = ["tag3", "tag7", "tag11", "tag12"]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """The files of a release: a checkpoint of random weights under the published names, vectors, names."""
    folder = tmp_path_factory.mktemp("release")
    torch.manual_seed(5)
    network = timm.create_model("tresnet_m", num_classes=0)
    state = {}
    for name, value in network.state_dict().items():
        name = name.removeprefix("body.").replace(".conv.", ".0.").replace(".bn.", ".1.")
        if name.endswith("num_batches_tracked"):
            continue
        state[name] = -value if re.search(r"\.1\.weight$", name) else value
    state["embedding.weight"] = torch.randn(ROWS * DIM, 2048) / 45
    checkpoint = {"model": state, "num_classes": len(NAMES), "idx_to_class": dict(enumerate(NAMES))}
    torch.save(checkpoint, folder / "NUS_mtresnet_224.pth")
    vectors = np.random.default_rng(0).normal(size=(DIM, len(NAMES))).astype(np.float32)
    (folder / "wordvec_array.pickle").write_bytes(pickle.dumps(vectors / np.linalg.norm(vectors, axis=0)))
    (folder / "classes.pickle").write_bytes(pickle.dumps(dict(enumerate(NAMES))))
    (folder / "unseen_classes.pickle").write_bytes(pickle.dumps(UNSEEN))
    return folder


def direct(release: Path, image: Image.Image) -> list[str]:
    """The release's arithmetic: (D, M) reshaped from the output, its columns' largest product with each word's vector; an
    InPlaceABN scales by |w| + 1e-5."""
    content = torch.load(release / "NUS_mtresnet_224.pth", weights_only=True)
    network = timm.create_model("tresnet_m", num_classes=0).eval()
    own = network.state_dict()
    theirs = {}
    for name in own:
        short = name.removeprefix("body.").replace(".conv.", ".0.").replace(".bn.", ".1.")
        if short in content["model"]:
            value = content["model"][short]
            theirs[name] = value.abs() + 1e-5 if re.search(r"\.1\.weight$", short) else value
    network.load_state_dict(theirs, strict=False)
    with torch.inference_mode():
        features = network(squash(image, 224)[None].float() / 255)
        matrix = (features @ content["model"]["embedding.weight"].T).reshape(DIM, ROWS)
        words = torch.from_numpy(pickle.loads((release / "wordvec_array.pickle").read_bytes()))
        scores = (matrix.T @ words).max(0).values
    order = scores.argsort(descending=True)[:10].tolist()
    return [content["idx_to_class"][number] for number in order]


def test_the_tags_are_those_of_the_releases_arithmetic(release, tmp_path, capsys):
    import_source("sdl", release / "NUS_mtresnet_224.pth", Options(vectors=release), tmp_path / "model")
    noise = np.random.default_rng(3).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png"), "--model", str(tmp_path / "model")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["tag"] for line in lines] == direct(release, Image.fromarray(noise))
    assert {line["tag"] for line in lines if line["unseen"]} == set(UNSEEN) & {line["tag"] for line in lines}


def without(release: Path, name: str) -> dict:
    content = torch.load(release / "NUS_mtresnet_224.pth", weights_only=True)
    del content["model"][name]
    return content


FAULTS = {
    "no embedding": (lambda release: without(release, "embedding.weight"), "embedding.weight is none"),
    "a layer that is gone": (lambda release: without(release, "layer4.2.conv3.0.weight"), "has no weights for 1 of"),
    "names that are numbers": (
        lambda release: {"model": {"embedding.weight": torch.ones(8, 2)}, "idx_to_class": {0: 1}}, "expected names by number",
    ),
    "planted": (lambda release: {"model": {"a": torch.ones(2)}, "b": Planted(release / "ran")}, "asks for"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "said"), FAULTS.values(), ids=FAULTS)
def test_fault(release, tmp_path, capsys, make, said):
    torch.save(make(release), tmp_path / "a.pth")
    command = ["import", "sdl", str(tmp_path / "a.pth"), "--vectors", str(release), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not (release / "ran").exists()
