import pytest

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.validation.policies import Top1Policy
from figment.validation.review import apply_review, read_review
from figment.validation.validate import validate
from figment.validation.verdicts import reasons

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def write(path, *rows: str):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_what_the_report_exports_is_read(tmp_path):
    review = read_review(write(tmp_path / "review.csv", "image_id,decision", f"{A},keep", f"{B},drop", f"{A},keep"))
    assert review == {A: True, B: False}
    spreadsheet = tmp_path / "saved_by_a_spreadsheet.csv"
    spreadsheet.write_bytes(b"\xef\xbb\xbfimage_id,decision\r\n" + f"{A},keep\r\n".encode())
    assert read_review(spreadsheet) == {A: True}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (("id,verdict", f"{A},keep"), "columns are id, verdict; expected image_id, decision"),
        ((), "columns are missing"),
        (("image_id,decision", f"{A},keep", "../x,drop"), r"row 3: image_id '\.\./x'; expected 64 hex"),
        (("image_id,decision", f"{A},maybe"), "row 2: decision 'maybe'; expected keep or drop"),
        (("image_id,decision", A), "row 2: decision ''"),
        (("image_id,decision", f"{A},keep", f"{A},drop"), "row 3: aaaaaaaaaaaa is kept and dropped"),
    ],
)
def test_anything_else_is_refused_with_its_row(tmp_path, rows, sentence):
    with pytest.raises(InputError, match=sentence):
        read_review(write(tmp_path / "review.csv", *rows))


def test_a_file_that_is_absent_or_none_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.csv", "x"):
        with pytest.raises(InputError, match=f"{name}: not a readable CSV file"):
            read_review(tmp_path / name)


def test_a_person_overrules_clip(plan, pool, labels):
    scorer = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip"))
    ids = plan["image_id"].to_pylist()
    contrasts = sorted(row["contrast"] for batch in pool.read(ids, ["contrast"]) for row in batch.to_pylist())
    policy = Top1Policy(min_contrast=contrasts[len(contrasts) // 2])  # half of them do not pass
    verdicts = validate(plan, pool, labels, scorer, policy)
    passed = [row["image_id"] for row in verdicts.to_pylist() if row["accepted"]]
    failed = [row["image_id"] for row in verdicts.to_pylist() if not row["accepted"]]
    assert passed
    assert failed
    reviewed = apply_review(verdicts, {passed[0]: False, failed[0]: True, "0" * 64: True})
    changed = {row["image_id"]: (row["accepted"], row["reason"]) for row in reviewed.to_pylist()}
    assert changed[passed[0]] == (False, "human_drop")
    assert changed[failed[0]] == (True, "accepted")
    kept = next(row for row in reviewed.to_pylist() if row["image_id"] == failed[0])
    assert kept["predicted"] == kept["labels"], "it is trained on as what it was asked to show"
    assert len(reviewed) == len(verdicts) == sum(reasons(reviewed).values())
    before = {row["image_id"]: (row["accepted"], row["reason"]) for row in verdicts.to_pylist()}
    assert {i for i in before if before[i] != changed[i]} == {passed[0], failed[0]}
    assert apply_review(verdicts, {}) == verdicts
