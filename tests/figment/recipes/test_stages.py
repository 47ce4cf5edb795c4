"""What the stages of a custom run can be, and what cannot be combined."""

from pathlib import Path

import pytest
import yaml

from figment.cli import main
from figment.datasets.kinds import LabelledData, ZeroShotData
from figment.labels import wanted
from figment.ops.checking import parameters_model
from figment.ops.seeds import with_seed
from figment.planning.planners import PromptPlanner
from figment.recipes.config import Custom
from figment.training.config import SemanticConfig
from figment.training.stage import SemanticMatrix, Timm
from pipelines.custom import custom
from tests.recipes import recipe_of

PAIRS = {"kind": "pairs"}
TRICKS = {"kind": "tricks", "tricks": ["base_class"]}
CONTEXTS = {"kind": "contexts", "templates": ["a photo of a {name} on the grass"]}
WORDS = {"kind": "textual_inversion"}
PHOTOS = {"source": "parquet", "root": "data", "train": "real", "shots": 2}
FILTER = {"kind": "filter"}
TUNING = {"kind": "text_encoder"}
FROM_PHOTOS, BY_PAIRS = {"kind": "photos", "images": 2}, {"kind": "pairs", "images": 2}
QUOTA = {"accepted": 2, "max_attempts": 4}


def config_of(tmp_path: Path, recipe: str, changes: dict) -> Path:
    """A shipped config with some parameters replaced, or left out where None."""
    text = Path(f"configs/pocket/custom_{recipe}.yaml").read_text()
    parameters = yaml.safe_load(text)["parameters"] | changes
    path = tmp_path / "config.yaml"
    body = yaml.safe_dump({"parameters": {name: value for name, value in parameters.items() if value is not None}})
    path.write_text(text.splitlines()[0] + "\n" + body)
    return path


