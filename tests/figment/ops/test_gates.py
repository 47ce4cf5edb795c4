import json
import re

import mlflow
import pandas as pd
import pytest

from figment.ops.gates import Check, gate
from figment.ops.quality import DataQualityError, image_suite

ROW = {"label": "car", "contrast": 0.2, "unsafe": False, "duplicate_of": None, "test_twin": None}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    yield mlflow.create_experiment("gates", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_tracking_uri(before)


@pytest.fixture
def run(experiment):
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run


def checks(labels, *tables: list[dict]) -> list[Check]:
    return [Check(pd.DataFrame(rows), image_suite(labels, duplicates=0, leakage=0)) for rows in tables]


def pages(run) -> list[str]:
    return [item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id, "gates")]


def test_a_gate_that_passes_leaves_its_page_in_mlflow(labels, tmp_path, run):
    gate("training list", checks(labels, [{"image_id": "a", **ROW}], [{"image_id": "b", **ROW}]), tmp_path)
    html = (tmp_path / "gates" / "training_list.html").read_text()
    assert pages(run) == ["gates/training_list.html"]
    assert "passed" in html
    assert not re.findall(r'(?:src|href)="|https?://', html)
    findings = json.loads((tmp_path / "gates" / "training_list.json").read_text())["findings"]
    assert [finding["rows"] for finding in findings] == [2] * 10
    assert html.count("✓") == len(findings)


def test_a_gate_that_fails_stops_with_the_rows_on_its_page_and_escaped(labels, tmp_path, run):
    bad = {"image_id": "<script>alert(1)</script>", **ROW, "test_twin": "real/<b>.png"}
    with pytest.raises(DataQualityError, match=r"'list': .*test_twin.*real/<b>\.png.*list\.html\)"):
        gate("list", checks(labels, [{"image_id": "a", **ROW}], [bad], [{"image_id": "c", **ROW}]), tmp_path)
    html = (tmp_path / "gates" / "list.html").read_text()
    assert pages(run) == ["gates/list.html"]
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "real/&lt;b&gt;.png" in html
    assert "stopped the run" in html
