"""Several seeds: what changes with them, and what comes out together."""

from pathlib import Path

import pytest
import yaml

from figment.errors import InputError
from figment.ops.seeds import run_seeds, summarise, with_seed
from pipelines.bag_of_tricks import bag_of_tricks
from pipelines.few_shot import few_shot
from pipelines.tailored import tailored


@pytest.mark.parametrize(
    ("pipeline", "changed"),
    [
        (bag_of_tricks, {"training"}),
        (few_shot, {"adaptation"}),
        (tailored, {"training", "adaptation"}),
    ],
)
def test_all_that_is_drawn_follows_the_seed_but_the_data_stay(pipeline, changed):
    path = Path("configs/pocket") / f"{pipeline.name}.yaml"
    parameters = yaml.safe_load(path.read_text())["parameters"]
    found = with_seed(parameters, pipeline.entrypoint, 7)
    assert found["seed"] == 7
    assert {name for name in parameters if found[name] != parameters[name]} == {"seed"} | changed
    learned = [found["adaptation"][part] for part in ("inversion", "lora", "probe")] if pipeline is few_shot else []
    assert all(part["seed"] == 7 for part in learned or map(found.get, changed))


def test_numbers_come_with_students_interval_over_seeds():
    found = summarise([{"a": 0.1, "b": 1.0}, {"a": 0.2, "b": 1.0}, {"a": 0.3, "b": 1.0, "c": 5}])
    assert set(found) == {"a", "b"}
    assert found["b"] == (1, 1, 1)
    assert found["a"].value == pytest.approx(0.2)
    assert found["a"].half == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)


@pytest.mark.parametrize("seeds", [[1], [1, 1], [-1, 0]])
def test_seeds_are_two_different_numbers_at_least(seeds):
    with pytest.raises(InputError, match="give two or more different numbers"):
        run_seeds(few_shot.entrypoint, Path("configs/pocket/few_shot.yaml"), seeds, print)
