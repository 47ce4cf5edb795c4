"""In every recipe real images pass their gates before anything is rendered."""

from pathlib import Path

import pytest

from figment.ops.pipelines import check_config
from figment.ops.roles import role_of
from pipelines.bag_of_tricks import bag_of_tricks
from pipelines.custom import custom
from pipelines.few_shot import few_shot
from pipelines.semantic_diversity import semantic_diversity
from pipelines.tailored import tailored


def before(pipeline, step: str) -> set[str]:
    """All steps that have ended when ``step`` begins."""
    direct = pipeline.invocations[step].upstream_steps
    return direct.union(*(before(pipeline, name) for name in direct))


@pytest.mark.parametrize(
    ("pipeline", "config"),
    [
        (bag_of_tricks, "bag_of_tricks"),
        (few_shot, "few_shot"),
        (semantic_diversity, "semantic_diversity"),
        (tailored, "tailored"),
        (custom, "custom_classifier"),
        (custom, "custom_semantic"),
        (custom, "custom_prompts"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_no_image_is_asked_for_or_rendered_before_the_gate_of_real_images(pipeline, config):
    config = Path(f"configs/pocket/{config}.yaml")
    run = pipeline.copy()
    run.prepare(**check_config(config, pipeline.entrypoint))
    rendering = {name for name in run.invocations if role_of(name) == "render"}
    costly = {name for name in run.invocations if role_of(name) == "write" or name == "adapt_generator"}
    costly |= rendering
    assert rendering
    assert all("prepare_data" in before(run, step) for step in costly)


@pytest.mark.parametrize(
    ("pipeline", "config", "parts"), [(bag_of_tricks, "bag_of_tricks", 7), (few_shot, "few_shot", 8)]
)
def test_where_training_fans_out_no_classifier_waits_for_another(pipeline, config, parts):
    run = pipeline.copy()
    run.prepare(**check_config(Path(f"configs/pocket/{config}.yaml"), pipeline.entrypoint) | {"fan_out": True})
    found = {name for name in run.invocations if name.startswith("train_part_")}
    assert len(found) == parts
    assert found <= before(run, "train_classifiers")
    for name in found:
        assert "check_images" in before(run, name)
        assert not before(run, name) & found
