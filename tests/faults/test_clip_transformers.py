"""A folder of transformers that holds no CLIP that can be read is one sentence."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from figment.clip.config import ClipConfig
from figment.clip.scorer import load_clip
from figment.errors import InputError
from tests.figment.clip.test_transformers_clip import save


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save("clip", tmp_path_factory.mktemp("clip"))


def edit(name, **values):
    def harm(folder):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return harm


def weights(**tensors):
    def harm(folder):
        file = folder / "model.safetensors"
        found = load_file(file) | tensors
        save_file({n: t for n, t in found.items() if t is not None}, file, {"format": "pt"})

    return harm


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        pytest.param(edit("config.json", model_type="bert"), "model_type is 'bert'", id="another model"),
        pytest.param(edit("config.json", model_type="siglip2"), "model_type is 'siglip2'", id="a kind that is not read"),
        pytest.param(edit("config.json", auto_map={"AutoModel": "x.Y"}, trust_remote_code=True), "asks for code", id="code"),
        pytest.param(edit("preprocessor_config.json", image_std=[0, 1, 1]), "are not those of a CLIP", id="std of 0"),
        pytest.param(edit("preprocessor_config.json", resample=0), "are not those of a CLIP", id="nearest"),
        pytest.param(edit("preprocessor_config.json", size={"shortest_edge": 40}), "only equal ones are read", id="crop"),
        pytest.param(
            edit("preprocessor_config.json", size=64, crop_size=64), "makes images of 64 px, the model reads 32", id="size"
        ),
        pytest.param(lambda folder: (folder / "preprocessor_config.json").unlink(), "is missing or empty", id="no processor"),
        pytest.param(weights(logit_scale=torch.tensor(float("nan"))), "NaN or infinity", id="nan"),
        pytest.param(weights(**{"visual_projection.weight": torch.ones(3, 3)}), "cannot be loaded", id="shape"),
        pytest.param(pickled, "is pickled, which can run code", id="pickle"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_clip_is_a_sentence(whole, tmp_path, harm, sentence):
    folder = shutil.copytree(whole, tmp_path / "model")
    harm(folder)
    with pytest.raises(InputError) as refusal:
        load_clip(ClipConfig(model=f"local-dir:{folder}", device="cpu"), ["car"])
    assert str(refusal.value).startswith("clip")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
