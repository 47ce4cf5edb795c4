"""State in .figment/: damaged, locked, half made, on a full disk, of a clone that was moved. Tried in a small copy of the clone,
with databases that ZenML and MLflow made themselves; all faults that the command line tells of are tried in one process."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from figment.ops import databases, state
from figment.ops.environment import ROOT

ZENML, MLFLOW = Path(".figment/zenml/local_stores/default_zen_store/zenml.db"), Path(".figment/mlflow.db")
PARTS = ("figment", ".env", "configs/stacks", "data.dvc")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A clone's files, and its new databases, in which a run, a model and an artifact are noted."""
    clone = tmp_path_factory.mktemp("made") / "clone"
    for part in PARTS:
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, clone / part)
    done = run(clone, "from figment.ops import stack, state", "with state.locked(): stack.initialise()")
    assert done.returncode == 0, done.stderr
    note_runs(clone)
    return clone


@pytest.fixture
def clone(made, tmp_path, monkeypatch) -> Path:
    """Another place for a copy of ``made``; the working directory."""
    shutil.copytree(made, tmp_path / "clone")
    return entered(tmp_path / "clone", monkeypatch)


def entered(clone: Path, monkeypatch) -> Path:
    monkeypatch.chdir(clone)
    monkeypatch.setenv("ZENML_CONFIG_PATH", ".figment/zenml")
    monkeypatch.delenv("ZENML_REPOSITORY_PATH", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{MLFLOW}")
    return clone


def run(clone: Path, *lines: str, **variables: str) -> subprocess.CompletedProcess:
    """Python in a clone, as whoever has just opened a terminal there."""
    ours = ("ZENML_", "MLFLOW_", "FIGMENT_", "DVC_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    code = "\n".join(["from figment.ops.environment import load_environment", "load_environment()", *lines])
    return subprocess.run([sys.executable, "-c", code], cwd=clone, env=kept | variables, capture_output=True, text=True)


def note_runs(clone: Path) -> None:
    """What a run leaves in the databases, so far as it matters here."""
    place = clone.resolve()
    with sqlite3.connect(clone / MLFLOW) as base:
        base.execute("PRAGMA foreign_keys = OFF")
        fill(
            base,
            "runs",
            run_uuid="r",
            experiment_id=0,
            artifact_uri=f"{place.as_uri()}/.figment/mlartifacts/r/artifacts",
        )
        fill(
            base, "experiments", experiment_id=7, name="bag", workspace="default",
            artifact_location=f"{place.as_uri()}/.figment/mlartifacts",
        )  # fmt: skip
    with sqlite3.connect(clone / ZENML) as base:
        base.execute("PRAGMA foreign_keys = OFF")
        fill(base, "artifact_version", uri=f"{place}/.figment/zenml/local_stores/x/report")
        fill(base, "pipeline_run", name="a run")


def fill(base: sqlite3.Connection, table: str, **values) -> None:
    """A row; what must not be null and is not given is a zero."""
    needed = [row[1] for row in base.execute(f"PRAGMA table_info({table})") if row[3] and row[4] is None]
    row = dict.fromkeys(needed, "0") | values
    names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    base.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def without_history(base: sqlite3.Connection) -> None:
    for table in ("runs", "registered_models", "pipeline_run"):
        if base.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
            base.execute(f"DELETE FROM {table}")


def execute(file: Path, *statements: str, history: bool) -> None:
    with sqlite3.connect(file, isolation_level=None) as base:
        base.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            base.execute(statement)
        if not history:
            without_history(base)


def overwrite(file: Path, start: int, data: bytes) -> None:
    with open(file, "r+b") as opened:
        opened.seek(start)
        opened.write(data)


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


# --- one sentence, through the command line -------------------------------------------------------------------------------------

FAULTS = {
    "ZenML's database is text": ("replace(ZENML, b'no database' * 1000)", "zenml.db: damaged"),
    "ZenML's database is cut off": ("cut(ZENML)", "zenml.db: damaged"),
    "ZenML's database has a bad page": ("spoil(ZENML)", "zenml.db: damaged"),
    "ZenML's database is a folder": ("folder(ZENML)", "zenml.db: cannot be opened"),
    "ZenML's database is locked": ("lock(ZENML)", "zenml.db: locked by another program"),
    "ZenML's database with runs lacks its user": ("sql(ZENML, 'DELETE FROM user')", "zenml.db: not complete"),
    "MLflow's database is text": ("replace(MLFLOW, b'no database' * 1000)", "mlflow.db: damaged"),
    "MLflow's database is cut off": ("cut(MLFLOW)", "mlflow.db: damaged"),
    "MLflow's database has a bad page": ("spoil(MLFLOW)", "mlflow.db: damaged"),
    "MLflow's database is a folder": ("folder(MLFLOW)", "mlflow.db: cannot be opened"),
    "MLflow's database is locked": ("lock(MLFLOW)", "mlflow.db: locked by another program"),
    "MLflow's database of another version": (
        "sql(MLFLOW, \"UPDATE alembic_version SET version_num = 'bd07f7e963c5'\")",
        "mlflow db upgrade",
    ),
    "the state's folder is a file": ("folder_is_file()", ".figment: exists and is no folder"),
    "the state's folder is a dangling link": ("folder_dangles()", ".figment: exists and is no folder"),
    "the disk is full": ("full()", ".figment: cannot be written (File too large); free some space"),
    "another process never ends": ("hold()", "another process has been preparing this clone"),
}
HELPERS = f"""
import contextlib, fcntl, io, json, os, resource, shutil, signal, sqlite3, sys, time
from pathlib import Path
from figment.cli import main
from figment.ops import state
ZENML, MLFLOW = Path({str(ZENML)!r}), Path({str(MLFLOW)!r})
state.PATIENCE, state.BUILDING = 0.2, 0.2
undo = []

def replace(file, data): file.write_bytes(data)
def cut(file): os.truncate(file, file.stat().st_size // 2)
def spoil(file):
    with open(file, "r+b") as opened:
        for page in range(4096, file.stat().st_size, 4096):
            opened.seek(page); opened.write(os.urandom(64))
def folder(file): file.unlink(); file.mkdir()
def lock(file):
    base = sqlite3.connect(file, isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    undo.append(base.close)
def sql(file, statement):
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.execute(statement)
def folder_is_file(): shutil.rmtree(".figment"); Path(".figment").write_text("")
def folder_dangles(): shutil.rmtree(".figment"); Path(".figment").symlink_to("nowhere")
def full():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    undo.append(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
def hold():
    file = open(".figment/lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    undo.append(file.close)

from figment.ops.environment import ROOT
state.check(ROOT)  # this is a copy: set the paths
shutil.copytree(".figment", "../pristine")
found = {{}}
for name, fault in json.loads(sys.argv[1]).items():
    exec(fault)
    before = {{str(p): p.read_bytes() for p in Path(".figment").rglob("*.db") if p.is_file()}}
    out, err = io.StringIO(), io.StringIO()
    start = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["why", "figment-bag-of-tricks"])
    seconds = time.monotonic() - start
    while undo:
        undo.pop()()
    after = {{str(p): p.read_bytes() for p in Path(".figment").rglob("*.db") if p.is_file()}}
    found[name] = [code, out.getvalue(), err.getvalue(), seconds, before == after]
    if os.path.islink(".figment") or os.path.isfile(".figment"):
        os.unlink(".figment")
    shutil.rmtree(".figment", ignore_errors=True)
    shutil.copytree("../pristine", ".figment")
print(json.dumps(found), file=sys.__stdout__)
"""


@pytest.fixture(scope="module")
def told(made, tmp_path_factory) -> dict[str, list]:
    """What ``figment why`` said of each fault."""
    clone = tmp_path_factory.mktemp("told") / "clone"
    shutil.copytree(made, clone)
    (clone / "helpers.py").write_text(HELPERS)
    faults = json.dumps({name: fault for name, (fault, _) in FAULTS.items()})
    done = run(clone, f"import runpy, sys; sys.argv[1:] = [{faults!r}]; runpy.run_path('helpers.py')")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_state_is_one_sentence_and_changes_nothing(told, fault):
    code, out, said, _, unchanged = told[fault]
    assert (code, out) == (2, "")
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert FAULTS[fault][1] in said
    assert "run" in said or "rename" in said  # what to do
    assert unchanged


# --- half made ------------------------------------------------------------------------------------------------------------------

HALF = {
    "empty": lambda file: file.write_bytes(b""),
    "tables without a version": lambda file: execute(file, "DELETE FROM alembic_version", history=False),
    "a version without tables": lambda file: (
        file.unlink(),
        execute(file, "CREATE TABLE alembic_version (version_num)", history=False),
    ),
}
HALF_ZENML = HALF | {
    "no user": lambda file: execute(file, "DELETE FROM user", history=False),
    "no flavors": lambda file: execute(file, "DELETE FROM flavor", history=False),
    "no stack": lambda file: execute(file, "DELETE FROM stack", history=False),
    "not activated": lambda file: execute(file, "UPDATE server_settings SET active = 0", history=False),
}
HALF_MLFLOW = HALF | {
    "half migrated": lambda file: execute(
        file, "UPDATE alembic_version SET version_num = 'bd07f7e963c5'", history=False
    ),
    "no experiments": lambda file: execute(file, "DELETE FROM experiments", history=False),
}


@pytest.mark.parametrize(
    ("file", "half"),
    [
        pytest.param(file, half, id=f"{file.name}-{name.replace(' ', '-')}")
        for file, halves in ((ZENML, HALF_ZENML), (MLFLOW, HALF_MLFLOW))
        for name, half in halves.items()
    ],
)
def test_a_half_made_database_without_runs_is_set_aside(clone, file, half, capsys):
    half(file)
    data = file.read_bytes()
    Path(f"{file}-journal").write_bytes(b"")  # belongs to it
    state.check(clone)
    assert not file.exists()
    assert Path(f"{file}.1").read_bytes()[: len(data)] == data  # SQLite may give an empty one its header
    assert f"kept as {file}.1" in capsys.readouterr().err.replace(str(file.name) + ".1", str(file) + ".1")


@pytest.mark.parametrize("cut_off", ["", "active_stack_id: [", "just text"])
@pytest.mark.parametrize("file", [".zen/config.yaml", ".figment/zenml/config.yaml"])
def test_zenmls_notes_cut_off_by_a_kill_are_set_aside(clone, file, cut_off):
    Path(file).write_text(cut_off)
    state.check(clone)
    assert not Path(file).exists()
    assert Path(f"{file}.unreadable").read_text() == cut_off


def test_after_a_kill_at_the_worst_moments_the_next_run_is_as_the_first(made, tmp_path):
    """A half-made database, leftovers of one that was being built, a note cut off: all prepared again, in one go."""
    clone = shutil.copytree(made, tmp_path / "clone")
    execute(clone / ZENML, "DELETE FROM user", history=False)
    (clone / f"{MLFLOW}.partial").write_bytes((clone / MLFLOW).read_bytes()[:5000])
    (clone / MLFLOW).unlink()
    (clone / ".zen/config.yaml").write_text("")
    done = run(
        clone,
        "from figment.ops import stack, state",
        "with state.locked(): stack.initialise()",
        "from zenml.client import Client",
        "import mlflow",
        "print(Client().active_stack_model.name, len(mlflow.search_experiments()))",
    )
    assert (done.returncode, done.stdout.split()) == (0, ["default", "1"]), done.stderr
    assert not list((clone / ".figment").rglob("*.partial"))


# --- moved and copied -----------------------------------------------------------------------------------------------------------


def places(clone: Path) -> set[str]:
    """All absolute paths that the state of a clone names."""
    found: set[str] = set()
    for file, tables in ((ZENML, databases.ZENML_PATHS), (MLFLOW, databases.MLFLOW_PATHS)):
        with sqlite3.connect(clone / file) as base:
            for table, columns in tables.items():
                for column in columns:
                    found |= {row[0] for row in base.execute(f"SELECT {column} FROM {table}") if row[0]}
    return found


@pytest.mark.parametrize("name", ["clone", "new place", "größer", "a/.figment/b", "100%25"])
def test_a_moved_clone_names_its_new_place_only(made, tmp_path, monkeypatch, name):
    clone = tmp_path / name
    shutil.copytree(made, clone)
    content = (clone / ".figment/zenml/config.yaml").read_text()
    old = f"sqlite:///{made.resolve()}/{ZENML}"
    (clone / ".figment/zenml/config.yaml").write_text(content.replace(f"sqlite:///{ZENML}", old))
    assert any(str(made) in place or made.as_uri() in place for place in places(clone))
    state.check(entered(clone, monkeypatch))
    assert places(clone) == {
        f"{clone}/.figment/zenml/local_stores/x/report",
        f"{clone.as_uri()}/.figment/mlartifacts",
        f"{clone.as_uri()}/.figment/mlartifacts/0",
        f"{clone.as_uri()}/.figment/mlartifacts/r/artifacts",
    }
    assert str(made) not in (clone / ".figment/zenml/config.yaml").read_text()
    assert any(str(made) in place for place in places(made))  # the old one is as it was


def test_the_new_databases_are_named_relative_to_the_clone(made):
    content = (made / ".figment/zenml/config.yaml").read_text()
    assert f"url: sqlite:///{ZENML}" in content
    assert str(made) not in content


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere"])
def test_why_needs_no_home_and_keeps_to_the_copy(made, tmp_path, home):
    clone = shutil.copytree(made, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if "__pycache__" not in path.parts}
    done = run(clone, "from figment.cli import main", "import sys", "sys.exit(main(['why', 'missing']))", HOME=home)
    assert done.returncode == 2
    assert done.stderr.startswith("error: model 'missing'")
    assert done.stderr.count("\n") == 1
    after = {path: path.stat().st_mtime_ns for path in made.rglob("*") if "__pycache__" not in path.parts}
    assert after == before
