import pytest

from figment.errors import InputError
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.weights import model_revision, unknown_names

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


def test_names_outside_the_vocabulary_come_with_the_nearest(pocket_config):
    assert unknown_names(pocket_config.model, ["frog", "dragon"])["dragon"]
    assert "frog" not in unknown_names(pocket_config.model, ["frog"])
    assert unknown_names("owner/name", ["dragon"]) == {}
