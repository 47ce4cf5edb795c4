"""``figment dataset list | get | add``: runs' datasets by DVC, thin over its own commands."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError
from dvc.stage import Stage
from scmrepo.exceptions import SCMError as GitError

from figment.errors import InputError
from figment.ops.versioning import POINTER, open_repo, version
from figment.recipes.base import VersioningConfig
from figment.store import FOLDER
from figment.text import reason_of, shown

COLUMNS = ("run", "images", "files", "MB", "here", "git")


def list_datasets(rev: str | None = None) -> list[tuple[str, ...]]:
    """A row of COLUMNS for each run whose dataset has a pointer: in the working folder, or at a git revision. ``images`` is the
    size of its pool, in MB; ``here`` whether all of it lies in the working folder."""
    try:
        with Repo(rev=rev) if rev else open_repo() as repo:
            stages = {Path(stage.path_in_repo): stage for stage in repo.index.stages if _is_pointer(stage)}
            states = {} if rev else _git_states(list(stages))
            return [_row(path, stages[path], rev or states.get(path, "committed")) for path in sorted(stages)]
    except (DvcException, GitError) as error:
        raise InputError(f"figment dataset list: {reason_of(error)}") from error


def get_dataset(run: str, rev: str | None = None, repo: str | None = None, out: Path | None = None) -> Path:
    """Bring a run's dataset: without more, what its pointer here names (``dvc pull``); else that of a git revision, or of another
    repository (``dvc get``), into a new folder. Returns the folder. Raises InputError for what is not there or cannot come."""
    folder = Path(run) if "/" in run else Path(FOLDER, run)
    try:
        if not (rev or repo or out):
            if not (folder / POINTER).is_file():
                raise InputError(f"run {shown(run)}: there is no {folder / POINTER}; {_known()}")
            with open_repo() as here:
                here.pull(str(folder / POINTER))
            return folder
        target = out or folder.with_name("_".join(filter(None, (folder.name, (rev or "").replace("/", "_")))))
        if target.exists():
            raise InputError(f"{target}: is there already; give a new folder by --out")
        Repo.get(repo or ".", folder.as_posix(), out=str(target), rev=rev)
        return target
    except (DvcException, SCMError, GitError, OSError) as error:
        where = f" of {repo}" if repo else ""
        raise InputError(
            f"run {shown(run)}{where}: DVC cannot bring it ({reason_of(error)}); it has to be committed there, and pushed to a "
            "remote that can be reached (`dvc remote list`) or kept in the cache here"
        ) from error


def add_dataset(folder: Path, config: VersioningConfig) -> str:
    """Version a finished run's folder now; the sentence says what was kept."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give that of a run, such as {FOLDER}/bag_of_tricks")
    return version(folder, config).said


def _is_pointer(stage: Stage) -> bool:
    return Path(stage.path_in_repo).name == POINTER


def _row(path: Path, stage: Stage, state: str) -> tuple[str, ...]:
    metas = {out.def_path: out.meta for out in stage.outs}
    images = metas.get("images") or metas.get("accepted")
    files = sum(meta.nfiles or 1 for meta in metas.values())
    size = sum(meta.size or 0 for meta in metas.values())
    here = all((path.parent / name).exists() for name in metas)
    numbers = (_megabytes((images.size if images else 0) or 0), f"{files:,}", _megabytes(size))
    return (path.parent.as_posix(), *numbers, "yes" if here else "no", state)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _git_states(pointers: Sequence[Path]) -> dict[Path, str]:
    """What git has not committed of these files."""
    command = ["git", "status", "--porcelain", "-z", "--untracked-files=all", "--", *map(str, pointers)]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        return dict.fromkeys(pointers, "no git")
    return {Path(line[3:]): "not added" if line.startswith("??") else "changed" for line in lines if line}


def _known() -> str:
    names = [row[0] for row in list_datasets()]
    return f"known here are {', '.join(names)}" if names else "no run here has a dataset under DVC yet"
