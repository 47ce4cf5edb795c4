"""``folder``: one folder a class, images below it at any depth; a folder's name is the class's."""

from collections.abc import Iterator
from pathlib import Path

from figment.datasets import folders
from figment.errors import InputError
from figment.imports.contract import Options
from figment.imports.images import Item, images_importer
from figment.reading import name_of


def _items(source: Path, _: Options) -> Iterator[Item]:
    if not source.is_dir():
        raise InputError(f"{name_of(source)}: is no folder; give one that holds a folder for each class")
    for chunk in folders.chunks(source, None):
        for row, name in enumerate(chunk.names):
            ((where, data),) = chunk.read([row])
            yield Item(where, data, (name,))


IMPORTER = images_importer("folder", "a folder with one folder a class", _items)
