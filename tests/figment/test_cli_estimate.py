"""``figment estimate``: of a plan that is there, or of a config that can be planned at once."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from figment.cli import main
from figment.planning.plan import count_rows, write_plan
from figment.planning.row import row_of
from figment.synthesis import estimate as module
from figment.synthesis.sources import Sources


def write_config(folder: Path, recipe: str, **changes) -> Path:
    """A pocket config with its output in ``folder``."""
    config = yaml.safe_load(Path(f"configs/pocket/{recipe}.yaml").read_text())
    config["parameters"].update(output=str(folder / "out"), **changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_plan_of_any_recipe_is_estimated_with_the_images_it_starts_from(plan, synthesis, tmp_path, capsys):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    source = Sources(tmp_path / "sources").add(tmp_path / "red.png")
    change = {"initial_image": source, "strength": 0.25}
    write_plan((row_of(row).model_copy(update=change) for row in plan.to_pylist()), tmp_path / "plan.parquet")
    config = write_config(tmp_path, "few_shot", synthesis=synthesis.model_dump())
    assert main(["estimate", str(tmp_path / "plan.parquet"), "-c", str(config)]) == 0
    assert "18 of 18 images to render at" in " ".join(capsys.readouterr().out.split())


def test_a_plan_that_is_not_there_is_one_sentence(tmp_path, capsys):
    config = write_config(tmp_path, "tailored")
    assert main(["estimate", str(tmp_path / "out/plan.parquet"), "-c", str(config)]) == 2
    assert "out/plan.parquet: there is no such plan; a run writes it" in capsys.readouterr().err


def test_a_bag_of_tricks_is_planned_and_estimated_without_a_run(tmp_path, monkeypatch):
    estimated = []
    monkeypatch.setattr(module, "estimate", lambda plan, pool, *how: estimated.append((plan, pool.folder)))
    few = {"tricks": ["base_class"], "images_per_class": 3, "real": {"path": "no/photos/yet"}}
    config = write_config(tmp_path, "bag_of_tricks", classes=["car", "frog"], **few)
    assert main(["estimate", "-c", str(config)]) == 0
    assert estimated == [(tmp_path / "out/plan.parquet", tmp_path / "out/images")]
    assert count_rows(tmp_path / "out/plan.parquet") == 6


FEW = {"shots": 1, "classes": ["car", "frog"], "methods": {"words": {"images": 2, "concepts": True}}}
PREVIEWED = {
    "bag_of_tricks": ({"classes": ["car", "frog", "dog"], "images_per_class": 4}, 48, "multi domain", "an image of a frog", ""),
    "few_shot": (FEW, 4, "concept", "a photo of a car", "Without the learned words"),
}  # fmt: skip


@pytest.mark.parametrize("recipe", PREVIEWED)
def test_a_preview_is_a_page_of_images_prompts_and_cost_and_leaves_the_run_as_it_was(recipe, tmp_path, capsys):
    changes, images, trick, prompt, lacks = PREVIEWED[recipe]
    config = write_config(tmp_path, recipe, **changes)
    assert main(["preview", str(config), "--count", "2"]) == 0
    said, page = capsys.readouterr(), (tmp_path / "out.preview.html").read_text()
    out = " ".join(said.out.split())
    for part in (f"{images} of {images} images to render at", trick, prompt, f"{tmp_path}/out.preview.html"):
        assert part in out
    for part in (f"{images} of {images} images to render at", f'<h2 id="{trick.replace(" ", "-")}">', prompt, lacks):
        assert part in page
    assert lacks in said.err
    assert page.count("<figure") == 2 * page.count("<h2")
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "out.preview.html"}


@pytest.mark.parametrize(("recipe", "changes", "arguments", "part"), [
    ("semantic_diversity", {"generated": False}, [], "nothing is rendered by this config"),
    ("few_shot", {"methods": {"none": {"augment": False}}}, [], "nothing is rendered by this config"),
    ("predict", {}, [], "predict renders nothing; give the config of a recipe"),
    ("bag_of_tricks", {}, ["--count", "0"], "--count is 0"),
    ("bag_of_tricks", {}, ["--count", "-3"], "--count is -3"),
])  # fmt: skip
def test_what_cannot_be_previewed_is_one_sentence(tmp_path, capsys, recipe, changes, arguments, part):
    config = write_config(tmp_path, recipe, **changes)
    assert main(["preview", str(config), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line
    assert list(tmp_path.iterdir()) == [config]
