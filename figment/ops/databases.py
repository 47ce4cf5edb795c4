"""The databases of ZenML and MLflow in ``.figment/``: where each is, when it is whole, and how a new one is built."""

import os
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

FOLDER = Path(".figment")  # all paths here are relative to the working directory
STORE = Path("local_stores/default_zen_store/zenml.db")  # in ZenML's own folder; the name is ZenML's
ARTIFACTS = FOLDER / "mlartifacts"

# Columns that hold absolute paths of local files.
ZENML_PATHS = {"artifact_version": ["uri"], "artifact_visualization": ["uri"], "logs": ["uri"]}
MLFLOW_PATHS = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


@dataclass(frozen=True)
class Database:
    """A database file. ``whole``: queries that each return a row once it is complete; ``history``: queries of which one returns
    a row if a user would miss something in it; ``paths``: columns of local paths, by table; ``markers``: how, in such a path,
    what belongs to the clone begins; ``migrate``: a command for one of an older version; ``build`` fills a new file."""

    tool: str
    file: Path
    whole: tuple[str, ...]
    history: tuple[str, ...]
    paths: dict[str, list[str]]
    markers: tuple[str, ...]
    migrate: str
    build: Callable[[Path], None]

    def complete(self, connection: sqlite3.Connection) -> bool:
        connection.create_function("is_head", 1, lambda version: version in _mlflow_heads(), deterministic=True)
        return all(any_row(connection, query) for query in self.whole)

    def here(self, value: str, root: Path) -> str:
        """A path or file URI below the clone, wherever that was, as it is now that the clone is ``root``; others as they are."""
        for marker in self.markers:
            start = value.rfind(marker) if isinstance(value, str) and value.startswith(("/", "file:///")) else -1
            if start >= 0:
                return (root.as_uri() if value.startswith("file:") else str(root)) + value[start:]
        return value


def databases() -> list[Database]:
    """Those of this clone: not one on a server, nor one that the environment puts outside of it."""
    found = [Database("ZenML", zenml_folder() / STORE, *ZENML)] if not on_server() else []
    scheme, _, file = os.environ.get("MLFLOW_TRACKING_URI", "").partition(":///")
    if scheme == "sqlite" and _inside(Path(file)):
        found.append(Database("MLflow", Path(file), *MLFLOW))
    return found


def zenml_folder() -> Path:
    return Path(os.environ["ZENML_CONFIG_PATH"])


def repository(root: Path = Path()) -> Path:
    """The folder whose ``.zen/`` notes which stack is active: the clone, or what ZENML_REPOSITORY_PATH says."""
    return Path(os.environ.get("ZENML_REPOSITORY_PATH") or root)


def _inside(file: Path) -> bool:
    return file.resolve().is_relative_to(FOLDER.resolve())


def on_server() -> bool:
    """Whether ZenML's database is elsewhere: its URL is set by the environment or by ``zenml login``."""
    url = str((zenml_config().get("store") or {}).get("url") or "")
    return "ZENML_STORE_URL" in os.environ or (url != "" and not is_default(url)) or not _inside(zenml_folder())


def is_default(url: str) -> bool:
    """Whether the URL is that of ZenML's own file in its own folder, of this clone or of the place that it was moved from."""
    return url.startswith("sqlite:///") and url.endswith(f"/{zenml_folder().name}/{STORE}")


def zenml_config() -> dict:
    content = read_mapping(zenml_folder() / "config.yaml")
    return content if content is not None else {}


def read_mapping(file: Path) -> dict | None:
    """The content of a YAML file, empty if there is no file; none if there is one without a mapping in it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None


def any_row(connection: sqlite3.Connection, query: str) -> bool:
    try:
        return connection.execute(query).fetchone() is not None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or "no such column" in str(error):
            return False
        raise


@cache
def _mlflow_heads() -> set[str]:
    """The schema versions of the installed MLflow that no other follows: one. Without importing it, which takes seconds."""
    spec = find_spec("mlflow")
    folder = Path(str(spec and spec.origin)).parent / "store" / "db_migrations" / "versions"
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("*.py")]
    names = [
        set(re.findall(rf"^{name} = [\"'](\w+)[\"']", "\n".join(texts), re.M)) for name in ("revision", "down_revision")
    ]
    return names[0] - names[1]


def _build_zenml(file: Path) -> None:
    from zenml.zen_stores.sql_zen_store import SqlZenStore, SqlZenStoreConfiguration

    store = SqlZenStore(config=SqlZenStoreConfiguration(url=f"sqlite:///{file}"))
    store.engine.dispose()


def _build_mlflow(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{file}", ARTIFACTS.resolve().as_uri()).engine.dispose()


ZENML = (
    (
        "SELECT 1 FROM alembic_version",
        "SELECT 1 FROM user",
        "SELECT 1 FROM project",
        "SELECT 1 FROM stack WHERE name = 'default'",
        "SELECT 1 FROM server_settings WHERE active",
        "SELECT 1 FROM flavor WHERE name = 'mlflow' AND type = 'model_registry'",
    ),
    (
        "SELECT 1 FROM pipeline_run",
        "SELECT 1 FROM secret",
        "SELECT 1 FROM stack WHERE name NOT IN ('default', 'figment')",
    ),
    ZENML_PATHS,
    ("/.figment/",),
    "zenml stack list",  # any command migrates it
    _build_zenml,
)


MLFLOW = (
    ("SELECT 1 FROM alembic_version WHERE is_head(version_num)", "SELECT 1 FROM experiments"),
    ("SELECT 1 FROM runs", "SELECT 1 FROM registered_models"),
    MLFLOW_PATHS,
    ("/.figment/mlartifacts", "/mlruns/"),
    "mlflow db upgrade $MLFLOW_TRACKING_URI",
    _build_mlflow,
)
