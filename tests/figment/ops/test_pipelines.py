from pathlib import Path

import fsspec
import pytest
import yaml

from figment import store
from figment.errors import InputError
from figment.ops.pipelines import check_config, offer
from figment.ops.run import main
from pipelines.bag_of_tricks import bag_of_tricks
from pipelines.semantic_diversity import semantic_diversity

GOOD = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())


def write(tmp_path: Path, change) -> Path:
    config = yaml.safe_load(yaml.safe_dump(GOOD))
    config["parameters"]["output"] = str(tmp_path / "out")
    change(config)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def refuse(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        check_config(write(tmp_path, change), bag_of_tricks.entrypoint, ["train_classifiers"])
    assert "config.yaml" in str(caught.value)


def test_misspelt_keys_are_answered_with_the_nearest(tmp_path):
    refuse(tmp_path, lambda c: c.update(paramters={}), "'paramters' is not known here; did you mean 'parameters'")
    refuse(
        tmp_path,
        lambda c: c["parameters"].update(classifier={}),
        "'classifier' is not known here; it is now 'training'",
    )
    refuse(tmp_path, lambda c: c["parameters"].update(clases=[]), "'clases' is not known here; did you mean 'classes'")
    refuse(
        tmp_path,
        lambda c: c["parameters"]["generator"].update(guidance=1),
        r"parameters\.generator\.guidance is not known; did you mean 'guidance_scale'",
    )


def test_a_misspelt_step_name_is_refused_where_zenml_would_ignore_it(tmp_path):
    refuse(
        tmp_path,
        lambda c: c.update(steps={"train_clasifiers": {"enable_cache": False}}),
        "steps: 'train_clasifiers' is not known here; did you mean 'train_classifiers'",
    )


def test_a_value_out_of_range_says_what_was_found(tmp_path):
    refuse(
        tmp_path,
        lambda c: c["parameters"]["generator"].update(width=33),
        r"parameters\.generator\.width: .*multiple of 8; found 33",
    )


def test_misspelt_keys_within_optional_and_alternative_settings_are_too(tmp_path):
    refuse(
        tmp_path,
        lambda c: c["parameters"].update(quota={"acepted": 3}),
        r"parameters\.quota\.acepted is not known; did you mean 'accepted'",
    )
    config = yaml.safe_load(Path("configs/pocket/semantic_diversity.yaml").read_text())
    for acceptance, sentence in (
        ({"kind": "coco", "min_probabilty": 1}, r"min_probabilty is not known; did you mean 'min_probability'"),
        ({"kind": "cocoa"}, r"parameters\.acceptance: .*'top1', 'coco', 'nus', 'calibrated'"),
    ):
        config["parameters"]["acceptance"] = acceptance
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(InputError, match=sentence):
            check_config(tmp_path / "config.yaml", semantic_diversity.entrypoint)


def test_a_missing_parameter_is_named(tmp_path):
    refuse(tmp_path, lambda c: c["parameters"].pop("classes"), r"parameters\.classes: Field required")


def test_yaml_that_is_none_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml: not readable YAML"):
        check_config(tmp_path / "config.yaml", bag_of_tricks.entrypoint)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda p: p.update(classes=[]), "error: {config}: classes: no class is listed"),
        (lambda p: p.update(classes=["cat"]), "error: {config}: classes: only 'cat' is listed"),
        (lambda p: p.update(classes=["cat", "cat"]), "error: {config}: classes: 'cat' is listed more than once"),
        (
            lambda p: p.update(classes=["cat", "dragon"]),
            "error: {config}: classes[1]: 'dragon' is not a known class; the nearest",
        ),
        (lambda p: p.update(classes=["cat", "../x"]), "error: {config}: classes[1]: '../x' contains '/'"),
        (lambda p: p.update(classes=["cat", "a\nb"]), "error: {config}: classes[1]: 'a\\nb' contains '\\n'"),
        (
            lambda p: p["generator"].update(model="models/pocket/none"),
            "error: {config}: parameters.generator.model: 'models/pocket/none' is not there",
        ),
        (
            lambda p: p["generator"].update(model="nobody/nothing"),
            "error: generator.revision: 'main' of 'nobody/nothing' cannot be resolved to a commit",
        ),
        (
            lambda p: p["clip"].update(model="local-dir:models/none"),
            "error: {config}: parameters.clip.model: 'models/none' is not there",
        ),
        (
            lambda p: p["real"].update(path="data/none"),
            "error: {config}: parameters.real.path: 'data/none' is not there",
        ),
        (lambda p: p.update(trcks=[]), "error: {config}: parameters.trcks is not known; did you mean 'tricks'"),
        (lambda p: p.update(output="{blocked}/out"), "error: {config}: parameters.output: {blocked} is not a folder"),
    ],
)
def test_bad_input_ends_a_run_with_one_sentence_and_a_non_zero_exit(tmp_path, capfd, change, sentence):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder would be")

    def apply(config):
        config["parameters"].update(images_per_class=1, tricks=["base_class"])
        change(config["parameters"])
        config["parameters"]["output"] = config["parameters"]["output"].format(blocked=blocked)

    config = write(tmp_path, apply)
    assert main(["pipelines.bag_of_tricks.bag_of_tricks", "-c", str(config)]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(sentence.format(config=config, blocked=blocked))


@pytest.mark.slow
def test_a_name_that_the_generator_never_saw_is_warned_of_with_the_nearest(tmp_path, capfd):
    """The label space and the real images know 'tulip' here; the pocket generator does not. It is told, then tried."""
    space = tmp_path / "labels.yaml"
    known = yaml.safe_load(Path("configs/labels/pocket.yaml").read_text())["labels"]
    others = [label for label in known if label["name"] != "apple"]
    space.write_text(yaml.safe_dump({"labels": [*others, {"name": "tulip", "synonyms": ["apple"]}]}))

    def change(config):
        parameters = config["parameters"]
        parameters.update(classes=["car", "tulip"], labels=str(space), images_per_class=2, tricks=["base_class"])
        parameters["generator"].update(num_inference_steps=2)
        parameters["acceptance"].update(min_probability=0.0, require_top1=False, min_contrast=0.0)
        parameters["training"].update(steps=2, batch_size=2)

    assert main(["pipelines.bag_of_tricks.bag_of_tricks", "-c", str(write(tmp_path, change))]) == 0
    assert "warning: models/pocket/diffusion never saw 'tulip'; the nearest it knows: " in capfd.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("images_per_class", 0), ("domains", [])])
