"""How a command ends: with its result, or with one sentence and an exit code; after a signal, with the way to resume."""

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from figment.errors import InputError, ending
from figment.ops import state

HEEDED = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP, as when a terminal closes",
}
LOADER = re.compile(r"DataLoader worker \(.*\) (?:is killed by signal: ([^.]*)|exited unexpectedly)")  # torch's words
RESUME = "run the same command again to resume"


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int):
        super().__init__(HEEDED[signal.Signals(number)])
        self.number = number


def ended(work: Callable[[], object]) -> int:
    """Do the work and return the exit code: 0; 2 after one sentence on what the user can mend; 128 and the signal's number if
    one ended it. A second signal ends the process, and those that it started, at once."""
    with signals_heeded() as received:
        try:
            work()
        except InputError as error:
            if not received:
                say(f"error: {error}")
                return 2
        except KeyboardInterrupt as stop:
            received.append(stop.number if isinstance(stop, Stopped) else signal.SIGINT)
        except Exception as error:
            known = explain(error)
            if known and not received:
                say(f"error: {known}")
                return 2
            if not received:  # else what was under way failed because of the signal
                raise
        if received:
            say(f"\n{HEEDED[signal.Signals(received[0])]}; {RESUME}")
            return 128 + received[0]
    return 0


@contextlib.contextmanager
def signals_heeded() -> Iterator[list[int]]:
    """SIGINT, SIGTERM and SIGHUP raise Stopped in the main thread; gives the numbers of those received. A signal that whoever
    started the process chose to ignore (nohup) stays ignored."""
    received: list[int] = []
    before = {}

    def heed(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise Stopped(number)
        say(f"\n{HEEDED[signal.Signals(number)]} again: ended at once; {RESUME}")
        end_children()
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in HEEDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, heed)
    try:
        yield received
    finally:
        if not received:  # else the handlers stay until the process is gone, which threads may delay
            for number, handler in before.items():
                signal.signal(number, handler)


def explain(error: BaseException) -> InputError | None:
    """The sentence for a fault of the machine that an error goes back to: its disk, a database, or a process that reads data and
    was ended from outside; else nothing."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, RuntimeError) and (found := LOADER.search(str(link))):
            number = next((s for s in signal.Signals if found[1] and signal.strsignal(s) == found[1]), signal.SIGKILL)
            return InputError(f"a process that reads training data was ended by {ending(number, 'training.workers')}")
        link = link.__cause__ or link.__context__
    return state.explain(error)


def end_children() -> None:
    """Kill all processes that this one started."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


def say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        print(sentence, file=sys.stderr, flush=True)
