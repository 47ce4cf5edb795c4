"""What CLIP's check of images leaves behind."""

import shutil

import pyarrow.parquet as pq
import pytest

from figment.manifests import FileRef
from figment.planning.plan import write_plan
from figment.validation.policies import CalibratedPolicy, CocoPolicy
from steps import validation
from tests.recipes import recipe_of


class Log:
    """Stands for MLflow."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log_parameters(self, stage, values) -> None:
        pass

    def log_metrics(self, stage, values) -> None:
        self.metrics |= {f"{stage}/{name}": value for name, value in values.items()}


@pytest.fixture
def validate(plan, pool, labels, tmp_path, monkeypatch):
    """Calls the step on 18 images of three classes; returns the metrics."""
    monkeypatch.setattr(validation, "gate", lambda *_: None)
    write_plan(plan, tmp_path / "plan.parquet")
    shutil.copytree(pool.folder, tmp_path / "images")
    files = FileRef.of(tmp_path / "plan.parquet"), FileRef.of(tmp_path / "images" / "MANIFEST.json")

    def call(acceptance) -> dict[str, float]:
        monkeypatch.setattr(validation, "tracking", log := Log())
        recipe = recipe_of("custom", tmp_path, "custom_classifier", acceptance=acceptance)
        validation.validate_images.entrypoint(recipe, labels, *files)
        return log.metrics

    return call


def test_thresholds_for_a_target_are_kept_logged_and_those_that_miss_it_named(validate, labels, tmp_path, capsys):
    target, levels, verdicts = CalibratedPolicy(target_precision=0.9), tmp_path / "thresholds.json", "verdicts.parquet"
    metrics = validate(target)
    thresholds = CalibratedPolicy.model_validate_json(levels.read_text()).thresholds
    assert {n: metrics[f"validation/threshold/{n}"] for n in labels.names} == {
        n: t.value for n, t in thresholds.items()
    }
    said = capsys.readouterr().err
    assert "warning: acceptance: no threshold is sure to reach target_precision for " in said
    assert all(f" {name} (at " in said for name in labels.names)
    for v in pq.read_table(tmp_path / verdicts).to_pylist():
        (name,) = v["labels"]
        assert v["accepted"] == (v["probability"] >= thresholds[name].value)
    written = [(tmp_path / name).stat().st_mtime_ns for name in (levels.name, verdicts)]
    assert validate(target) == metrics
    assert written == [(tmp_path / name).stat().st_mtime_ns for name in (levels.name, verdicts)]
    text = levels.read_text()
    levels.unlink()
    assert validate(target) == metrics
    assert levels.read_text() == text
    assert not any("threshold" in name for name in validate(CocoPolicy()))
    assert not levels.exists()
