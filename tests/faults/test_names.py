"""Names that MLflow, a folder or a table would refuse hours later are refused when the config is read."""

from pathlib import Path

import pytest
import yaml

from figment.errors import InputError
from figment.ops.pipelines import check_config
from figment.ops.run import main
from figment.planning.bag_of_tricks import training_sets
from figment.planning.methods import Method, check_names
from pipelines.bag_of_tricks import bag_of_tricks

REGISTERED = [
    "team/figment:v1",
    "a:b",
    "a/b",
    "",
    " ",
    ".",
    "..",
    ".hidden",
    "x' OR '1'='1",
    "a@champion",
    "a" * 300,
    "a\nb",
    "a%b",
    "nul",
]
SETS = [
    "all (x2)",
    "chance",
    "Chance",
    "CLIP zero-shot",
    "real",
    "base_class",
    "BASE CLASS",
    "a/b",
    "..",
    "",
    "a*b",
    "x" * 99,
    "a\tb",
]


@pytest.mark.parametrize("name", REGISTERED, ids=repr)
@pytest.mark.parametrize("recipe", ["bag_of_tricks", "tailored", "semantic_diversity", "few_shot"])
def test_a_name_that_the_registry_refuses_is_refused_when_the_config_is_read(tmp_path, recipe, name):
    module = __import__(f"pipelines.{recipe}", fromlist=[recipe])
    config = yaml.safe_load(Path(f"configs/pocket/{recipe}.yaml").read_text())
    config["parameters"]["register_as"] = name
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"config\.yaml: parameters\.register_as: "):
        check_config(tmp_path / "config.yaml", getattr(module, recipe).entrypoint)


@pytest.mark.parametrize("name", ["figment", "figment-bag-of-tricks", "team.figment v1", "caf\u00e9", "\u732b"])
def test_other_names_pass(tmp_path, name):
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    config["parameters"]["register_as"] = name
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert check_config(tmp_path / "config.yaml", bag_of_tricks.entrypoint)["register_as"] == name


@pytest.mark.parametrize("name", SETS, ids=repr)
def test_a_union_whose_name_cannot_be_a_folder_a_metric_and_a_row_is_refused(name):
    with pytest.raises(InputError, match="unions: "):
        training_sets(["base_class", "class_prompt"], 4, {name: {"base_class": 1, "class_prompt": 1}}, fixed_size=True)


@pytest.mark.parametrize("names", [("a b", "a_b"), ("All", "all"), ("both", "both at fixed size")], ids=repr)
def test_two_unions_that_would_share_a_folder_are_refused(names):
    unions = {name: {"base_class": 1, "class_prompt": 1} for name in names}
    with pytest.raises(InputError, match="unions: "):
        training_sets(["base_class", "class_prompt"], 4, unions, fixed_size=True)


@pytest.mark.parametrize("names", [("a", "A"), ("a(b)",), ("a+b",), ("CLIP zero-shot",), ("../x",), ("",)], ids=repr)
def test_a_method_whose_name_cannot_be_a_folder_and_a_metric_is_refused(names):
    with pytest.raises(InputError, match="methods: "):
        check_names({name: Method() for name in names})


CHANGES = {
    "a trick twice": ({"tricks": ["base_class", "base_class"]}, "tricks: 'base_class' is there twice"),
    "an unknown trick": ({"tricks": ["bass_class"]}, "tricks[0]: 'bass_class' is not a trick"),
    "a brace in a domain": ({"domains": ["{name}"]}, "domains[0]: '{name}' holds a brace"),
    "a union of no trick": ({"unions": {"both": {"multi": 1}}}, "unions.both: multi: 1; expected one of"),
    "an empty union": ({"unions": {"both": {}}}, "unions: 'both' is empty"),
    "a union called chance": ({"unions": {"chance": {"base_class": 1}}}, "unions: 'chance' is a name of Figment's own"),
    "a union called all (x2)": ({"unions": {"all (x2)": {"base_class": 1}}}, "unions: 'all (x2)' cannot name a folder"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), CHANGES.values(), ids=CHANGES)
def test_the_runner_says_so_before_any_step(tmp_path, capfd, change, sentence):
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    config["parameters"] |= {"output": str(tmp_path / "out"), **change}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["pipelines.bag_of_tricks.bag_of_tricks", "-c", str(path)]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert not (tmp_path / "out").exists()
