"""The one exception for what a user gave and can mend."""

import signal


class InputError(ValueError):
    """One clear sentence: the file, row or field at fault, what was found there, and what would be right."""


def ending(number: int, smaller: str) -> str:
    """The signal that ended a process, its likely cause, and what to do: ``smaller`` names the settings that take memory."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGKILL:
        return f"{name}, most likely because memory ran out; lower {smaller}, then run the same command again to resume"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
        return f"{name}: a crash, as of a driver or when shared memory is full; run the same command again to resume"
    return f"{name}; run the same command again to resume"
