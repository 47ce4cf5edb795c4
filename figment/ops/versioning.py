"""DVC: a run's folder as objects with one pointer for git, what DVC calls the content of a file or folder, and a push that is
known to have arrived.

The pointer, ``dataset.dvc`` in the run's folder, lists what lies beside it, so that DVC's own commands (``checkout``, ``pull``,
``get``, ``import``, ``gc``) work on runs. Numbers and lineage.json are small and left to git. A file is hashed once, when it is
new: DVC remembers hashes by inode, size and time. Files are linked into DVC's cache, not copied (``cache.type``).
"""

import contextlib
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import (
    CacheLinkError,
    DvcException,
    OutputDuplicationError,
    OverlappingOutputPathsError,
)
from dvc.ignore import DvcIgnoreFilter
from dvc.output import Output
from dvc.repo import Repo
from dvc.scm import SCMError
from dvc.stage import Stage
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectDBError, ObjectFormatError
from dvc_objects.fs.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict

from figment import store
from figment.errors import InputError
from figment.files import digest, sha256_file, write_text
from figment.ops import state
from figment.ops.environment import load_environment
from figment.recipes.base import VersioningConfig
from figment.text import reason_of

POINTER = "dataset.dvc"
NUMBERS = {"lineage.json", "metrics.json", "loss.csv", "confusion.csv"}  # git's
POOL = {"images", "features", "hashes"}  # what grows with the number of images
ACCEPTED = "accepted"
SEEDS = re.compile(r"seed_\d+(\.yaml)?|seeds\.json")  # figment/ops/seeds.py
EXPERIMENT = "DVC_EXP_NAME"  # set by `dvc exp run`
GB = 1e9
LINKED = {"cache": {"type": ["hardlink"]}}  # with another kind after it DVC would leave copies of what is in its cache
HERE = "here"  # the remote that a clone begins with: its own cache, so that `dvc pull` of data/ alone does not miss a default one
TWICE = "its bytes are kept twice, since no links to DVC's cache are possible here"


