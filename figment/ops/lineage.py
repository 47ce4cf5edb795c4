"""Who made this: git revision, DVC hashes, ZenML run and MLflow run, each naming the others.

MLflow's run carries them as a tag, ZenML's run as metadata, and ``lineage.json`` beside the artifacts says the same without
either; ``config.yaml`` beside it runs the same again. DVC names the folder that holds both files.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import yaml
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME
from pydantic import BaseModel
from zenml import get_step_context, log_metadata

from figment import store
from figment.files import digest, sha256_file, sha256_folder, write_json, write_text
from figment.ops import tracking
from figment.ops.lineage_file import LINEAGE, Lineage
from figment.ops.versioning import ACCEPTED, SEEDS, Versioned, dvc_md5
from figment.synthesis.pool import Pool
from figment.training.lists import TRAINING_LIST
from figment.validation.verdicts import counted

CONFIG = "config.yaml"
PARAMETERS = "parameters"  # all leaves of a run's config, in what ZenML calls its extra
UNTRACKED = "untracked"
SHA, DIRTY, NO_GIT = "FIGMENT_GIT_SHA", "FIGMENT_GIT_DIRTY", "no git"
PRODUCTS = ("artifacts", "dvc.lock")  # tracked by git in part
DERIVED = {"features", "hashes", ACCEPTED, LINEAGE, CONFIG}  # computed from the pool, or of this step
DATA, OF_DVC = "data", "in data/ of DVC"
ABSENT = "not on the machine that ended the run"
MAX_HASHED = 4 << 30  # bytes of real images whose content is read again for its digest


def lineage_tags(pipeline_run: str) -> dict[str, str]:
    sha, dirty = revision().values()
    return {"zenml.run": pipeline_run, "git.sha": sha, "git.dirty": dirty, "dvc.data_md5": data_md5(Path("data.dvc"))}


def revision() -> dict[str, str]:
    """The git revision, and whether tracked files other than a run's own products differ from it, as variables; where there is
    no git, what whoever started the run has put into them."""
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in PRODUCTS))
    found = {SHA: _git("rev-parse", "HEAD"), DIRTY: str(bool(changes)).lower()}
    return found if found[SHA] != NO_GIT else {SHA: os.environ.get(SHA, NO_GIT), DIRTY: os.environ.get(DIRTY, "true")}


def begin() -> None:
    """At the first tracked step of a run: its config, and the code that runs it, before anything can fail."""
    try:
        run = get_step_context().pipeline_run
    except RuntimeError:  # a step called as a function
        return
    tracking.log_parameters(run.config.extra.get(PARAMETERS) or run.config.parameters or {})
    sha, dirty = revision().values()
    commit = {} if sha == NO_GIT else {MLFLOW_GIT_COMMIT: sha}
    tracking.tag({MLFLOW_SOURCE_NAME: f"pipelines.{run.pipeline.name}", "git.dirty": dirty, **commit})


def write_config(output: Path) -> None:
    """Within a step: all parameters of this run, as a config that runs it again."""
    run = get_step_context().pipeline_run
    write_text(output / CONFIG, config_text(pipeline_of(run), run.config.parameters or {}, output / CONFIG))


def pipeline_of(run: Any) -> str:
    return f"pipelines.{run.pipeline.name}.{run.pipeline.name}"


def record(output: Path, dataset: Versioned, recipe: BaseModel) -> Lineage:
    """Within a tracked step: make this run's four systems name each other, and leave it in ``output`` too."""
    run, mlflow_run = get_step_context().pipeline_run, mlflow.active_run()
    tags = lineage_tags(run.name)
    store.complete(output, without=DERIVED)
    made = [path for path in sorted(output.iterdir()) if path.name not in DERIVED and not is_bookkeeping(path)]
    lineage = Lineage(
        pipeline=pipeline_of(run),
        zenml_run=run.name,
        mlflow_run=mlflow_run.info.run_id,
        git_sha=tags["git.sha"],
        git_dirty=tags["git.dirty"] == "true",
        data_md5=tags["dvc.data_md5"],
        outputs={Path(path).name: md5 for path, md5 in dvc_md5(*made).items()},
        pointer=dataset.pointer,
        dataset=dataset.said,
        real={str(path): data_digest(path, tags["dvc.data_md5"]) for path in real_places(recipe)},
    )
    tracking.tag({"lineage": lineage.model_dump_json()})
    metadata = {"mlflow.run": lineage.mlflow_run, **tags, "dvc.outputs": lineage.outputs, "dvc.dataset": dataset.said}
    log_metadata(metadata, run_id_name_or_prefix=run.id)
    log_data(output, lineage)
    write_json(output / LINEAGE, lineage.model_dump())
    for name in (LINEAGE, CONFIG):
        tracking.log_file(output / name)
    return lineage


