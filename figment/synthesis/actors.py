"""Ray's actors: processes on this machine or a cluster's that each take the next task when they are free.

One that dies is started again and its task done again; one that joins late, on a machine that was just added, takes what is left.
With ``RAY_ADDRESS`` they are that cluster's, whose machines see this machine's files under the same paths (a shared disk, or
``FIGMENT_STORE``); without it they are processes of this machine, and Ray's own files go with the last of them.
"""

import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from figment.errors import InputError

log = logging.getLogger(__name__)
RESTARTS = 3  # of one actor; a task that kills each of them is not tried for ever
Work = Callable[[Any], Any]


class Actor:
    """Lives in a process of Ray's. ``make`` loads what the tasks need, once."""

    def __init__(self, folder: str, make: Callable[[], Work]):
        os.chdir(folder)
        self.warnings = Warnings()
        logging.getLogger("figment").addHandler(self.warnings)
        self.make = make
        self.work: Work | None = None

    def join(self) -> tuple[None, list[str]]:
        """Load, so that tasks go to actors that can begin them."""
        self.load()
        return None, self.warnings.taken()

    def load(self) -> Work:
        self.work = self.work or self.make()
        return self.work

    def do(self, task: Any) -> tuple[Any, list[str]]:
        """What the work returns, and what it warned of. An actor that was started again loads first."""
        return self.load()(task), self.warnings.taken()


class Warnings(logging.Handler):
    """Keeps warnings for the process that asked: a cluster's terminals are not looked at."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record.getMessage())

    def taken(self) -> list[str]:
        kept, self.kept = self.kept, []
        return kept


def results(make: Callable[[], Work], tasks: Iterable[Any], workers: int | None, most: int) -> Iterator[Any]:
    """What ``make()`` returns for each of ``tasks``, in the order in which they are done, by ``workers`` actors (by default one a
    GPU of the cluster), of which no more than ``most`` have something to do.

    A task is taken when an actor is free for it. Raises what a task raises, and InputError where actors keep dying.
    """
    with cluster(workers or 1) as ray:
        actors = _start(ray, make, workers, most)
        busy = {actor.join.remote(): actor for actor in actors}
        joining, told = set(busy), set[str]()
        waiting: Iterator[Any] | None = iter(tasks)
        try:
            while busy.keys() - joining or (busy and waiting):
                (reference,), _ = ray.wait(list(busy), num_returns=1)
                result, warnings = _get(ray, reference)
                _tell(warnings, told)
                actor = busy.pop(reference)
                if reference not in joining:
                    yield result
                joining.discard(reference)
                if waiting and (task := next(waiting, None)) is not None:
                    busy[actor.do.remote(task)] = actor
                else:
                    waiting = None  # actors that have not joined yet are not waited for
        finally:
            for actor in actors:
                ray.kill(actor)


def _start(ray: Any, make: Callable[[], Work], workers: int | None, most: int) -> list[Any]:
    """The actors: each has a GPU, or, where there is none, an equal share of the processors, and as many threads of torch."""
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    count = max(1, min(workers or gpus or 1, most))
    share = {"num_gpus": 1} if gpus else {"num_cpus": max(1, int(there["CPU"]) // count)}
    remote = ray.remote(max_restarts=RESTARTS, max_task_retries=RESTARTS, **share)(Actor)
    return [remote.remote(os.getcwd(), make) for _ in range(count)]


def _get(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise InputError(
            f"synthesis.engine: a Ray worker died {RESTARTS + 1} times, most likely because memory ran out; lower "
            f"synthesis.workers or synthesis.batch_size ({type(error).__name__})"
        ) from error


def _tell(warnings: Iterable[str], told: set[str]) -> None:
    """Each warning once, whichever actor gives it first."""
    for warning in warnings:
        if warning not in told:
            told.add(warning)
            log.warning("%s", warning)


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """``ray``, connected to the cluster of ``RAY_ADDRESS`` or to one of this machine that ends with the block."""
    import ray
    import torch  # here: an actor imports what its work needs

    from figment.devices import cores

    if ray.is_initialized():  # a program's own
        yield ray
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    options["runtime_env"] = {
        "env_vars": {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    }
    folder = None
    if not os.environ.get("RAY_ADDRESS"):
        folder = tempfile.mkdtemp(prefix="ray-")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or Ray writes one into the home folder
        options |= {"num_cpus": max(cores(), workers), "num_gpus": torch.cuda.device_count()}
        options |= {"include_dashboard": False, "_temp_dir": folder}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
        signal.signal(signal.SIGTERM, handler)  # Ray ends the process at once
        yield ray
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