class Versioned(BaseModel):
    """What DVC keeps of a run: the pointer's path (empty if there is none), files and bytes, DVC's hash by name, and all of this
    in a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pointer: str = ""
    files: int = 0
    size: int = 0
    outputs: dict[str, str] = {}
    said: str


def open_repo(root: Path | None = None, config: Mapping[str, Any] | None = None) -> Repo:
    """The DVC repository in ``root``, by default the working directory, with git or without. Another process that works on it is
    waited for."""
    root = root or Path.cwd()
    no_scm = {"core": {"no_scm": not (root / ".git").exists()}}
    return Repo(str(root), config=no_scm | dict(config or {}), _wait_for_lock=True)


def version(output: Path, config: VersioningConfig, root: Path | None = None) -> Versioned:
    """Make a finished run's folder DVC's: its content goes into the cache by link, the pointer names it. Where DVC cannot track
    the folder, or need not, the sentence says why. Raises InputError if the cache cannot take it; nothing of the run is lost."""
    root = root or Path.cwd()
    pointer = output / POINTER
    if config.keep == "nothing":
        return Versioned(said="not versioned: versioning.keep is nothing")
    if not (root / ".dvc").is_dir():
        return Versioned(
            said=f"not versioned: no DVC here; `git init && dvc init`, then `figment dataset add {output}`"
        )
    if store.url():
        return Versioned(said=f"not versioned: it lies in {store.url()}; `figment dataset add` does so once it is here")
    if not output.resolve().is_relative_to(root.resolve()):
        return Versioned(said=f"not versioned: {output} is outside of {root}, where DVC tracks nothing")
    if config.keep == "accepted":
        _write_accepted(output)
    names, left_out = _chosen(output, config)
    git = (root / ".git").exists()
    with _explained(output), open_repo(root, LINKED) as repo:
        if repo.scm.is_ignored(str(pointer.resolve())):
            return Versioned(said=f"not versioned: git ignores {pointer}; take its folder out of .gitignore")
        if not git and not _same_disk(output, Path(repo.cache.local.path)):
            return Versioned(
                said="not versioned: there is no git here, and DVC's cache is on another disk, as in a pod"
            )
        experiment = bool(os.environ.get(EXPERIMENT))  # whose commit holds new files only if git knows of them
        with repo.lock, repo.scm_context(autostage=experiment or None, quiet=True):
            stage = repo.stage.create(
                single_stage=True, validate=False, fname=str(pointer), wdir=str(output), outs=names, force=True
            )
            repo.check_graph(stages=[stage])
            try:
                stage.add_outs()
            except CacheLinkError:  # raised once all is in the cache
                left_out = "; ".join(filter(None, (left_out, TWICE)))
            stage.dump()
            repo.scm_context.track_file(str(pointer))
        return _described(pointer, stage, left_out, git, _default_remote(repo) is not None)


def _write_accepted(output: Path) -> None:
    """``accepted``/, as `figment export --format hf` writes it, unless it holds just these images."""
    from figment.exports.export import export_run

    decided = [path for path in sorted(output.iterdir()) if path.suffix == ".parquet"]
    if not (output / "plan.parquet").is_file():
        return
    key, stamp = digest({path.name: sha256_file(path) for path in decided}), output / f".{ACCEPTED}.key"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == key and (output / ACCEPTED).is_dir()):
        shutil.rmtree(output / ACCEPTED, ignore_errors=True)
        export_run(output, "hf", output / ACCEPTED)
        write_text(stamp, key)


def _chosen(output: Path, config: VersioningConfig) -> tuple[list[str], str]:
    """The names in the run's folder that are versioned, stamps too, by which a checked out run is known to be current; and a
    sentence on what is not."""
    names = [path.name for path in sorted(output.iterdir()) if _is_dataset(path)]
    accepted = config.keep == "accepted" and ACCEPTED in names
    hidden = POOL if accepted else {ACCEPTED}
    names = [name for name in names if name not in hidden and name not in {f".{h}.key" for h in hidden}]
    size = sum(_size(output / name) for name in names)
    if size <= config.max_gb * GB:
        return names, ""
    large = POOL | {ACCEPTED}
    said = f"without its images: the run has {size / GB:.2f} GB, versioning.max_gb is {config.max_gb:g}"
    return [name for name in names if name not in large], said


def _is_dataset(path: Path) -> bool:
    other = path.name in NUMBERS or path.suffix in (".dvc", ".partial") or path.name == ".gitignore"
    return not other and SEEDS.fullmatch(path.name) is None


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _same_disk(folder: Path, cache: Path) -> bool:
    there = next(place for place in (cache, *cache.parents) if place.exists())
    return folder.stat().st_dev == there.stat().st_dev


def _default_remote(repo: Repo) -> str | None:
    name = repo.config["core"].get("remote")
    return name if name != HERE else None


def _described(pointer: Path, stage: Stage, left_out: str, git: bool, remote: bool) -> Versioned:
    metas = [out.meta for out in stage.outs]
    files, size = sum(meta.nfiles or 1 for meta in metas), sum(meta.size or 0 for meta in metas)
    next_ = f"git add {pointer.parent}; {'' if remote else 'dvc remote add -d NAME URL; '}dvc push"
    next_ = next_ if git else "there is no git here that would keep the pointer"
    said = f"{pointer}: {files:,} files, {size / 1e6:,.1f} MB ({next_})"
    outputs = {out.def_path: str(out.hash_info.value) for out in stage.outs}
    return Versioned(
        pointer=pointer.as_posix(),
        files=files,
        size=size,
        outputs=outputs,
        said=f"{said}; {left_out}" if left_out else said,
    )


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """What DVC raises, in a sentence."""
    whole = f"the run itself is whole in {output}"
    try:
        yield
    except (OutputDuplicationError, OverlappingOutputPathsError) as error:
        raise InputError(
            f"{output}: DVC tracks a part of it already ({reason_of(error)}); `dvc remove` that .dvc file (the data stay), then "
            f"run the same command again; {whole}"
        ) from error
    except (DvcException, SCMError, ObjectDBError, OSError, sqlite3.Error) as error:
        raise InputError(
            f"{output}: DVC cannot keep it ({reason_of(error)}); free space for, or mend, its cache (`dvc cache dir` says where "
            f"it is), or set versioning.keep: nothing, then run the same command again; {whole}"
        ) from error


def dvc_md5(*paths: Path) -> dict[str, str]:
    """The hash under which DVC knows each of ``paths`` (or would: nothing is added), by its path. Files that did not
    change since they were last looked at are not read again."""
    if not Path(".dvc").is_dir():
        files = LocalHashFileDB(LocalFileSystem(), str(state.FOLDER.resolve() / "dvc" / "files"))
        return {path.as_posix(): _md5(files, None, path) for path in paths}
    with open_repo() as repo:
        return {path.as_posix(): _md5(repo.cache.local, repo.dvcignore, path) for path in paths}


def _md5(files: LocalHashFileDB, ignore: DvcIgnoreFilter | None, path: Path) -> str:
    built = build(files, str(path.resolve()), LocalFileSystem(), "md5", ignore=ignore, dry_run=True)
    return str(built[2].hash_info.value)


def push(remote: str | None = None, root: Path | None = None) -> int:
    """``dvc push`` all that is tracked to ``remote`` (the default one), then look whether it is there: DVC calls a push done
    that had nothing to send, and its ``status --cloud`` passes over folders whose list is lost. Returns the number of files
    sent; raises InputError naming what did not arrive."""
    with open_repo(root) as repo:
        if not (remote or _default_remote(repo)):
            raise InputError("dvc push: there is no remote to push to; add one: `dvc remote add -d NAME URL`")
        try:
            sent = repo.push(remote=remote)
            absent = [
                str(out) for out in repo.index.outs if out.use_cache and out.can_push and not arrived(repo, out, remote)
            ]
        except DvcException as error:
            raise InputError(f"dvc push: {reason_of(error)}") from error
    if absent:
        raise InputError(
            f"dvc push: {', '.join(sorted(absent))} is not, or not whole, in the remote and in this machine's cache; "
            "`dvc pull` it from where it is or `dvc add` it again, then push again"
        )
    return int(sent)


def arrived(repo: Repo, out: Output, remote: str | None) -> bool:
    """Whether the remote holds all of a tracked file or folder, of which it is asked for every hash."""
    if not out.hash_info:  # a stage that never ran
        return True
    store = repo.cloud.get_remote_odb(remote or out.remote, "push", hash_name=out.hash_name)
    wanted = {str(out.hash_info.value)}
    if out.hash_info.isdir:
        try:
            wanted |= {str(found.value) for _, _, found in Tree.load(store, out.hash_info)}
        except (FileNotFoundError, ObjectFormatError):
            return False
    return wanted <= set(store.oids_exist(sorted(wanted)))


def main(arguments: list[str]) -> int:
    """``python -m figment.ops.versioning [REMOTE]``"""
    load_environment()
    try:
        print(f"{push(arguments[0] if arguments else None)} files pushed; all that is tracked is in the remote")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
