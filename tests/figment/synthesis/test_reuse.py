"""Images of other runs: taken where the plan asks for the same, and nothing else."""

import shutil

import pytest

from figment.errors import InputError
from figment.planning.plan import write_plan
from figment.synthesis.engines import render_plan
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.reuse import take_images
from tests.figment.synthesis.test_executor import assert_same, images


def test_what_another_run_rendered_is_not_rendered_again(plan, pool, synthesis, tmp_path):
    """Of its shards one is damaged: only that one's images are rendered."""
    other = Pool(shutil.copytree(pool.folder, tmp_path / "other"))
    damaged = sorted(other.shards)[0]
    lost = other.shards[damaged].rows
    (other.folder / damaged).write_bytes(b"0")
    write_plan(plan, tmp_path / "plan.parquet")
    config = synthesis.model_copy(update={"reuse": (str(other.folder),)})
    mine = Pool(tmp_path / "images")
    report = render_plan(tmp_path / "plan.parquet", mine, config, renderers=Renderers(config))
    assert report.rendered == lost < len(plan) == len(mine)
    assert_same(images(pool, plan), images(mine, plan))


def test_images_that_the_plan_does_not_ask_for_stay_where_they_are(plan, pool, synthesis, tmp_path):
    config = synthesis.model_copy(update={"reuse": (str(pool.folder), str(pool.folder))})
    mine = Pool(tmp_path / "images")
    assert take_images(plan.slice(2, 5), mine, config) == 5 == len(mine)
    assert take_images(plan.slice(2, 5), mine, config) == 0
    assert not len(mine.missing(plan.slice(2, 5)))


def test_a_shard_that_is_wanted_whole_is_on_the_disk_once(plan, pool, synthesis, tmp_path):
    """The plan lacks one image: the shard that holds it is copied without it, the others are linked."""
    config, mine = synthesis.model_copy(update={"reuse": (str(pool.folder),)}), Pool(tmp_path / "images")
    assert take_images(plan.slice(1), mine, config) == len(plan) - 1 == len(mine)
    linked = [file for file in mine.shards.keys() & pool.shards if (mine.folder / file).samefile(pool.folder / file)]
    assert len(linked) == len(pool.shards) - 1 == len(mine.shards) - 1
    assert_same(images(pool, plan.slice(1)), images(mine, plan.slice(1)))
    assert Pool(mine.folder).verify() == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_format": "webp"}, r"has image_format \w+, this run webp"),
        ({"dtype": "float16"}, r"has dtype float32, this run float16"),
        ({"reuse": ("nowhere",)}, "nowhere holds no images"),
    ],
    ids=["format", "dtype", "no pool"],
)
def test_a_pool_that_does_not_fit_is_refused(plan, pool, synthesis, tmp_path, change, sentence):
    config = synthesis.model_copy(update={"reuse": (str(pool.folder),), **change})
    with pytest.raises(InputError, match=rf"synthesis\.reuse\[0\]: .*{sentence}"):
        take_images(plan, Pool(tmp_path / "images"), config)
