"""Processes that start fast: forked from a Python that has imported other people's packages, which takes seconds."""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

PACKAGES = [
    "zenml.entrypoints.entrypoint",
    "zenml.zen_stores.sql_zen_store",
    "zenml.integrations.mlflow.experiment_trackers",
]
PACKAGES += [
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open_clip",
    "timm",
    "mlflow.pytorch",
    "great_expectations",
]
PACKAGES += ["s3fs", "sklearn.manifold", "matplotlib.pyplot", "pyarrow.parquet", "dvc.repo", "pandas", "torchmetrics"]

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(PACKAGES)


def start(pipeline: str, config: Path, log: str = os.devnull) -> BaseProcess:
    """``python -m figment.ops.run PIPELINE -c CONFIG`` as the leader of a process group that heeds Ctrl-C; what it says goes to
    ``log``."""
    process = processes.Process(target=_run, args=(dict(os.environ), [pipeline, "-c", str(config)], log))
    process.start()
    return process


def _run(environment: Mapping[str, str], arguments: list[str], log: str) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
    said = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(environment)
    from figment.ops.run import main

    sys.exit(main(arguments))


def call(folder: Path, module: str, arguments: Sequence[str], log: Path) -> int | None:
    """``python -m MODULE ARGUMENTS`` in another clone, with its code and its own state; what it says goes to ``log``. Returns the
    exit code."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ZENML_", "MLFLOW_", "DVC_"))}
    process = processes.Process(target=_call, args=(str(folder), kept, module, [*arguments], str(log)))
    process.start()
    process.join()
    return process.exitcode


def _call(folder: str, environment: Mapping[str, str], module: str, arguments: list[str], log: str) -> None:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.exit(importlib.import_module(module).main(arguments))
