"""How far long work is: a bar on a terminal; in a file or a log a line at most every ten seconds, and none of short work."""

import sys
import time
from typing import Any

from tqdm import tqdm

EVERY = 10.0  # seconds
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left{postfix}"


class Progress(tqdm):
    """A progress bar that is gone when the work is done. It goes to the terminal itself, since ZenML keeps what is printed, and
    would keep each of its states."""

    def __init__(self, total: int, desc: str, unit: str, initial: int = 0, shown: bool = True):
        self.lines = not sys.stderr.isatty()
        self.told = time.monotonic()
        file: Any = sys.stderr if self.lines else open(sys.stderr.fileno(), "w", closefd=False)  # noqa: SIM115
        form = {"bar_format": LINE} if self.lines else {}
        super().__init__(
            total=total, initial=initial, desc=desc, unit=unit, file=file, leave=False, disable=not shown, **form
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        if not self.lines:
            return super().display(msg, pos)
        if msg is None and time.monotonic() >= self.told + EVERY:
            self.told = time.monotonic()
            print(self, file=sys.stderr, flush=True)
        return False
