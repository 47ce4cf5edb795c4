"""One place that checks a name against all systems it goes to: MLflow, file systems, tables, and Figment's own reserved names."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from figment.errors import InputError

# MLflow takes letters, digits, _ - . and spaces in the names of metrics (and / : as separators), and no / or : in those of
# registered models, where Figment itself reads NAME@ALIAS. Folders must not begin with a dot or end with one.
MODEL = re.compile(r"\w(?:[\w .+-]*[\w+-])?")
METRIC = re.compile(r"\w(?:[\w .-]*[\w-])?")
MAX_LENGTH = 60
MAX_BYTES = 200  # of a file's name; file systems take 255
# All but letters, digits and a few signs; a dot, space or dash in front, a dot or space at the end, which Windows drops.
UNSAFE = re.compile(r"[^\w .,()'+-]|^[. -]|[. ]$")
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # file names that Windows reserves
RESERVED = ("chance", "CLIP zero-shot", "real", "rounds", "random extra")  # rows of the results table


def check_registered_name(name: str, where: str = "register_as") -> str:
    """``name`` if MLflow's registry takes it as a model's name and ``figment why NAME@ALIAS`` can read it; else InputError."""
    return _checked(name, where, MODEL, ", + ")


def check_part_name(name: str, where: str) -> str:
    """``name`` if it can name a folder, an MLflow metric and a row of a table; else InputError."""
    return _checked(name, where, METRIC, " ")


def check_set_names(names: Iterable[str], where: str, taken: Iterable[str] = RESERVED) -> None:
    """Raise InputError if a name cannot name a folder, a metric and a row, or if two are one folder or one row, or if one is
    that of a row of its own (``taken``)."""
    found: dict[str, str] = {folder_key(name): name for name in taken}
    reserved = set(found)
    for name in names:
        check_part_name(name, where)
        key = folder_key(name)
        if key in reserved:
            raise InputError(f"{where}: {name!r} is a name of Figment's own results; give another name")
        if key in found:
            twice = "is there twice" if found[key] == name else f"and {found[key]!r} would share a folder"
            raise InputError(f"{where}: {name!r} {twice}; give each a name of its own")
        found[key] = name


def folder_key(name: str) -> str:
    """What two names have in common if they would be the same folder on some system."""
    return unicodedata.normalize("NFKC", name).casefold().replace(" ", "_")


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A folder's name for each of ``names``, the name itself where every file system takes it. Otherwise what is unsafe is
    written as in a URL (``a/b`` is ``a%2Fb``), what is longer than ``MAX_BYTES`` is cut, and what would be the same folder on
    some system as one before has a part of its hash at its end."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        safe = UNSAFE.sub(lambda match: _escaped(match[0]), name)
        if DEVICES.fullmatch(safe):
            safe = _escaped(safe[0]) + safe[1:]
        if not safe or len(safe.encode()) > MAX_BYTES or folder_key(safe) in taken:
            cut = safe.encode()[: MAX_BYTES - 17].decode(errors="ignore")
            safe = f"{cut}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        taken.add(folder_key(safe))
        found[name] = safe
    return found


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _checked(name: str, where: str, allowed: re.Pattern[str], more: str) -> str:
    right = f"use letters, digits, spaces, _, -{more}and ., at most {MAX_LENGTH} characters"
    if len(name) > MAX_LENGTH:
        raise InputError(f"{where}: {name[:20]!r}... has {len(name)} characters; {right}")
    if not allowed.fullmatch(name):
        raise InputError(f"{where}: {name!r} cannot name a folder and an entry in MLflow; {right}")
    if DEVICES.fullmatch(name):
        raise InputError(f"{where}: {name!r} is a device's name on Windows; give another name")
    return name
