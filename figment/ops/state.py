"""The databases in ``.figment/`` are whole or absent, not in use by a broken copy, and refer to the clone that they lie in.

ZenML and MLflow fill a new database in hundreds of small steps, so a process that is killed in its first seconds would leave one
that nothing can open, and two first processes would collide. Here a new database is built under another name and renamed, by one
process at a time. An existing one is opened first: damage, a lock or a full disk is told in one sentence. ZenML and MLflow note
absolute paths; after a clone was moved or copied they are set to its new place before anything is opened.

``python -m figment.ops.state`` does this for databases that exist, and for the rest ``ensure`` does.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from figment.errors import InputError
from figment.ops.databases import (
    ARTIFACTS,
    FOLDER,
    STORE,
    Database,
    any_row,
    databases,
    is_default,
    on_server,
    read_mapping,
    repository,
    zenml_config,
    zenml_folder,
)
from figment.ops.environment import load_environment
from figment.text import one_line

HERE = Path()
PATIENCE = 10  # seconds in which another program has to release a database
BUILDING = 600  # seconds for another process to finish what only one may do: it fetches data/ and builds both databases
ROOM = 1 << 20  # bytes that have to fit on the disk
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}


def ensure(root: Path = HERE) -> None:
    """``check``, and build the databases that are absent. Seconds the first time, milliseconds later; call it with the clone
    ``locked``. Raises InputError."""
    check(root)
    for database in databases():
        if not database.file.exists():
            _build(database)
    relate_zenml()


def check(root: Path = HERE) -> None:
    """Look at the databases that exist: set aside a half-made one without history, set paths to ``root`` if the clone has
    moved. Raises InputError if the disk is full or a database is damaged or locked."""
    writable(FOLDER)
    for pointer in (repository() / ".zen/config.yaml", zenml_folder() / "config.yaml"):
        _drop_unreadable(pointer)
    _relate_file()
    for database in databases():
        if database.file.exists() or database.file.is_symlink():
            with _explained(database):
                _check(database, root.resolve())


@contextlib.contextmanager
def locked(root: Path = HERE) -> Iterator[None]:
    """One process at a time; the lock ends with the process that holds it, however that ends."""
    writable(root / FOLDER)
    with open(root / FOLDER / "lock", "w") as file:
        start, told = time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise InputError(f"{file.name}: cannot be locked ({error.strerror})") from error
                if time.monotonic() > start + BUILDING:
                    raise InputError(
                        f"{file.name}: another process has been preparing this clone for {BUILDING // 60} minutes; "
                        "end that process and run again"
                    ) from error
            if not told and time.monotonic() > start + 3:
                told = True
                print("waiting for another process that is preparing this clone", file=sys.stderr, flush=True)
            time.sleep(0.1)
        yield


def writable(folder: Path) -> None:
    """Create the folder and see that a megabyte can be written there. Raises InputError."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with open(probe, "wb") as file:
                file.write(bytes(ROOM))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except FileExistsError as error:
        raise InputError(
            f"{folder}: exists and is no folder; rename it, the state of ZenML and MLflow goes into a folder of that name"
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); free some space there, or make it writable, and run again"
        ) from error


def explain(error: BaseException) -> InputError | None:
    """The sentence for an error, or one that it goes back to, of the disk or of a database; else nothing."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno in DISK:
            where = link.filename or "the disk"
            return InputError(f"{where}: {link.strerror}; free some space and run the same command again to resume")
        if isinstance(link, sqlite3.DatabaseError) and (reason := _reason(link)):
            files = " or ".join(f"{database.file}" for database in databases())
            return InputError(f"{files}: {reason}")
        link = link.__cause__ or link.__context__
    return None


def _drop_unreadable(file: Path) -> None:
    """Rename one of ZenML's notes of what is active, which it writes in place, if a kill or a full disk cut it off: ZenML fills
    a new one, and fails on the old."""
    for pause in (0.3, 0.3, 0.0):  # another process may be writing it at this moment
        if read_mapping(file) is not None:
            return
        time.sleep(pause)
    file.replace(file.with_name(f"{file.name}.unreadable"))


def _relate_file() -> None:
    """ZenML's config names its database by an absolute path: make it relative."""
    content = zenml_config()
    store = content.get("store")
    if not isinstance(store, dict) or not is_default(str(store.get("url"))) or store["url"] == _url():
        return
    store |= {"url": _url(), "database": f"{zenml_folder() / STORE}"}
    store["backup_directory"] = f"{zenml_folder() / 'database_backup'}"
    file = zenml_folder() / "config.yaml"
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    partial.write_text(yaml.safe_dump(content), encoding="utf-8")
    partial.replace(file)


