from collections import Counter

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from figment.training.rounds import entropies, select_hard, with_reasons
from figment.validation.verdicts import EASY, OUTLIER, SCHEMA

CANDIDATES = st.lists(
    st.tuples(st.sampled_from(["cat", "dog"]), st.floats(0, 3, width=32, allow_subnormal=False)), max_size=60
)


def test_entropy_is_in_bits():
    logits = torch.tensor([[0.0, 0, 0, 0], [100, 0, 0, 0]])
    assert entropies(logits).tolist() == pytest.approx([2, 0], abs=1e-6)


@given(CANDIDATES, st.integers(0, 12), st.sampled_from([0.0, 0.05, 0.3]))
def test_of_each_class_the_hardest_are_kept_but_for_outliers(candidates, budget, outliers):
    ids = [f"{i:02}" for i in range(len(candidates))]
    labels, bits = [label for label, _ in candidates], [value for _, value in candidates]
    table = pa.table({"image_id": pa.array(ids, pa.string()), "label": pa.array(labels, pa.string())})
    dropped = select_hard(table, torch.tensor(bits), {"cat": budget, "dog": budget}, outliers)
    counts, own = Counter(labels), dict(zip(ids, candidates, strict=True))
    for label in counts:
        by_fate = {
            fate: [own[i][1] for i in ids if own[i][0] == label and dropped.get(i) == fate]
            for fate in (None, EASY, OUTLIER)
        }
        assert len(by_fate[None]) == min(budget, counts[label])
        assert len(by_fate[OUTLIER]) <= round(outliers * counts[label])
        assert min(by_fate[OUTLIER], default=9) >= max(by_fate[None], default=0)
        assert min(by_fate[None], default=9) >= max(by_fate[EASY], default=0)


def test_what_a_round_leaves_out_is_no_longer_accepted_and_what_was_rejected_stays_so():
    row = {"labels": ["cat"], "trick": "t", "predicted": ["cat"], "probability": 0.9, "contrast": 0.5}
    verdicts = pa.Table.from_pylist(
        [
            {"image_id": "a", "accepted": True, "reason": "accepted", **row},
            {"image_id": "b", "accepted": True, "reason": "accepted", **row},
            {"image_id": "c", "accepted": False, "reason": "wrong_class", **row},
        ],
        schema=SCHEMA,
    )
    found = with_reasons(verdicts, {"b": EASY, "c": EASY}).to_pylist()
    assert [(each["accepted"], each["reason"]) for each in found] == [
        (True, "accepted"), (False, EASY), (False, "wrong_class"),
    ]  # fmt: skip
