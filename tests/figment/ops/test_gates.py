import json
import re

import mlflow
import pandas as pd
import pytest

from figment.ops import expectations
from figment.ops.environment import ROOT
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


def test_data_docs_hold_the_gates_of_all_runs_and_run_no_script_of_a_prompt(labels, tmp_path, run, monkeypatch):
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "state" / "zenml"))
    assert expectations.main() == 2  # nothing yet
    bad = {"image_id": "b", **ROW, "test_twin": "<script>alert(1)</script>"}
    gate("list", checks(labels, [{"image_id": "a", **ROW}]), tmp_path / "good")
    with pytest.raises(DataQualityError, match="test_twin"):
        gate("list", checks(labels, [bad]), tmp_path / "bad")
    assert expectations.main() == 0
    site = tmp_path / "state" / "gates" / "site"
    pages = {path.relative_to(site).parts[2]: path.read_text() for path in site.rglob("validations/**/*.html")}
    assert pages.keys() == {"good", "bad"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages["bad"]
    assert not [path for path in site.rglob("*.html") if "<script>alert(1)" in path.read_text()]
    assert "validations/images/good" in (site / "index.html").read_text()
    assert "good" in pages["good"]
    assert (site / "expectations" / "images.html").is_file()


def test_an_edited_suite_is_held_to_without_code(labels, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / expectations.FOLDER
    folder.mkdir(parents=True)
    suite = json.loads((ROOT / expectations.FOLDER / "images.json").read_text())
    suite["expectations"].append(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "image_id", "max_value": 3}}
    )
    (folder / "images.json").write_text(json.dumps(suite))
    gate("list", checks(labels, [{"image_id": "abc", **ROW}]), tmp_path)
    with pytest.raises(DataQualityError, match="lengths_to_be_between failed for image_id: abcd has 'abcd'"):
        gate("list", checks(labels, [{"image_id": "abcd", **ROW}]), tmp_path)
