"""FOCUS (Kattakinda and Feizi 2022): ten classes in ten settings, in folders CLASS-SETTING, with annotations.db beside."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from figment.datasets.folders import CHUNK, Files
from figment.errors import InputError
from figment.image_files import files_below, warn_of_passed_over
from figment.text import reason_of


def chunks(root: Path) -> list[Files]:
    """All images in sorted order. The folder names the class, unless annotations.db, where there is one, says that a
    image without people shows another (the search that filled the folders was not always right)."""
    warn_of_passed_over(root)
    corrected = annotated_classes(root / "annotations.db")
    found = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and "-" in p.name):
        files = files_below(folder)
        for first in range(0, len(files), CHUNK):
            part = files[first : first + CHUNK]
            named = folder.name.rpartition("-")[0]
            found.append(Files(part, [corrected.get(p.relative_to(root).as_posix(), named) for p in part]))
    if not found:
        raise InputError(f"{root}: holds no folder CLASS-SETTING with images, such as car-snow; unpack FOCUS there")
    return found


def annotated_classes(database: Path) -> dict[str, str]:
    """File below the data's folder -> class, of the images without people; {} if there is no database."""
    if not os.path.isfile(database):
        return {}
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT file_name, category FROM annotations WHERE humans = 'no'").fetchall()
    except sqlite3.Error as error:
        raise InputError(
            f"{database}: not FOCUS's annotations ({reason_of(error)}); restore it, or move it away"
        ) from error
    return {str(name).lstrip("./"): str(category) for name, category in rows}
