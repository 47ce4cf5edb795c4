import shutil
from pathlib import Path

import mlflow
import pytest

from figment import keys
from figment.clip.scorer import ClipConfig
from figment.manifests import FileRef
from figment.ops import caching
from figment.ops.environment import ROOT
from figment.ops.stack import fetch_data
from figment.planning.plan import write_plan
from steps.validation import validate_images
from tests.recipes import recipe_of


@pytest.fixture(autouse=True)
def _own_tracking():
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def test_a_result_is_current_only_under_its_key(tmp_path):
    output = tmp_path / "out.parquet"
    assert not caching.is_current(output, "k")
    output.write_text("x")
    assert not caching.is_current(output, "k")
    caching.mark_current(output, "k")
    assert caching.is_current(output, "k")
    assert not caching.is_current(output, "other")
    output.unlink()
    assert not caching.is_current(output, "k")


def test_a_model_is_told_by_its_content_and_no_model_by_nothing(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("a")
    monkeypatch.chdir(tmp_path)
    before = keys.model_digest("local-dir:model")
    assert keys.model_digest("model") == before
    (tmp_path / "model" / "weights").write_text("b")
    assert keys.model_digest("model") != before
    assert keys.model_digest("owner/model") == "owner/model"
    assert keys.model_digest("") == "", "and not that of all that lies in the working folder"


def test_a_result_is_known_by_its_inputs(code):
    assert caching.result_key("steps.training", a=1) == caching.result_key("steps.training", a=1)
    assert caching.result_key("steps.training", a=1) != caching.result_key("steps.training", a=2)
    clip, other = ClipConfig(model="a"), ClipConfig(model="b")
    assert caching.result_key("steps.training", a=[clip]) == caching.result_key("steps.training", a=[clip.model_dump()])
    assert caching.result_key("steps.training", a=[clip]) != caching.result_key("steps.training", a=[other])


def test_a_stage_is_done_again_after_an_edit_of_its_code_alone(code, plan, pool, labels, tmp_path):
    """The step that judges images, on a copy of all code."""
    write_plan(plan, tmp_path / "plan.parquet")
    files = FileRef.of(tmp_path / "plan.parquet"), FileRef.of(pool.manifest_file)
    recipe = recipe_of("bag_of_tricks", tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = mlflow.create_experiment("caching", artifact_location=(tmp_path / "artifacts").as_uri())

    def written() -> int:
        with mlflow.start_run(experiment_id=experiment):
            made = validate_images.entrypoint(recipe, labels, *files)
        return Path(made.path).stat().st_mtime_ns

    first = written()
    assert written() == first
    code.append("figment/images.py", "# a comment")
    code.append("figment/evaluation/report.py", "changed = 1")
    assert written() == first
    code.append("figment/images.py", "changed = 1")
    assert written() > first


def test_local_models_are_known_by_content_and_remote_ones_by_id(tmp_path):
    assert keys.model_digest("ViT-B-32") == "ViT-B-32"
    (tmp_path / "w").write_text("1")
    first = keys.model_digest(f"local-dir:{tmp_path}")
    (tmp_path / "w").write_text("2")
    assert keys.model_digest(f"local-dir:{tmp_path}") != first


def test_data_that_is_pulled_where_there_is_no_git_is_the_same_everywhere(tmp_path):
    digests = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(ROOT / "data.dvc", tmp_path / name)
        shutil.copytree(ROOT / ".dvc", tmp_path / name / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
        fetch_data(tmp_path / name)
        digests.append(keys.data_digest(tmp_path / name / "data", "all"))
    assert digests[0] == digests[1]
    assert any((tmp_path / "one" / "data" / "real").iterdir())
