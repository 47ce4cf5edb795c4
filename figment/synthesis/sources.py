"""The images that image-to-image rows start from: files named by the SHA-256 of their content."""

import hashlib
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from figment import store
from figment.datasets.few_shot import photo_files
from figment.datasets.listing import Listing
from figment.errors import InputError
from figment.files import atomic, sha256_file
from figment.images import decode
from figment.labels import LabelSpace


def keep_photos(listing: Listing, space: LabelSpace, folder: Path) -> Path:
    """photos.parquet in ``folder``, a row a photo: its class (``label``), ``where`` it came from, and its ``image``, the SHA-256
    of its file, which is put into sources/ there."""
    sources, rows, path = Sources(folder / "sources"), [], folder / "photos.parquet"
    for label, (where, content) in zip(listing.labels.tolist(), photo_files(listing), strict=True):
        decode(content, where)  # a photo that cannot be read is named now, not when images are made of it
        rows.append({"label": space.names[label], "where": where, "image": sources.keep(content)})
    with atomic(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return path


class Sources:
    """A folder of source images. ``add`` and ``keep`` put an image in and return the hash that a row names it by.
    What it keeps in memory is the images as they are rendered from: a photo as it was taken is a hundred times larger."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.image = lru_cache(maxsize=256)(self._image)

    def add(self, image: Path) -> str:
        return self.keep(image.read_bytes())

    def keep(self, data: bytes) -> str:
        image_hash = hashlib.sha256(data).hexdigest()
        if not store.exists(self.folder / image_hash):
            with atomic(self.folder / image_hash) as partial:
                partial.write_bytes(data)
        return image_hash

    def _image(self, image_hash: str, width: int, height: int) -> Image.Image:
        """The whole image squashed to ``width`` x ``height``, as DA-Fusion and DIAGen do."""
        return self.read(image_hash).resize((width, height), Image.Resampling.BICUBIC)

    def read(self, image_hash: str) -> Image.Image:
        """The image at its own size. Raises InputError if its file is not there or is not what it was."""
        file = self.folder / image_hash
        store.fetch(file)
        if not file.is_file() or sha256_file(file) != image_hash:
            found = "has other content" if file.is_file() else "does not exist"
            raise InputError(f"initial image {file}: {found}; put back the image that the plan was made from")
        return decode(file.read_bytes(), str(file))
