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
    ("pipeline", "gate", "config"),
    [
        (bag_of_tricks, "check_real_sets", "bag_of_tricks"),
        (few_shot, "check_photos", "few_shot"),
        (semantic_diversity, "check_splits", "semantic_diversity"),
        (tailored, "check_splits", "tailored"),
        (custom, "check_real_sets", "custom_classifier"),
        (custom, "check_few_photos", "custom_classifier"),
        (custom, "check_splits", "custom_semantic"),
        (custom, "check_few_photos", "custom_prompts"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_no_image_is_asked_for_or_rendered_before_the_gate_of_real_images(pipeline, gate, config):
    config = Path(f"configs/pocket/{config}.yaml")
    run = pipeline.copy()
    run.prepare(**check_config(config, pipeline.entrypoint))
    rendering = {name for name in run.invocations if role_of(name) == "render"}
    adapting = ("tune_generator", "learn_words", "learn_loras")
    costly = {name for name in run.invocations if role_of(name) == "write" or name in adapting}
    costly |= rendering
    assert rendering
    assert all(gate in before(run, step) for step in costly)
