"""Every step that renders does it by the engine of ``synthesis``; Ray's actors work here in this process (``tasks``)."""

from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.errors import InputError
from figment.manifests import FileRef
from figment.ops import tracking
from figment.planning.plan import write_plan
from figment.planning.quotas import QuotaConfig
from figment.prompts.kinds import TrickPrompts
from figment.synthesis import engines
from figment.synthesis.pool import Pool
from figment.validation.policies import Top1Policy
from steps import synthesis as steps
from steps.synthesis import render_part, synthesise_images
from tests.recipes import recipe_of

PASSES = Top1Policy(min_probability=0, require_top1=False, min_contrast=0)


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    """What is logged as metrics; nothing is estimated."""
    numbers = {}
    monkeypatch.setattr(tracking, "log_metrics", lambda stage, values, step=None: numbers.update(values))
    monkeypatch.setattr(tracking, "log_parameters", lambda *said: None)
    monkeypatch.setattr(steps, "announce", lambda *said: None)
    return numbers


@pytest.fixture
def planned(plan, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    return FileRef.of(tmp_path / "plan.parquet")


@pytest.fixture
def tasks(monkeypatch):
    """How many images each task has that actors were given."""
    given = []

    def results(make, tasks, workers, most):
        work = make()
        for rows in tasks:
            given.append(len(rows))
            yield work(rows)

    monkeypatch.setattr(engines, "results", results)
    monkeypatch.setattr(steps, "complete_on_ray", lambda features, config: None)
    return given


def rendered_with(synthesis, output, generator=None, acceptance=PASSES, **changes):
    """A recipe in two parts whose images all pass; ``changes`` are of the synthesis or of the recipe."""
    own = {name: changes.pop(name) for name in list(changes) if name in type(synthesis).model_fields}
    changes |= {"generator": generator} if generator else {}
    own_synthesis = synthesis.model_copy(update=own)
    return recipe_of("bag_of_tricks", output, parts=2, synthesis=own_synthesis, acceptance=acceptance, **changes)


def test_a_plan_is_rendered_by_actors(planned, labels, synthesis, tmp_path, tasks, logged):
    synthesise_images.entrypoint(rendered_with(synthesis, tmp_path, engine="ray"), labels, planned)
    assert sum(tasks) == len(Pool(tmp_path / "images")) == 18
    assert (logged["planned"], logged["rendered"]) == (18, 18)


def test_a_part_is_rendered_by_actors(planned, synthesis, tmp_path, tasks):
    recipe = rendered_with(synthesis, tmp_path, engine="ray", shard_size=3)
    assert render_part.entrypoint(recipe, planned, 1) == 9
    assert tasks == [3, 3, 3]
    assert len(Pool(tmp_path / "images")) == 9


def test_parts_share_the_budget(planned, synthesis, tmp_path):
    """Nine images, shards of three: a part may begin one."""
    recipe = rendered_with(synthesis, tmp_path, shard_size=3, max_images=9)
    for part in (0, 1):
        said = "max_images 9, 4 for each of 2 parts, would be exceeded; 3 images were made. Run again to go on"
        with pytest.raises(InputError, match=said):
            render_part.entrypoint(recipe, planned, part)
    assert len(Pool(tmp_path / "images")) == 6


def test_top_ups_are_rendered_by_actors_too(planned, labels, pocket_config, synthesis, tmp_path, tasks, logged):
    """Three of each of six sets pass; five are wanted."""
    kind = TrickPrompts(tricks=["base_class", "random_guidance"], domains=["photo"])
    book = kind.write(labels, pocket_config.guidance_scale, tmp_path).prompts
    pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in book]), tmp_path / "prompts.parquet")
    recipe = rendered_with(
        synthesis,
        tmp_path,
        engine="ray",
        generator=pocket_config,
        acceptance=PASSES,
        quota=QuotaConfig(accepted=5, max_attempts=10),
        tricks=["base_class", "random_guidance"],
        domains=["photo"],
        images_per_class=3,
    )
    topped_up, _ = synthesise_images.entrypoint(recipe, labels, planned, FileRef.of(tmp_path / "prompts.parquet"))
    assert sum(tasks) == len(pq.read_table(topped_up.path)) == len(Pool(tmp_path / "images")) == 30
    assert set(pq.read_table(planned.path)["image_id"].to_pylist()) < set(
        pq.read_table(topped_up.path)["image_id"].to_pylist()
    )
    assert (logged["planned"], logged["rendered"]) == (30, 30)
