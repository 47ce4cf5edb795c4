from collections import Counter

import pandas as pd
import pytest

from figment.ops.quality import (
    DataQualityError,
    check,
    class_suite,
    image_suite,
    plan_suite,
    verdict_suite,
)  # fmt: skip
from figment.validation.config import GateConfig
from figment.validation.gates import class_table


@pytest.fixture
def table(plan) -> pd.DataFrame:
    frame = plan.to_pandas()
    return frame.assign(label=frame["labels"].str[0])


def test_a_good_plan_passes(table, labels):
    findings = check(table, "plan", plan_suite(labels))
    assert len(findings) == len(plan_suite(labels).expectations())
    assert all(finding.passed and finding.rows == len(table) for finding in findings)


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


def verdict(**changes) -> dict:
    row = {
        "image_id": "a",
        "accepted": True,
        "probability": 0.5,
        "reason": "accepted",
        "label": "car",
        "predicted": "frog",
    }
    return row | changes


def test_verdicts_must_cover_every_image(labels):
    assert all(finding.passed for finding in check(pd.DataFrame([verdict()]), "verdicts", verdict_suite(labels, 1)))
    with pytest.raises(DataQualityError, match="observed 1"):
        check(pd.DataFrame([verdict()]), "verdicts", verdict_suite(labels, 2))


@pytest.mark.parametrize(
    "changes", [{"accepted": False}, {"reason": "blank"}, {"probability": 1.5}, {"reason": "mood"}]
)
def test_verdicts_must_be_probable_and_agree_with_their_reason(labels, changes):
    with pytest.raises(DataQualityError, match="a has "):
        check(pd.DataFrame([verdict(**changes)]), "verdicts", verdict_suite(labels, 1))


def image(name: str, **changes) -> dict:
    row = {"image_id": name, "label": "car", "contrast": 0.2, "unsafe": False, "duplicate_of": None, "test_twin": None}
    return row | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_id": "b"}, "unique failed for image_id: b has 'b'"),
        ({"label": "dragon"}, "in_set failed for label: a has 'dragon'"),
        ({"contrast": 0.001}, "between failed for contrast: a has 0.001"),
        ({"unsafe": True}, "in_set failed for unsafe: a has True"),
        ({"duplicate_of": "b"}, "null failed for duplicate_of: a has 'b'"),
        ({"test_twin": "test.parquet row 7"}, "null failed for test_twin: a has 'test.parquet row 7'"),
    ],
)
def test_a_training_list_is_clean_or_its_rows_are_named(labels, changes, sentence):
    rows = [image("b"), image("a")]
    suite = image_suite(labels, duplicates=0, leakage=0)
    assert all(finding.passed for finding in check(pd.DataFrame(rows), "list", suite))
    rows[1] |= changes
    with pytest.raises(DataQualityError, match=sentence):
        check(pd.DataFrame(rows), "list", suite)


def test_as_many_duplicates_as_allowed_pass(labels):
    rows = [image(str(i)) for i in range(9)] + [image("9", duplicate_of="0")]
    assert check(pd.DataFrame(rows), "list", image_suite(labels, duplicates=0.1, leakage=0))
    rows[8]["duplicate_of"] = "0"
    with pytest.raises(DataQualityError, match="8 has '0'; 9 has '0'"):
        check(pd.DataFrame(rows), "list", image_suite(labels, duplicates=0.1, leakage=0))


def test_no_class_is_empty_or_above_its_share():
    suite = class_suite(GateConfig(min_per_class=2))
    good = class_table(Counter(["car"] * 3 + ["frog"] * 2), ["car", "frog"], 3)
    assert all(finding.passed for finding in check(good, "classes", suite, "label"))
    with pytest.raises(DataQualityError, match="between failed for images: frog has 1"):
        check(class_table(Counter(["car"] * 3 + ["frog"]), ["car", "frog"], 3), "classes", suite, "label")
    with pytest.raises(DataQualityError, match="failed for share and images: car has 2 and 3"):
        check(class_table(Counter(["car"] * 3 + ["frog"] * 2), ["car", "frog"], 2), "classes", suite, "label")
