import pandas as pd
import pytest

from figment.ops.quality import DataQualityError, check, plan_suite, verdict_suite


@pytest.fixture
def table(plan) -> pd.DataFrame:
    frame = plan.to_pandas()
    return frame.assign(label=frame["labels"].str[0])


def test_a_good_plan_passes(table, labels):
    summary = check(table, "plan", plan_suite(labels))
    assert summary["rows"] == len(table)
    assert all(e["passed"] for e in summary["expectations"])


def test_a_repeated_id_stops_with_the_rows_named(table, labels):
    table.loc[1, "image_id"] = table.loc[0, "image_id"]
    with pytest.raises(DataQualityError, match=rf"unique failed for image_id: {table.image_id[0][:12]} has"):
        check(table, "plan", plan_suite(labels))


def test_an_unknown_label_and_an_absurd_guidance_are_named(table, labels):
    with pytest.raises(DataQualityError, match=r"quality gate 'plan': .*in_set failed for label: .* has 'dragon'"):
        check(table.assign(label="dragon"), "plan", plan_suite(labels))
    with pytest.raises(DataQualityError, match=r"between failed for guidance_scale: .* has .*99.*and 13 more rows"):
        check(table.assign(guidance_scale=99.0), "plan", plan_suite(labels))


def test_a_missing_column_is_a_failure_too(table, labels):
    with pytest.raises(DataQualityError, match="prompt"):
        check(table.drop(columns="prompt"), "plan", plan_suite(labels))


def test_verdicts_must_cover_every_image(labels):
    row = {"image_id": "a", "probability": 0.5, "reason": "accepted", "label": "car", "predicted": "frog"}
    assert check(pd.DataFrame([row]), "verdicts", verdict_suite(labels, 1))["rows"] == 1
    with pytest.raises(DataQualityError, match="observed 1"):
        check(pd.DataFrame([row]), "verdicts", verdict_suite(labels, 2))
