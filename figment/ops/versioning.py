"""DVC: what it calls the content of a file or folder, and a push that is known to have arrived."""

import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.ignore import DvcIgnoreFilter
from dvc.output import Output
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError
from dvc_objects.fs.local import LocalFileSystem

from figment.errors import InputError
from figment.ops import state
from figment.ops.environment import load_environment
from figment.text import reason_of


def open_repo(root: Path | None = None) -> Repo:
    """The DVC repository in ``root``, by default the working directory, with git or without."""
    root = root or Path.cwd()
    return Repo(str(root), config={"core": {"no_scm": not (root / ".git").exists()}})


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
            "`dvc pull` it from where it is or `dvc add` it anew, then push again"
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
