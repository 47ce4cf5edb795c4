import logging
import shutil

import pytest

from figment.errors import InputError
from figment.planning.plan import make_plan
from figment.planning.row import row_of
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.settings import check_settings


@pytest.fixture
def copy(pool, tmp_path) -> Pool:
    return Pool(shutil.copytree(pool.folder, tmp_path / "images"))


def test_an_unchanged_config_resumes_in_silence(plan, copy, synthesis, caplog):
    with caplog.at_level(logging.WARNING, "figment"):
        assert check_settings(plan, copy, synthesis.model_copy(update={"batch_size": 3, "compile": True})) == {}
    assert not caplog.records


def test_a_changed_config_says_which_fields_differ(plan, copy, synthesis, caplog):
    other = make_plan(row_of(r).model_copy(update={"num_inference_steps": 3}) for r in plan.to_pylist())
    with caplog.at_level(logging.WARNING, "figment"):
        assert check_settings(other, copy, synthesis) == {"num_inference_steps": ([4], [3])}
    (said,) = caplog.messages
    assert "num_inference_steps was 4, now 3" in said
    assert "Of 18 planned images 0 are there already" in said
    caplog.clear()
    check_settings(other, copy, synthesis)  # said once
    assert not caplog.messages


@pytest.mark.parametrize(
    ("change", "said"), [({"image_format": "jpeg"}, "png, now jpeg"), ({"dtype": "bfloat16"}, "bfloat16")]
)
def test_a_pool_never_mixes_formats_or_types(plan, copy, synthesis, change, said):
    with pytest.raises(InputError, match=rf"settings\.json: {next(iter(change))} was .*{said}"):
        synthesise(plan, copy, synthesis.model_copy(update=change))
    assert check_settings(plan, copy, synthesis) == {}  # the old settings still stand
