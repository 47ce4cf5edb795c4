"""Commands in ``.venv/bin`` name the Python of the place where they were installed: after a clone was moved or copied they are
set to its new place, since they would run, or miss, the old one's. A ``.venv`` that is a link to another one is left alone.
"""

import contextlib
import os
import re
from pathlib import Path

from figment.ops.environment import ROOT

LARGE = 1 << 20  # bytes; such a file is a program


def relocate(root: Path = ROOT) -> None:
    venv = root / ".venv"
    script = venv / "bin" / "activate"
    if venv.is_symlink() or not script.is_file():
        return
    found = re.search(r"^(?:export )?VIRTUAL_ENV=['\"]?(/.*?)['\"]?$", script.read_text(encoding="utf-8"), re.M)
    old, new = Path(found[1]) if found else venv, venv.absolute()
    if old == new:
        return
    clone = re.compile(rf"{re.escape(str(old.parent))}(?![\w.-])")
    named = [
        *venv.glob("lib/*/site-packages/*figment*.pth"),
        *venv.glob("lib/*/site-packages/figment-*/direct_url.json"),
    ]
    for file in (*named, *sorted((venv / "bin").iterdir(), key=lambda file: file == script)):  # activate last
        if file.is_file() and not file.is_symlink() and file.stat().st_size < LARGE:
            with contextlib.suppress(UnicodeDecodeError):
                _replace(file, clone.sub(lambda _: str(new.parent), file.read_text(encoding="utf-8")))


def _replace(file: Path, text: str) -> None:
    if text != file.read_text(encoding="utf-8"):
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.chmod(partial, file.stat().st_mode)
        partial.replace(file)


if __name__ == "__main__":
    relocate()
