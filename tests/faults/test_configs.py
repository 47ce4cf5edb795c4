"""Configs that cannot work: one sentence that names the file and the field, within seconds, and nothing on disk."""

import importlib
import math
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from figment.cli import main
from figment.errors import InputError
from figment.ops.pipelines import check_config
from figment.reading import parse_yaml, read_yaml

RECIPES = ("bag_of_tricks", "tailored", "semantic_diversity", "few_shot", "predict")
BAG = Path("configs/pocket/bag_of_tricks.yaml").read_text()


def short(value: object) -> str:
    return repr(value)[:30]


@pytest.mark.parametrize("shots", [[], [4], [2, 2], [0, 2], [1, 2.5], ["2", 4], [True, 2], [[1], 2]], ids=short)
def test_numbers_of_shots_are_different_and_above_zero(tmp_path, capsys, shots):
    path = changed(tmp_path, "few_shot", "shots", shots)
    for command in (["check", str(path)], ["run", str(path)]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert f"{path}: parameters.shots: found {shots}" in said
        assert "a list of two or more different ones above 0" in said


@pytest.mark.parametrize(
    ("imported", "method", "said"),
    [
        ([], {"imported": True}, "a method says imported: true, and none is named"),
        (["{tmp}"], {}, "imported[0]: {tmp} holds no import.json"),
        (["{tmp}"], {"imported": True}, "imported[0]: {tmp} holds no import.json"),
    ],
    ids=["none is named", "no import and no method", "no import"],
)
def test_imported_images_of_few_shot_are_named_and_learned_from(tmp_path, capsys, imported, method, said):
    path = changed(tmp_path, "few_shot", "methods.mine", method)
    config = yaml.safe_load(path.read_text())
    config["parameters"]["imported"] = [text.format(tmp=tmp_path) for text in imported]
    path.write_text(yaml.safe_dump(config))
    assert main(["check", str(path)]) == 2
    assert said.format(tmp=tmp_path) in capsys.readouterr().err


def pipeline(recipe):
    return getattr(importlib.import_module(f"pipelines.{recipe}"), recipe)


def refused(path: Path, recipe: str = "bag_of_tricks") -> str:
    """The one sentence by which the pipeline's own check refuses a config."""
    steps = ("choose_labels", "train_classifiers")
    with pytest.raises(InputError) as caught:
        check_config(path, pipeline(recipe).entrypoint, steps)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 1000
    assert sentence.startswith(str(path))
    return sentence


def changed(tmp_path: Path, recipe: str, field: str, value: object) -> Path:
    config = yaml.safe_load(Path(f"configs/pocket/{recipe}.yaml").read_text())
    *parents, last = field.split(".")
    place = config["parameters"]
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


NUMBERS = [
    ("bag_of_tricks", "images_per_class", True),
    ("bag_of_tricks", "images_per_class", 0),
    ("bag_of_tricks", "images_per_class", -1),
    ("bag_of_tricks", "images_per_class", 2.5),
    ("bag_of_tricks", "images_per_class", "many"),
    ("bag_of_tricks", "images_per_class", 10**30),
    ("bag_of_tricks", "seed", -1),
    ("bag_of_tricks", "seed", 2**63),
    ("bag_of_tricks", "seed", False),
    ("bag_of_tricks", "seed", 1.5),
    ("bag_of_tricks", "parts", 0),
    ("bag_of_tricks", "generator.guidance_scale", math.inf),
    ("bag_of_tricks", "generator.guidance_scale", math.nan),
    ("bag_of_tricks", "generator.guidance_scale", -1),
    ("bag_of_tricks", "generator.guidance_scale", 10**400),
    ("bag_of_tricks", "generator.guidance_scale", True),
    ("bag_of_tricks", "generator.width", 0),
    ("bag_of_tricks", "generator.width", 7),
    ("bag_of_tricks", "generator.height", -8),
    ("bag_of_tricks", "generator.height", 80_000),
    ("bag_of_tricks", "generator.num_inference_steps", 0),
    ("bag_of_tricks", "generator.num_inference_steps", 100_000),
    ("bag_of_tricks", "training.learning_rate", math.inf),
    ("bag_of_tricks", "training.learning_rate", math.nan),
    ("bag_of_tricks", "training.learning_rate", 0),
    ("bag_of_tricks", "training.weight_decay", -math.inf),
    ("bag_of_tricks", "training.seed", -3),
    ("bag_of_tricks", "training.image_size", 0),
    ("bag_of_tricks", "training.rotation", math.nan),
    ("bag_of_tricks", "acceptance.min_probability", math.nan),
    ("bag_of_tricks", "acceptance.min_contrast", 2),
    ("bag_of_tricks", "gates.max_leakage", math.nan),
    ("bag_of_tricks", "gates.near", True),
    ("bag_of_tricks", "synthesis.max_hours", math.inf),
    ("bag_of_tricks", "synthesis.price_per_hour", math.nan),
    ("bag_of_tricks", "synthesis.batch_size", True),
    ("bag_of_tricks", "clip.batch_size", 0),
    ("bag_of_tricks", "quota", {"accepted": True, "max_attempts": 3}),
    ("bag_of_tricks", "unions", {"both": {"base_class": True}}),
    ("bag_of_tricks", "unions", {"both": {"base_class": 0}}),
    ("tailored", "training.image_size", 0),
    ("tailored", "seed", -1),
    ("tailored", "adaptation.learning_rate", math.nan),
    ("tailored", "adaptation.width", 12),
    ("tailored", "training.momentum", math.nan),
    ("tailored", "acceptance.min_probability", math.inf),
    ("tailored", "prompts.chat.timeout_seconds", math.inf),
    ("tailored", "prompts.chat.seed", 2**64),
    ("semantic_diversity", "training.twin_cosine", math.nan),
    ("semantic_diversity", "training.ks", [0]),
    ("semantic_diversity", "training.learning_rate", math.inf),
    ("semantic_diversity", "data.validation", math.nan),
    ("semantic_diversity", "data.seed", -1),
    ("few_shot", "shots", True),
    ("few_shot", "seed", -1),
    ("few_shot", "methods", {"all": {"images": True}}),
    ("few_shot", "methods", {"all": {"strengths": [math.nan]}}),
    ("few_shot", "methods", {"all": {"guidance_scale": math.inf}}),
    ("few_shot", "adaptation.inversion.learning_rate", math.nan),
    ("few_shot", "adaptation.probe.seed", -1),
    ("few_shot", "training.head.learning_rate", math.inf),
    ("predict", "top_k", True),
    ("predict", "batch_size", 0),
]


@pytest.mark.parametrize(("recipe", "field", "value"), NUMBERS, ids=short)
def test_a_number_that_cannot_work_is_refused_when_the_config_is_read(tmp_path, recipe, field, value):
    sentence = refused(changed(tmp_path, recipe, field, value), recipe)
    assert f"parameters.{field}" in sentence.replace("acceptance.coco.", "acceptance.")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_config_as_it_is_passes(recipe):
    assert check_config(Path(f"configs/pocket/{recipe}.yaml"), pipeline(recipe).entrypoint)["output"]


BILLION = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)
CHAIN = "\n".join(["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 400)])
TEXTS = {
    "a key twice": (BAG.replace("  classes:", "  seed: 1\n  seed: 2\n  classes:", 1), r"line \d+: 'seed' is given twice"),
    "a nested key twice": (BAG.replace("  generator:\n", "  generator:\n    width: 8\n", 1), r"line \d+: 'width' is given twice"),
    "a key twice in braces": ("parameters: {seed: 0, seed: 1}", "line 1: 'seed' is given twice"),
    "parameters twice": (f"{BAG}\nparameters: {{}}\n", "'parameters' is given twice"),
    "an alias bomb": (BILLION, "by its aliases"),
    "aliases in a chain": (CHAIN, "not known here"),
    "an alias of itself": ("parameters: &a {b: *a}", "an alias within"),
    "deep lists": ("parameters: " + "[" * 3000 + "]" * 3000, "nested too deep"),
    "deep keys": ("parameters: " + "{a: " * 2000 + "1" + "}" * 2000, "nested too deep"),
    "5,000 digits": (f"parameters: {{seed: {'9' * 5000}}}", "not readable YAML"),
    "a tag of Python": ("parameters: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
    "a date that is none": ("parameters: {seed: 2024-13-45}", "not readable YAML"),
    "a list as a key": ("parameters: {? [a, b] : 1}", "not readable YAML"),
    "an undefined alias": ("parameters: *nothing", "undefined alias"),
    "two documents": ("parameters: {}\n---\nparameters: {}\n", "not readable YAML"),
    "a tab": ("parameters:\n\tseed: 0\n", "not readable YAML"),
    "an open bracket": ("parameters: [", "not readable YAML"),
    "a NUL": ("parameters: {seed: \0}", "not readable|NUL"),
    "a number": ("5", "found a number"),
    "a list": ("- parameters", "found a list"),
    "text": ("hello", "found text"),
    "parameters that are a number": ("parameters: 5", "parameters: found a number"),
    "parameters that are a list": ("parameters: [a]", "parameters: found a list"),
    "parameters that are text": ("parameters: yes please", "parameters: found text"),
    "nothing": ("", "output: Field required"),
    "an unknown key of docker": (f"{BAG}\nsettings: {{docker: {{nonsense: 1}}}}\n", r"settings\.docker: 'nonsense' is not known"),
    "an unknown key of resources": (f"{BAG}\nsettings: {{resources: {{gpus: 1}}}}\n", r"resources: 'gpus' is not known"),
    "unknown settings": (f"{BAG}\nsettings: {{dokcer: {{}}}}\n", "'dokcer' is not known here; did you mean 'docker'"),
    "unknown settings of a flavor": (
        f"{BAG}\nsettings: {{orchestrator.kubernetes: {{pod_setings: {{}}}}}}\n", "did you mean 'pod_settings'"
    ),
    "settings that are a list": (f"{BAG}\nsettings: [docker]\n", "settings: found a list"),
    "docker that is a number": (f"{BAG}\nsettings: {{docker: 5}}\n", r"settings\.docker: expected fields"),
    "resources of the wrong type": (f"{BAG}\nsettings: {{resources: {{gpu_count: many}}}}\n", "gpu_count"),
    "an unknown key of a step": (f"{BAG}\nsteps: {{choose_labels: {{nonsense: 1}}}}\n", r"steps\.choose_labels: 'nonsense'"),
    "an unknown setting of a step": (
        f"{BAG}\nsteps: {{choose_labels: {{settings: {{docker: {{nonsense: 1}}}}}}}}\n", "'nonsense' is not known"
    ),
    "a step that is a number": (f"{BAG}\nsteps: {{choose_labels: 5}}\n", r"steps\.choose_labels: found 5"),
    "an unknown step": (f"{BAG}\nsteps: {{choose_label: {{}}}}\n", "did you mean 'choose_labels'"),
    "steps that are text": (f"{BAG}\nsteps: all\n", "steps: found text"),
    "a flag that is none": (f"{BAG}\nenable_cache: perhaps\n", "enable_cache"),
    "an unknown key of a schedule": (f"{BAG}\nschedule: {{cron: '0 * * * *'}}\n", "'cron' is not known"),
    "an unknown key": (f"{BAG}\nparamters: {{}}\n", "did you mean 'parameters'"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), TEXTS.values(), ids=TEXTS)
def test_yaml_that_would_be_read_wrongly_is_refused_by_line(tmp_path, text, sentence):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert re.search(sentence, refused(path))
    assert list(tmp_path.iterdir()) == [path]


COMMANDS = {
    "estimate": ["estimate", "-c"],
    "render": ["render", "plan.parquet", "-c"],
    "stack apply": ["stack", "apply"],
}


@pytest.mark.parametrize(
    "text", ["parameters: 5", "5", "a: 1\na: 2", "[" * 3000, BILLION, "parameters: [", "\0", ""], ids=short
)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_that_takes_a_config_says_so_in_one_sentence(tmp_path, capsys, command, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert main([*command, str(path)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "config.yaml" in lines[0]
    assert len(lines[0]) < 1000


@pytest.mark.parametrize(
    "text", ["labels: 5", "labels: [{name: a, name: b}]", "- a", "5", "[" * 3000, BILLION, "labels: ["], ids=short
)
def test_a_label_file_that_is_none_is_refused(tmp_path, capsys, text):
    (tmp_path / "labels.yaml").write_text(text)
    path = changed(tmp_path, "bag_of_tricks", "labels", str(tmp_path / "labels.yaml"))
    assert main(["estimate", "-c", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "labels.yaml" in error


def test_a_path_with_a_tilde_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for recipe, field in (
        ("bag_of_tricks", "output"),
        ("bag_of_tricks", "labels"),
        ("bag_of_tricks", "review"),
        ("predict", "model"),
        ("predict", "tags"),
    ):
        found = check_config(changed(tmp_path, recipe, field, "~/x"), pipeline(recipe).entrypoint)
        assert found[field] == f"{tmp_path}/x"
    found = check_config(
        changed(tmp_path, "bag_of_tricks", "clip.model", "local-dir:~/x"), pipeline("bag_of_tricks").entrypoint
    )
    assert found["clip"].model == f"local-dir:{tmp_path}/x"
    for field in ("real.path", "generator.model"):
        found = check_config(changed(tmp_path, "bag_of_tricks", field, "~/x"), pipeline("bag_of_tricks").entrypoint)
        part, name = field.split(".")
        assert getattr(found[part], name) == f"{tmp_path}/x"


def test_a_path_with_a_tilde_on_the_command_line_is_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in (
        ["estimate", "-c", "~/c.yaml"],
        ["replay", "00", "--plan", "~/c.yaml"],
        ["stack", "apply", "~/c.yaml"],
    ):
        assert main(command) == 2
        assert f"{tmp_path}/c.yaml" in capsys.readouterr().err
    assert main(["estimate", "-c", "~nobody-of-that-name/c.yaml"]) == 2
    assert "no home folder" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", "  ", "a\0b", "~nobody-of-that-name/x", 5, None, ["a"]], ids=repr)
@pytest.mark.parametrize("field", ["output", "real.path", "labels"])
def test_a_path_that_cannot_be_one_is_refused(tmp_path, field, value):
    if field == "labels" and value is None:
        pytest.skip("no label file: the classes are known by their names alone")
    assert f"parameters.{field}" in refused(changed(tmp_path, "bag_of_tricks", field, value))


def test_an_output_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    for output in ("file", "file/below", "config.yaml"):
        assert "is not a folder" in refused(changed(tmp_path, "bag_of_tricks", "output", str(tmp_path / output)))
    assert "/proc" in refused(changed(tmp_path, "bag_of_tricks", "output", "/proc/version/x"))


def sentence_of(call, *arguments) -> str:
    """What is refused, in words; nothing else may be raised. What is taken stands as its first argument."""
    try:
        call(*arguments)
    except InputError as error:
        return str(error)
    return f"{arguments[1] if call is parse_yaml else arguments[0]}: taken"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates()
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(SCALARS, v, max_size=4), max_leaves=12
)
FIELDS = sorted(yaml.safe_load(BAG)["parameters"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), value=VALUES)
def test_whatever_stands_in_a_field_is_taken_or_refused_in_one_sentence(tmp_path, field, value):
    body = yaml.safe_load(BAG)
    body["parameters"][field] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.dump(body, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    assert sentence_of(check_config, path, pipeline("bag_of_tricks").entrypoint).startswith(str(path))


@settings(max_examples=60)
@given(text=st.text(alphabet="ab:-[]{}&*!|>%@\"' \n\t#?,1.~<", max_size=60) | st.text(max_size=40))
def test_any_text_is_yaml_or_refused(text):
    assert sentence_of(parse_yaml, text, "text", "YAML").startswith("text: ")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
def test_any_bytes_are_yaml_or_refused(tmp_path, data):
    path = tmp_path / "config.yaml"
    path.write_bytes(data)
    assert sentence_of(read_yaml, path, "YAML").startswith(str(path))