def log_data(output: Path, lineage: Lineage) -> None:
    """Name in MLflow's run what it used and made, with what brings each back: data/ or the folders of real images
    that the config names, the pool, and each model's training list."""
    inputs = {DATA if found.startswith(OF_DVC) else name: found for name, found in lineage.real.items()}
    for name, found in inputs.items():
        if found == ABSENT:
            continue
        origin = {"path": name, "content": found, MLFLOW_GIT_COMMIT: lineage.git_sha}
        if name == DATA:
            origin = {"path": DATA, "dvc.md5": lineage.data_md5, MLFLOW_GIT_COMMIT: lineage.git_sha}
        tracking.log_images(
            tracking.ImageSet(Path(name).absolute().name, found.rpartition(" ")[2], origin), "evaluation"
        )
    if "images" not in lineage.outputs:
        return
    pool, md5 = output / "images", lineage.outputs["images"]
    kept = {"path": pool.as_posix(), "dvc.md5": md5, "dvc.pointer": lineage.pointer}
    tracking.log_images(tracking.ImageSet("images", md5, kept, len(Pool(pool))), "generated")
    for file in sorted(output.glob(f"**/{TRAINING_LIST}")):
        column = "labels" if "labels" in pq.read_schema(file).names else "label"
        rows = pq.read_table(file, columns=[column])[column]
        by_class = counted(rows)
        chosen = {**kept, "list": file.as_posix()}
        tracking.log_images(
            tracking.ImageSet(file.parent.name, sha256_file(file), chosen, len(rows), by_class), "training"
        )


def real_places(recipe: BaseModel) -> list[Path]:
    """The files and folders of real images that a config names, each once."""

    def named(value: Any) -> Iterator[Path]:
        if isinstance(value, BaseModel):
            yield from getattr(value, "paths", [])
            for name in type(value).model_fields:
                yield from named(getattr(value, name))

    return list(dict.fromkeys(named(recipe)))


def data_digest(path: Path, tracked: str) -> str:
    """What a file or folder of real images holds: ``tracked``, DVC's hash, below data/ of a clone; else ``sha256 ...`` of its
    content, and of a large folder that of the names and sizes of its files."""
    if path.parts[:1] == (DATA,) and tracked != UNTRACKED:
        return f"{OF_DVC} {tracked}"
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if not path.exists():
        return ABSENT
    if sum(file.stat().st_size for file in files) <= MAX_HASHED:
        return f"sha256 {sha256_folder(path) if path.is_dir() else sha256_file(path)}"
    return (
        f"names and sizes {digest(sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in files))}"
    )


def is_bookkeeping(path: Path) -> bool:
    """Whether what lies in an output folder is no product of its run: a stamp, DVC's note of a file, or what runs under several
    seeds left beside it."""
    return path.name.startswith(".") or path.suffix == ".dvc" or SEEDS.fullmatch(path.name) is not None


def config_text(pipeline: str, parameters: Mapping[str, Any], path: Path) -> str:
    """A config that runs the pipeline with these parameters; its first line is the command."""
    body = yaml.safe_dump({"parameters": dict(parameters)}, sort_keys=False, allow_unicode=True)
    return f"# zenml pipeline run {pipeline} -c {path}\n{body}"


def data_md5(tracked: Path) -> str:
    """DVC's hash of ``data/`` as ``data.dvc`` records it."""
    if not tracked.is_file():
        return UNTRACKED
    return str(yaml.safe_load(tracked.read_text(encoding="utf-8"))["outs"][0]["md5"])


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return NO_GIT