def relate_zenml() -> None:
    """Have ZenML in this process use its database by a relative path, unless it is configured to use another one."""
    from zenml.config.global_config import GlobalConfiguration
    from zenml.zen_stores.sql_zen_store import SqlZenStoreConfiguration

    if on_server():
        return
    config = GlobalConfiguration()
    if not config.is_initialized and (config.store is None or config.store.url != _url()):
        backup = f"{zenml_folder() / 'database_backup'}"
        config.store = SqlZenStoreConfiguration(url=_url(), backup_directory=backup)


def _url() -> str:
    return f"sqlite:///{zenml_folder() / STORE}"


def _check(database: Database, root: Path) -> None:
    connection = sqlite3.connect(database.file, timeout=PATIENCE, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")  # what was interrupted is rolled back; or it is locked, or no database
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(f"malformed: {' '.join(damage.split())[:100]}")
        complete = database.complete(connection)
        if complete:
            _relocate(connection, database, root)
        known = any(any_row(connection, query) for query in database.history)
        connection.execute("COMMIT")
    if not complete:
        if known:
            raise InputError(
                f"{database.file}: not complete for this version of {database.tool}, and it holds runs or models; copy it and "
                f"migrate it (`{database.migrate}`), or rename it and run again: a new one is made and artifacts/ stays"
            )
        _set_aside(database)


def _set_aside(database: Database) -> None:
    """Rename a half-made database, with its journals."""
    number = next(n for n in range(1, 10**6) if not database.file.with_name(f"{database.file.name}.{n}").exists())
    for journal in ("-journal", "-wal", "-shm", ""):
        old = database.file.with_name(database.file.name + journal)
        if old.exists():
            old.rename(database.file.with_name(f"{database.file.name}.{number}{journal}"))
    print(
        f"{database.file}: its creation was interrupted and it holds no runs; kept as {database.file.name}.{number}",
        file=sys.stderr,
    )


def _relocate(connection: sqlite3.Connection, database: Database, root: Path) -> None:
    """Set the paths of another place to ``root``, all or, if this is interrupted, none."""
    connection.create_function("here", 1, lambda value: database.here(value, root), deterministic=True)
    moved = False
    for table, columns in database.paths.items():
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for column in present.intersection(columns):
            connection.execute(f"UPDATE {table} SET {column} = here({column}) WHERE {column} != here({column})")
            moved |= connection.execute("SELECT changes()").fetchone()[0] > 0
    if moved and database.tool == "MLflow":
        for file in ARTIFACTS.glob("models/*/artifacts/MLmodel"):
            first, line, rest = file.read_text(encoding="utf-8").partition("\n")
            name, _, place = first.partition(": ")
            if name == "artifact_path":
                partial = file.with_name(f".{file.name}.partial")
                partial.write_text(f"{name}: {database.here(place, root)}{line}{rest}", encoding="utf-8")
                partial.replace(file)


def _build(database: Database) -> None:
    """Make a new database under another name; the file appears under its own when it is complete."""
    partial = database.file.with_name(f"{database.file.name}.partial")
    with _explained(database):
        partial.parent.mkdir(parents=True, exist_ok=True)
        for rest in partial.parent.glob(f"{partial.name}*"):
            rest.unlink()
        database.build(partial)
        with contextlib.closing(sqlite3.connect(partial)) as connection:
            if not database.complete(connection):
                raise RuntimeError(f"{partial}: {database.tool} left its new database incomplete")
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        partial.replace(database.file)


@contextlib.contextmanager
def _explained(database: Database) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError):
            raise
        link: BaseException | None = error
        while link is not None:
            if isinstance(link, sqlite3.DatabaseError) and (reason := _reason(link)):
                raise InputError(f"{database.file}: {reason}") from error
            link = link.__cause__ or link.__context__
        if known := explain(error):
            raise known from error
        raise


def _reason(error: sqlite3.DatabaseError) -> str:
    """What is wrong with a database and what to do, for what SQLite says; empty for an error of a program."""
    said = one_line(str(error))
    if "locked" in said:
        return f"locked by another program for more than {PATIENCE} seconds; end that program (`fuser` names it), run again"
    if "full" in said or "disk I/O" in said:
        return f"cannot be written ({said}); free some space on that disk and run the same command again to resume"
    if "readonly" in said or "unable to open" in said:
        return f"cannot be opened for writing ({said}); make the file and its folder writable, run again"
    if "malformed" in said or "not a database" in said:
        return (
            f"damaged ({said}); restore a copy of it, or rename it and run again: a new one is made, without the runs "
            "noted in this one; artifacts/ stays as it is"
        )
    return ""


def main() -> int:
    load_environment()
    try:
        if FOLDER.exists():
            with locked():
                check()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
