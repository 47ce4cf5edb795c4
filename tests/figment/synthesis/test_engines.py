import shutil
from functools import partial

import pytest
import torch

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.planning.plan import write_plan
from figment.synthesis import actors
from figment.synthesis.budget import Budget
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.engines import render_plan
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.validation.features import FeatureStore, open_features
from figment.validation.hashes import HashStore
from figment.validation.on_ray import complete_on_ray
from tests.figment.synthesis.test_executor import assert_same, images

CLIP = ClipConfig(model="local-dir:models/pocket/clip")


class Idle(Renderers):
    """Renders nothing: all is done by others."""

    def load(self, model, revision):
        raise AssertionError("rendered in this process")


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with actors.cluster(3) as started:
        yield started


def on_ray(synthesis: SynthesisConfig, **changes) -> SynthesisConfig:
    return synthesis.model_copy(update={"engine": "ray", "workers": 2, "shard_size": 3, **changes})


@pytest.mark.slow
def test_actors_make_what_one_process_makes(ray, plan, pool, synthesis, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    together, config = Pool(tmp_path / "images"), on_ray(synthesis, shard_size=synthesis.shard_size)
    logged = []
    report = render_plan(
        tmp_path / "plan.parquet",
        together,
        config,
        observe=partial(open_features, CLIP),
        renderers=Idle(config),
        log=lambda numbers, done: logged.append((numbers, done)),
    )
    assert (report.planned, report.rendered, report.stopped) == (18, 18, "")
    assert {(s.file, s.rows) for s in together.shards.values()} == {(s.file, s.rows) for s in pool.shards.values()}
    assert_same(images(pool, plan), images(together, plan))
    assert (logged[-1][1], logged[-1][0]["hours_left"]) == (18, 0)
    assert synthesise(tmp_path / "plan.parquet", together, synthesis).rendered == 0
    (features,) = (tmp_path / "features").iterdir()
    assert {path.name for path in features.iterdir()} == set(together.shards)

    alone = FeatureStore(Pool(tmp_path / "alone/images"), ClipScorer(CLIP))
    synthesise(plan, alone.pool, synthesis, observer=alone)
    mine, theirs = (features_of(FeatureStore(p, alone.scorer), plan) for p in (alone.pool, together))
    assert mine.keys() == theirs.keys() == set(plan["image_id"].to_pylist())
    assert all(torch.allclose(mine[i], theirs[i], atol=1e-5) for i in mine)


def features_of(store: FeatureStore, plan) -> dict[str, torch.Tensor]:
    parts = store.read(plan["image_id"].to_pylist())
    return {image_id: vector for ids, found in parts for image_id, vector in zip(ids, found, strict=True)}


@pytest.mark.slow
def test_images_from_elsewhere_are_looked_at_by_actors(ray, plan, pool, synthesis, tmp_path):
    shutil.copytree(pool.folder, tmp_path / "images")
    store = FeatureStore(Pool(tmp_path / "images"), ClipScorer(CLIP))
    assert complete_on_ray(store, on_ray(synthesis)) == 2 * len(pool.shards)
    assert complete_on_ray(store, on_ray(synthesis)) == 0
    alone = FeatureStore(Pool(shutil.copytree(pool.folder, tmp_path / "alone/images")), store.scorer)
    alone.complete()
    mine, theirs = features_of(alone, plan), features_of(store, plan)
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[i], theirs[i], atol=1e-5) for i in mine)
    ids = plan["image_id"].to_pylist()
    codes = [HashStore(found.pool).codes(ids) for found in (alone, store)]
    assert (codes[0] == codes[1]).all()


def test_a_part_and_a_budget_hold_for_all_actors_together(ray, plan, synthesis, tmp_path):
    """Six shards of three; of the second half, shards 1, 3 and 5, the budget allows two."""
    write_plan(plan, file := tmp_path / "plan.parquet")
    config = on_ray(synthesis, max_images=7)
    budget, pool = Budget(config), Pool(tmp_path / "images")
    report = render_plan(file, pool, config, part=(1, 2), renderers=Idle(config), budget=budget)
    assert (report.planned, report.rendered, len(pool), budget.done) == (9, 6, 6, 6)
    assert report.stopped == "max_images 7 would be exceeded"
    config = on_ray(synthesis)
    assert render_plan(file, pool, config, part=(1, 2), renderers=Idle(config)).rendered == 3
    assert render_plan(file, pool, config, part=(1, 2), renderers=Idle(config)).rendered == 0


def test_a_pool_of_another_format_is_refused_before_an_actor_starts(plan, pool, synthesis, tmp_path, monkeypatch):
    monkeypatch.setattr(actors, "cluster", lambda workers: pytest.fail("started"))
    shutil.copytree(pool.folder, tmp_path / "images")
    write_plan(plan, file := tmp_path / "plan.parquet")
    for shard in list(tmp_path.glob("images/*.parquet"))[:2]:
        shard.unlink()
    config = synthesis.model_copy(update={"engine": "ray", "image_format": "jpeg"})
    with pytest.raises(InputError, match=r"^.*settings\.json: image_format was png, now jpeg"):
        render_plan(file, Pool(tmp_path / "images"), config, renderers=Idle(config))


# ---------------------------------------------------------------- the config


def test_several_processes_need_ray():
    with pytest.raises(ValueError, match=r"workers: 8 processes are Ray's; set engine: ray, or leave workers out"):
        SynthesisConfig(workers=8)


def test_ray_that_is_not_installed_is_told_with_the_config(monkeypatch):
    monkeypatch.setattr("figment.synthesis.config.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"engine: ray is not installed; pip install 'figment\[ray\]'"):
        SynthesisConfig(engine="ray")
