"""Which code decides a stage's results."""

import ast
import sys

import pytest

from figment.ops import source

TRAINERS = (
    "figment.training.trainers.timm",
    "figment.training.trainers.semantic_matrix",
    "figment.training.trainers.dual_prompt",
    "figment.training.trainers.few_shot_head",
    "figment.adaptation.kinds.text_encoder",
    "figment.adaptation.kinds.textual_inversion",
    "figment.adaptation.kinds.lora",
)
STAGES = (
    *TRAINERS,
    "figment.evaluation.labelled",
    "figment.evaluation.few_shot",
    "figment.training.features",
    "figment.training.judging",
    "figment.training.splits",
)
NO_CHANGE = {
    "comment": ("figment/files.py", "def digest(", "# Explained.\ndef digest("),
    "docstring": ("figment/files.py", '"""SHA-256 (hex) of a value', '"""The SHA-256 of a value'),
    "module docstring": ("figment/files.py", '"""Files that are whole', '"""Whole files and files that are whole'),
    "formatting": ("figment/files.py", "def digest(value: Any)", "def digest(\n    value: Any,\n)"),
    "tracking": ("figment/ops/tracking.py", "import", "changed = 1\nimport"),
    "a report's code": ("figment/evaluation/report.py", "import", "changed = 1\nimport"),
    "a recipe's report": ("figment/recipes/tailored.py", "import", "changed = 1\nimport"),
    "the command line": ("figment/commands/images.py", "import", "changed = 1\nimport"),
    "a report's step": ("steps/report.py", "import", "changed = 1\nimport"),
    "an object store": ("figment/store.py", "import", "changed = 1\nimport"),
}


def edit(code, file: str, before: str, after: str) -> None:
    text = (code.root / file).read_text()
    (code.root / file).write_text(text.replace(before, after, 1))
    code.read_again()


@pytest.mark.parametrize("change", NO_CHANGE)
def test_what_does_not_change_a_training_leaves_it_current(code, change):
    before = {trainer: source.stage_code(trainer) for trainer in TRAINERS}
    text = (code.root / NO_CHANGE[change][0]).read_text()
    edit(code, *NO_CHANGE[change])
    assert (code.root / NO_CHANGE[change][0]).read_text() != text
    assert {trainer: source.stage_code(trainer) for trainer in TRAINERS} == before


def test_docstrings_anywhere_leave_every_stage_current(code):
    before = {stage: source.stage_code(stage) for stage in STAGES}
    for file in sorted(code.root.rglob("*.py")):
        text = file.read_text()
        docstring = ast.get_docstring(ast.parse(text), clean=False)
        if docstring:
            file.write_text(text.replace(docstring, f"{docstring} More is said here.", 1))
    code.read_again()
    assert {stage: source.stage_code(stage) for stage in STAGES} == before


def test_a_helper_far_below_and_the_step_itself_make_a_stage_stale(code):
    before = {stage: source.stage_code(stage) for stage in STAGES}
    code.append("figment/files.py", "changed = 1")
    below = {stage: source.stage_code(stage) for stage in STAGES}
    for stage in STAGES:
        code.append(f"{stage.replace('.', '/')}.py", "changed = 1")
    itself = {stage: source.stage_code(stage) for stage in STAGES}
    for stage in STAGES:
        assert before[stage] != below[stage], stage
        assert below[stage] != itself[stage], stage


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("figment.training.trainers.timm", "figment/training/train.py"),
        ("figment.training.trainers.timm", "figment/training/augment.py"),
        ("figment.training.trainers.semantic_matrix", "figment/training/semantic.py"),
        ("figment.training.trainers.semantic_matrix", "models/semantic_matrix.py"),
        ("figment.training.trainers.dual_prompt", "figment/training/dual_prompt.py"),
        ("figment.training.trainers.dual_prompt", "models/losses.py"),
        ("figment.adaptation.kinds.text_encoder", "figment/adaptation/gradient_sampler.py"),
        ("figment.adaptation.kinds.textual_inversion", "figment/adaptation/concept_learning.py"),
        ("figment.training.trainers.few_shot_head", "figment/training/head.py"),
        ("figment.training.trainers.few_shot_head", "figment/training/finetune.py"),
        ("figment.training.judging", "figment/training/filter_head.py"),
        ("figment.training.features", "figment/training/backbone.py"),
        ("figment.training.splits", "figment/datasets/hub_parquet.py"),
        ("figment.training.judging", "figment/validation/verdicts.py"),
    ],
)
def test_a_helper_makes_its_stage_stale(code, stage, file):
    before = source.stage_code(stage)
    code.append(file, "changed = 1")
    assert source.stage_code(stage) != before


def test_a_library_that_a_stage_imports_counts_by_its_version_and_others_do_not(code, monkeypatch):
    before = source.stage_code("figment.training.trainers.timm")
    assert {"torch (library)", "timm (library)", "PIL (library)"} <= before.keys()
    assert not {"mlflow (library)", "zenml (library)"} & before.keys()
    monkeypatch.setattr(source, "version", lambda name: "2.0")
    code.read_again()
    assert source.stage_code("figment.training.trainers.timm")["timm (library)"] == "2.0" != before["timm (library)"]


def test_every_library_of_the_product_has_a_version():
    for stage in STAGES:
        missing = {name for name, version in source.stage_code(stage).items() if not version}
        assert missing <= {"torchao (library)"}, stage  # of an extra


def test_imports_are_found_in_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PACKAGES", ("own",))
    monkeypatch.setattr(source, "ROOT", tmp_path)
    files = {
        "own/__init__.py": "",
        "own/a.py": "import own.b as b\nimport numpy.linalg\nfrom own import c\nfrom own.d import value",
        "own/b.py": "def late():\n    from own.sub import deep\n    import scipy",
        "own/c.py": "import own.a  # a cycle",
        "own/d.py": "value = 1",
        "own/sub/__init__.py": "import own.e",
        "own/sub/deep.py": "",
        "own/e.py": "",
        "own/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    caches = (source.texts, source._stage_code)
    for function in caches:
        function.cache_clear()
    found = source.stage_code("own.a")
    for function in caches:
        function.cache_clear()
    own = {"own", "own.a", "own.b", "own.c", "own.d", "own.e", "own.sub", "own.sub.deep"}
    assert found.keys() == own | {"numpy (library)", "scipy (library)"}


def test_what_is_edited_while_a_process_runs_is_not_its_code(code):
    before = source.stage_code("figment.training.trainers.timm")
    with open(code.root / "figment/files.py", "a") as file:
        file.write("changed = 1\n")
    assert source.stage_code("figment.training.trainers.semantic_matrix")["figment.files"] == before["figment.files"]


def test_a_step_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match="mine: not a module in figment, models, steps"):
        source.stage_code("mine")
    assert "mine" not in sys.modules
