import shutil

import pytest

from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import check_generator, model_revision, unknown_names

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_missing_weights_folder_is_a_sentence():
    with pytest.raises(InputError, match=r"generator\.model: 'models/none/here' holds no model_index\.json"):
        model_revision(GeneratorConfig(model="models/none/here"))


def test_a_commit_is_its_own_revision():
    assert model_revision(GeneratorConfig(model="owner/name", revision=COMMIT)) == COMMIT


def test_a_branch_is_resolved_to_the_commit_it_points_to(tmp_path, monkeypatch):
    """From the hub's cache on disk, laid out as huggingface_hub does."""
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert model_revision(GeneratorConfig(model="owner/name", revision="main")) == COMMIT


def test_a_branch_that_nobody_knows_offline_is_a_sentence():
    with pytest.raises(InputError, match=r"generator\.revision: 'abc' of 'owner/name' cannot be resolved to a commit"):
        model_revision(GeneratorConfig(model="owner/name", revision="abc"))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        ("nothing", ""),
        ("index", r"model_index\.json is no JSON"),
        ("part", "unet' is not there or no folder"),
        ("weights", r"unet' is not there or has no \*\.safetensors"),
        ("cut short", r"unet/diffusion_pytorch_model\.safetensors cannot be read"),
    ],
)
def test_a_model_that_will_not_load_is_a_sentence_before_it_is_needed(pocket_config, tmp_path, harm, sentence):
    folder = shutil.copytree(pocket_config.model, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if harm == "index":
        (folder / "model_index.json").write_text("{")
    elif harm == "part":
        shutil.rmtree(folder / "unet")
    elif harm == "weights":
        weights.unlink()
    elif harm == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    config = pocket_config.model_copy(update={"model": str(folder)})
    if harm == "nothing":
        check_generator(config)
        return
    with pytest.raises(InputError, match=sentence):
        check_generator(config)


def test_names_outside_the_vocabulary_come_with_the_nearest(pocket_config):
    assert unknown_names(pocket_config.model, ["frog", "dragon"])["dragon"]
    assert "frog" not in unknown_names(pocket_config.model, ["frog"])
    assert unknown_names("owner/name", ["dragon"]) == {}
