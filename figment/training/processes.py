"""Several processes on this machine that train one model: one a GPU, or on the cores with gloo. Accelerate joins them.

What is drawn at random is drawn for the whole batch by every process, which then keeps its share: the same images, changed in
the same way, in the same batches as one process has.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from figment.devices import choose_device
from figment.errors import InputError, ending


@dataclass(frozen=True)
class Share:
    """Of what ``count`` processes do together, the part of number ``index``."""

    index: int = 0
    count: int = 1

    def of(self, whole: Tensor, dim: int = 0) -> Tensor:
        """The part of a batch (count * B, ...) that is this process's: B rows."""
        return whole.chunk(self.count, dim)[self.index]


WHOLE = Share()


def run_together(
    count: int,
    device: str,
    work: Callable[..., dict[str, Tensor]],
    arguments: Sequence[Any],
    log: Callable[..., None] = lambda *entry: None,
) -> dict[str, Tensor]:
    """What ``work(accelerator, log, *arguments)``, a module's function, returns in the first of ``count`` new processes; they
    meet through ``accelerator``, and ``log`` is called here with what the first one logs there. They end with this call.

    Raises InputError if the devices do not suffice, or the one that a process raised."""
    kind = choose_device(device).type
    if kind not in ("cuda", "cpu") or (kind == "cuda" and (":" in device or torch.cuda.device_count() < count)):
        there = f"{torch.cuda.device_count()} GPUs" if kind == "cuda" else kind
        raise InputError(
            f"training.processes: {count} on device {device!r} ({there} here); give device cuda with as many GPUs, or cpu"
        )
    said = torch.multiprocessing.get_context("spawn").SimpleQueue()
    refused: list[str] = []

    def listen() -> None:
        while not said.empty():
            what, *entry = said.get()
            refused.append(entry[0]) if what == "refused" else log(*entry)

    with TemporaryDirectory(prefix="figment-") as folder:
        meeting = (count, _free_port(), kind, max(1, torch.get_num_threads() // count))
        started = torch.multiprocessing.start_processes(
            _take_part, (meeting, work, tuple(arguments), said, Path(folder)), count, join=False, start_method="spawn"
        )
        try:
            while not started.join(timeout=0.1):
                listen()
            listen()
        except (ProcessExitedException, ProcessRaisedException) as error:
            listen()
            if refused:
                raise InputError(refused[0]) from None
            if killed := _killed([process.exitcode or 0 for process in started.processes]):
                raise InputError(killed) from error
            raise
        finally:
            for process in started.processes:
                process.kill()
                process.join()
        return torch.load(Path(folder) / "weights.pt", map_location="cpu", weights_only=True)


def _killed(codes: Sequence[int]) -> str:
    """Which process a signal ended, in a sentence; "" if none did. Others fail because of the first."""
    for number in (signal.SIGKILL, signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT):
        if -number in codes:
            who = f"training process {codes.index(-number) + 1} of {len(codes)}"
            return f"{who} was ended by {ending(number, 'training.batch_size or training.processes')}"
    return ""


def _take_part(
    index: int,
    meeting: tuple[int, int, str, int],
    work: Callable[..., dict[str, Tensor]],
    arguments: Sequence[Any],
    said: Any,
    folder: Path,
) -> None:
    """In process ``index``: meet the others, work, and leave the first one's result in ``folder``."""
    count, port, kind, threads = meeting
    place = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in place.items()}

    from accelerate import Accelerator

    accelerator = Accelerator(cpu=kind == "cpu", mixed_precision="no")
    torch.set_num_threads(threads)

    def log(*entry: Any) -> None:
        if accelerator.is_main_process:
            said.put(("logged", *entry))

    try:
        result = work(accelerator, log, *arguments)
        if accelerator.is_main_process:
            torch.save(result, folder / "weights.pt")
    except InputError as error:
        said.put(("refused", str(error)))
        sys.exit(1)
    accelerator.end_training()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
