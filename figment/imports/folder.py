"""``folder``: one folder a class, images below it at any depth; a folder's name is the class's."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from figment.datasets import folders
from figment.errors import InputError
from figment.imports.contract import Found, Importer, Options
from figment.imports.images import Item, write_images
from figment.reading import name_of


def _items(source: Path) -> Iterator[Item]:
    for chunk in folders.chunks(source, None):
        for row, name in enumerate(chunk.names):
            ((where, data),) = chunk.read([row])
            yield Item(where, data, (name,))


def _read(source: Path, folder: Path, options: Options) -> Found:
    if not source.is_dir():
        raise InputError(f"{name_of(source)}: is no folder; give one that holds a folder for each class")
    return write_images(partial(_items, source), folder, "folder", options.name)


IMPORTER = Importer("images", "a folder with one folder a class", _read, frozenset({"name"}))
