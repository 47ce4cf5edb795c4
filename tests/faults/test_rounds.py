"""Configs whose rounds cannot be, and answers that no page saved: one sentence, exit code 2, before anything is rendered."""

from pathlib import Path

import pytest
import yaml

from figment.cli import main
from figment.datasets.config import RealConfig
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.training.round_stages import open_validation


def config(folder: Path, **changes) -> Path:
    values = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    values["parameters"] |= {"output": str(folder / "out"), **changes}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rounds": {}}, "parameters.rounds.images"),
        ({"rounds": {"images": 0}}, "parameters.rounds.images"),
        ({"rounds": {"images": 10, "max": 1000}}, "parameters.rounds.max"),
        ({"rounds": {"images": 10, "min_gain": 0}}, "parameters.rounds.min_gain"),
        ({"rounds": {"images": 10, "outliers": 1}}, "parameters.rounds.outliers"),
        ({"rounds": {"images": 10, "smoothing": -1}}, "parameters.rounds.smoothing"),
        ({"rounds": {"images": 10, "stop": "soon"}}, "parameters.rounds.stop"),
        ({"rounds": {"images": 10, "control": True}}, "parameters.rounds.control"),
        ({"rounds": {"images": 10, "pictures": 1}}, "pictures"),
        ({"rounds": {"images": 10}, "quota": {"accepted": 4, "max_attempts": 9}}, "rounds: a quota"),
        ({"rounds": {"images": 10}, "unions": {"rounds": {"base_class": 1}}}, "'rounds' is a name of Figment's own"),
    ],
    ids=str,
)
def test_a_config_with_impossible_rounds_is_refused(tmp_path, capsys, changes, told):
    assert main(["check", str(config(tmp_path, **changes))]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


CUSTOM = {  # a config, changes, and what is told
    "of heads": ("classifier", {"training": {"kind": "few_shot_head", "validate_on": "nothing"}},
                 "rounds: training.kind: few_shot_head is trained once; take training.kind: timm"),
    "of a matrix": ("semantic", {}, "rounds: training.kind: semantic_matrix is trained once"),
    "of photos": ("classifier", {"planner": {"kind": "photos", "images": 2}}, "rounds: planner.kind: photos cannot plan more"),
    "by a filter": ("classifier", {"acceptance": {"kind": "filter"}}, "rounds: acceptance.kind: filter judges once all"),
    "with a quota": ("classifier", {"quota": {"accepted": 4, "max_attempts": 9}}, "rounds: a quota gives every class"),
}  # fmt: skip


@pytest.mark.parametrize("name", CUSTOM)
def test_a_combination_that_cannot_have_rounds_is_refused(name, tmp_path, capsys):
    recipe, changes, told = CUSTOM[name]
    values = yaml.safe_load(Path(f"configs/pocket/custom_{recipe}.yaml").read_text())
    values["parameters"] |= {"output": str(tmp_path / "out"), "rounds": {"images": 10}, **changes}
    path = tmp_path / "config.yaml"
    path.write_text("# recipe: custom\n" + yaml.safe_dump(values))
    assert main(["check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("recipe", ["tailored", "few_shot", "semantic_diversity"])
@pytest.mark.parametrize(("field", "takers"), [("rounds", "bag_of_tricks and custom"), ("real", "bag_of_tricks")])
def test_a_field_of_other_recipes_is_refused_with_their_names(recipe, field, takers, tmp_path, capsys):
    values = yaml.safe_load(Path(f"configs/pocket/{recipe}.yaml").read_text())
    values["parameters"] |= {"output": str(tmp_path / "out"), field: {}}
    path = tmp_path / "config.yaml"
    path.write_text(f"# recipe: {recipe}\n" + yaml.safe_dump(values))
    assert main(["check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"parameters.{field} is no field of {recipe}; it belongs to {takers}: leave it out" in line


@pytest.mark.parametrize("real", [{"unlabelled": "data/drawings"}, {"shots": 2}], ids=str)
def test_a_head_that_learns_nothing_from_real_images_says_so(real, tmp_path, capsys):
    values = yaml.safe_load(Path("configs/pocket/custom_classifier.yaml").read_text())
    values["parameters"]["data"]["real"] |= real
    values["parameters"] |= {"output": str(tmp_path), "training": {"kind": "few_shot_head", "validate_on": "nothing"}}
    path = tmp_path / "config.yaml"
    path.write_text("# recipe: custom\n" + yaml.safe_dump(values))
    assert main(["check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.real: training.kind: few_shot_head learns from photos and generated images alone" in line


def test_a_config_with_rounds_is_accepted(tmp_path, capsys):
    rounds = {"images": 40, "max": 3, "control": "random", "stop": "auto"}
    assert main(["check", str(config(tmp_path, rounds=rounds))]) == 0


@pytest.mark.parametrize("test", ["validation", "test"])
def test_rounds_never_choose_by_the_images_that_measure(tmp_path, test):
    space = LabelSpace.load(Path("configs/labels/pocket.yaml")).choose(["car", "frog"])
    if test == "test":  # and no other split
        (tmp_path / "test.parquet").write_bytes(Path("data/real/test.parquet").read_bytes())
    else:
        (tmp_path / "validation.parquet").write_bytes(Path("data/real/validation.parquet").read_bytes())
    with pytest.raises(InputError, match=rf"^rounds: .*no split 'validation' beside '{test}'"):
        open_validation(space, RealConfig(path=str(tmp_path), test=test), size=32)


@pytest.mark.parametrize(
    "options", [[], ["--answers", "answers.json"], ["--answers", "review.csv"], ["--clusters", "0"]], ids=str
)
def test_nothing_is_asked_about_a_folder_that_is_no_run(tmp_path, capsys, options):
    assert main(["ask", str(tmp_path), *options]) == 2
    said = capsys.readouterr().err.strip()
    assert str(tmp_path) in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
