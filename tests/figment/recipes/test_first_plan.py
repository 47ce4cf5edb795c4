"""The plan of every recipe before its run."""

import pytest

from figment.planning.plan import read_plan, write_plan
from figment.planning.row import row_of
from figment.recipes.first_plan import first_plan
from tests.recipes import recipe_of

CONTEXTS = {"templates": ["a photo of a {name} on the grass"]}
WORDS = "Without the learned words (prompts say the names of the classes), which the run learns first."
ENCODER = "Without the tuned text encoder, which the run learns first."
METHODS = {"plain": {"images": 2, "contexts": True}}
PHOTOS = {"source": "parquet", "root": "data", "train": "real", "shots": 1}

PLANNED = {  # recipe, its config, changes, images, what the run's plan has beyond
    "bag of tricks": ("bag_of_tricks", "", {"classes": ["car", "frog"], "images_per_class": 3, "tricks": ["base_class"]},
                      6, []),
    "tailored": ("tailored", "", {"prompts": {}, "images_per_pair": 1}, 36, [ENCODER]),
    "tailored as it is": ("tailored", "", {"prompts": {}, "images_per_pair": 1, "adaptation": None}, 36, []),
    "semantic diversity": ("semantic_diversity", "", {"images_per_label": 2}, 16, []),
    "few shot": ("few_shot", "", {"classes": ["car", "frog"], "shots": 2, "prompts": CONTEXTS, "methods": METHODS},
                 8, []),
    "few shot with words": (
        "few_shot", "", {"classes": ["car", "frog"], "shots": 1, "prompts": CONTEXTS,
                         "methods": {"words": {"images": 2, "concepts": True}}}, 4, [WORDS]),
    "custom": ("custom", "custom_prompts",
               {"prompts": [CONTEXTS | {"kind": "contexts"}], "photos": PHOTOS,
                "planner": {"kind": "photos", "images": 1, "noise": [0.03], "relative_noise": True}},
               7, [WORDS]),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANNED)
def test_every_recipe_is_planned_without_its_run_and_says_what_its_plan_lacks(name, tmp_path):
    kind, config, changes, images, lacks = PLANNED[name]
    recipe = recipe_of(kind, tmp_path / "out", config, **changes)
    with first_plan(recipe) as plan:
        rows = read_plan(plan.file).to_pylist()
        assert plan.lacks == lacks
        assert not plan.warnings
        folder = plan.file.parent
        assert all((folder / "sources" / row["initial_image"]).is_file() for row in rows if row["initial_image"])
    assert not folder.exists()
    assert not (tmp_path / "out").exists()
    assert len(rows) == images


@pytest.mark.parametrize("ended", [False, True])
def test_a_plan_that_lacks_nothing_is_kept_unless_a_run_has_ended_there(ended, tmp_path):
    recipe = recipe_of("semantic_diversity", tmp_path, images_per_label=2)
    if ended:
        (tmp_path / "config.yaml").write_text("parameters: {}")
    with first_plan(recipe, keep=True) as plan:
        again = tmp_path / "again.parquet"
        write_plan((row_of(row) for row in read_plan(plan.file).to_pylist()), again)
    kept = tmp_path / "plan.parquet"
    assert kept.is_file() is not ended
    assert ended or kept.read_bytes() == again.read_bytes()


def test_imported_images_are_told_and_left_out(tmp_path):
    recipe = recipe_of("semantic_diversity", tmp_path, images_per_label=2, imported=[str(tmp_path / "elsewhere")])
    with first_plan(recipe) as plan:
        assert plan.lacks == ["Without the imported images, which join the rendered ones."]


def test_a_class_that_the_generator_never_saw_is_warned_of(tmp_path):
    recipe = recipe_of("bag_of_tricks", tmp_path, classes=["car", "excavator"], labels=None, tricks=["base_class"])
    with first_plan(recipe) as plan:
        (warning,) = plan.warnings
    assert "never saw 'excavator'; the nearest it knows: " in warning