def test_a_run_of_nothing_is_refused(tmp_path, name, value):
    refuse(
        tmp_path, lambda c: c["parameters"].update({name: value}), rf"parameters\.{name}: .* at least|greater than 0"
    )


@pytest.mark.slow
def test_a_misspelt_step_name_ends_a_run_with_one_sentence_too(tmp_path, capfd):
    config = write(tmp_path, lambda c: c.update(steps={"train_clasifiers": {"enable_cache": False}}))
    assert main(["pipelines.bag_of_tricks.bag_of_tricks", "-c", str(config)]) == 2
    assert "error: " + str(config) + ": steps: 'train_clasifiers' is not known here" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_store_gets_the_files_that_a_config_names_and_asks_for_an_output_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(store.VARIABLE, f"file://{tmp_path}/store")
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})
    (tmp_path / "artifacts" / "run").mkdir(parents=True)
    (tmp_path / "artifacts" / "run" / "review.csv").write_text("image_id,decision\n")
    (tmp_path / "artifacts" / "run" / "older.txt").write_text("of a run on this disk")
    offer({"review": "artifacts/run/review.csv", "output": "artifacts/run"}, Path("c.yaml"))
    assert [path.name for path in (tmp_path / "store").rglob("*.*")] == ["review.csv"]
    with pytest.raises(InputError, match=r"c.yaml: parameters.output is 'out'; with FIGMENT_STORE .* artifacts/"):
        offer({"output": "out"}, Path("c.yaml"))