REFUSED = {
    "several labels for timm": ("semantic", {"training": {"kind": "timm"}}, "training.kind: timm learns one class"),
    "one label for dual prompts": (
        "prompts", {"data": {"kind": "labelled", "classes": ["car", "dog"], "labels": "configs/labels/pocket.yaml",
                             "real": {"path": "data/real"}}}, "take timm, or data.kind: zero_shot"),
    "pairs for timm": ("classifier", {"prompts": [PAIRS], "adaptation": None, "photos": None}, "training.kind: timm learns one"),
    "no prompts": ("classifier", {"prompts": []}, "prompts: planner.kind: prompts needs some"),
    "prompts that nothing reads": ("semantic", {"planner": BY_PAIRS, "adaptation": None}, "planner.kind: pairs has its own"),
    "pairs from photos": ("prompts", {"prompts": [PAIRS], "adaptation": None}, "planner.kind: photos starts from a photo of one"),
    "words in pairs": ("semantic", {"adaptation": WORDS, "photos": PHOTOS}, "one learned word"),
    "a filter of pairs": ("semantic", {"acceptance": FILTER, "photos": PHOTOS, "adaptation": None}, "filter judges images"),
    "tuning without prompts": ("semantic", {"planner": BY_PAIRS, "prompts": []}, "adaptation: it needs prompts"),
    "tuning by a filter": (
        "prompts", {"adaptation": TUNING, "planner": {"kind": "prompts", "images": 2}}, "is tuned by CLIP's verdict"),
    "words without photos": ("classifier", {"photos": None}, "photos: adaptation.kind: textual_inversion learns from"),
    "a filter without photos": (
        "prompts", {"photos": None, "adaptation": None, "planner": {"kind": "prompts", "images": 2}},
        "photos: acceptance.kind: filter learns from"),
    "photos that nothing uses": ("classifier", {"adaptation": None}, "photos: no stage uses them"),
    "a quota of photos": ("prompts", {"quota": QUOTA}, "quota: planner.kind: photos cannot plan more"),
    "a quota by a filter": (
        "prompts", {"quota": QUOTA, "planner": {"kind": "prompts", "images": 2}}, "quota: acceptance.kind: filter judges once"),
    "a negative prompt from photos": ("prompts", {"negative_prompt": "blurry"}, "planner.kind: photos takes none"),
    "noise without words": (
        "prompts", {"adaptation": None}, "planner.noise is added to learned words"),
    "pairs beside unchecked classes": (
        "semantic", {"planner": BY_PAIRS, "prompts": [], "adaptation": None, "against": "wanted"}, "take against: all"),
    "a head without photos": (
        "classifier", {"training": {"kind": "few_shot_head"}, "adaptation": None, "photos": None},
        "photos: training.kind: few_shot_head learns from a few"),
    "a head of several labels": (
        "semantic", {"training": {"kind": "few_shot_head"}}, "training.kind: few_shot_head learns one class"),
    "a head that validates": (
        "classifier", {"training": {"kind": "few_shot_head", "validate_on": "held_out"}}, "no photos beyond the shots"),
    "a LoRA without photos": (
        "classifier", {"adaptation": {"kind": "lora"}, "photos": None}, "photos: adaptation.kind: lora learns"),
    "LoRAs of pairs": (
        "semantic", {"adaptation": {"kind": "lora"}, "photos": PHOTOS}, "adaptation.kind: lora gives an image what one class"),
    "an unknown trick": ("classifier", {"prompts": [{"kind": "tricks", "tricks": ["base_clas"]}]}, "did you mean 'base_class'"),
    "a trick twice": ("classifier", {"prompts": [TRICKS, TRICKS]}, "'base_class' comes from two of them"),
    "a trick without a number": (
        "classifier", {"planner": {"kind": "prompts", "images": {"base_class": 2}}}, "no number for 'multi_domain'"),
    "an unknown class": (
        "classifier", {"data": {"kind": "labelled", "classes": ["car", "dgo"], "labels": "configs/labels/pocket.yaml",
                                "real": {"path": "data/real"}}}, "'dgo' is not a known class"),
    "no kind": ("classifier", {"acceptance": {"min_probability": 0.3}}, "it has no 'kind'; give one of 'top1', 'coco'"),
    "prompts of no kind": ("classifier", {"prompts": [{"tricks": ["base_class"]}]}, "prompts.0: it has no 'kind'"),
    "an unknown kind": ("classifier", {"planner": {"kind": "prompt", "images": 2}}, "'prompts', 'pairs', 'photos'"),
    "a measure of the test images": (
        "semantic", {"training": {"kind": "semantic_matrix", "vectors": {"clip": {"model": "ViT-B-32"}}, "select_by": "zsl/mAP"}},
        "choose by test"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_combined_is_one_sentence_before_anything_starts(tmp_path, capsys, case):
    recipe, changes, sentence = REFUSED[case]
    path = config_of(tmp_path, recipe, changes)
    assert main(["check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"error: {path}")
    assert sentence in lines[0]
    assert sorted(tmp_path.iterdir()) == [path]


ALLOWED = {
    "tricks alone": ("classifier", {"prompts": [TRICKS], "adaptation": None, "photos": None}),
    "contexts alone": ("classifier", {"prompts": [CONTEXTS], "adaptation": None, "photos": None}),
    "images of photos": ("classifier", {"planner": FROM_PHOTOS}),
    "a filter for timm": ("classifier", {"acceptance": FILTER}),
    "a tuned text encoder for timm": ("classifier", {"adaptation": TUNING, "photos": None}),
    "a few-shot head": ("classifier", {"training": {"kind": "few_shot_head"}}),
    "LoRAs": ("classifier", {"adaptation": {"kind": "lora", "steps": 3}}),
    "LoRAs for images of photos": ("prompts", {"adaptation": {"kind": "lora"}, "planner": FROM_PHOTOS}),
    "a quota": ("classifier", {"quota": QUOTA}),
    "a number by trick": ("classifier", {"planner": {"kind": "prompts", "images": {
        "base_class": 2, "multi_domain": 3, "random_guidance": 1, "contexts": 4}}}),
    "pairs without a chat model": ("semantic", {"prompts": [PAIRS]}),
    "plain pairs": ("semantic", {"planner": BY_PAIRS, "prompts": [], "adaptation": None}),
    "tricks for a matrix": ("semantic", {"prompts": [TRICKS, CONTEXTS]}),
    "CLIP's verdict on images of photos": ("prompts", {"acceptance": {"kind": "nus"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", ALLOWED)
def test_what_fits_may_be_combined(tmp_path, capsys, case):
    assert main(["check", str(config_of(tmp_path, *ALLOWED[case]))]) == 0, capsys.readouterr().err


def stages_of(recipe: str) -> Custom:
    return recipe_of("custom", Path("out"), f"custom_{recipe}")


def test_a_config_says_what_each_stage_is():
    classifier, semantic = stages_of("classifier"), stages_of("semantic")
    assert (type(classifier.data), type(classifier.training)) == (LabelledData, Timm)
    assert (type(semantic.data), type(semantic.training)) == (ZeroShotData, SemanticMatrix)
    assert isinstance(classifier.planner, PromptPlanner)
    assert Custom.model_validate_json(classifier.model_dump_json()) == classifier, "as a step gets it"
    config = semantic.training.as_base(SemanticConfig)
    assert type(config) is SemanticConfig
    assert config.rows == semantic.training.rows == 7


@pytest.mark.parametrize("recipe", ["classifier", "semantic", "prompts"])
def test_another_seed_reaches_every_stage_that_draws(recipe):
    parameters = yaml.safe_load(Path(f"configs/pocket/custom_{recipe}.yaml").read_text())["parameters"]
    changed = with_seed(parameters, custom.entrypoint, 7)
    assert parameters_model(custom.entrypoint).model_validate(changed).seed == 7
    drawn = {"classifier": {"training", "photos"}, "semantic": {"training", "adaptation"},
             "prompts": {"training", "acceptance", "photos"}}[recipe]  # fmt: skip
    if recipe != "semantic":
        assert (changed["adaptation"]["inversion"]["seed"], changed["adaptation"]["probe"]["seed"]) == (7, 7)
    assert {name for name, value in changed.items() if isinstance(value, dict) and value.get("seed") == 7} == drawn


def test_a_step_that_a_kind_chooses_may_be_configured(tmp_path, capsys):
    path = config_of(tmp_path, "classifier", {})
    path.write_text(path.read_text() + "steps: {adapt_generator: {enable_cache: false}}\n")
    assert main(["check", str(path)]) == 0, capsys.readouterr().err


def test_images_are_made_for_the_unseen_classes_or_for_all():
    assert len(wanted(stages_of("semantic").dataset.space())) == 8
    assert len(wanted(stages_of("classifier").dataset.space())) == 10


def test_the_shares_are_what_the_plan_has_of_every_class():
    tricks = ("base_class", "multi_domain", "random_guidance", "contexts")
    assert stages_of("classifier").sets == {"combined": dict.fromkeys(tricks, 24)}
    assert stages_of("prompts").sets == {"combined": {"concept_noise_contexts": 40}}
