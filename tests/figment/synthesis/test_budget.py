import pytest

from figment.errors import InputError
from figment.synthesis import budget as module
from figment.synthesis.budget import Budget


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by the test."""
    now = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def test_parts_have_equal_shares_of_images_and_hours(synthesis, clock):
    config = synthesis.model_copy(update={"max_images": 21, "max_hours": 3.0})
    for hour, said in ((0.0, "max_images 21, 10 for each of 2 parts,"), (1.6, "max_hours 3, 1.5 for each of 2 parts,")):
        clock[0] = 0.0
        budget = Budget(config, parts=2)
        assert not budget.refuses(7)
        clock[0] = hour * 3600
        assert budget.refuses(3 if hour else 7) == f"{said} would be exceeded"


def test_a_share_below_one_shard_is_a_sentence_with_what_the_user_wrote(synthesis):
    sentence = (
        r"max_images: 12, 6 for each of 2 parts, is less than one shard of 7 images; raise it, or lower shard_size"
    )
    with pytest.raises(InputError, match=sentence):
        Budget(synthesis.model_copy(update={"max_images": 12}), parts=2).refuses(7)
