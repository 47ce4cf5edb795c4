"""The images that image-to-image rows start from: files named by the SHA-256 of their content."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from figment import store
from figment.datasets.few_shot import mask_files, photo_files
from figment.datasets.listing import Listing
from figment.errors import InputError
from figment.files import atomic, sha256_file
from figment.image_files import BYTES
from figment.images import decode, encode
from figment.labels import LabelSpace
from figment.reading import name_of, read_bytes


def keep_photos(listing: Listing, space: LabelSpace, folder: Path, masks: tuple[Path, Path] | None = None) -> Path:
    """photos.parquet in ``folder``, a row a photo: its class (``label``), ``where`` it came from, and its ``image``, the SHA-256
    of its file, which is put into sources/ there. With ``masks``, the folders of the photos and of their masks, also the masks
    that are white on its ``object`` and on its ``background``."""
    sources, rows, path = Sources(folder / "sources"), [], folder / "photos.parquet"
    files = mask_files(listing, *masks) if masks else []
    for i, (label, (where, content)) in enumerate(zip(listing.labels.tolist(), photo_files(listing), strict=True)):
        size = decode(content, where).size  # a photo that cannot be read is named now, not when images are made of it
        rows.append({"label": space.names[label], "where": where, "image": sources.keep(content)})
        if masks:
            shown = read_mask(files[i], size)
            rows[-1] |= {
                "object": sources.keep(encode(shown, "png")),
                "background": sources.keep(encode(~shown, "png")),
            }
    with atomic(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return path


def read_mask(file: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8, 255 where the mask of a photo of this (width, height) is white, else 0. Raises InputError for one that has
    another size, or shows no object."""
    name = name_of(file)
    mask = decode(read_bytes(file, "a mask", BYTES, "a PNG that is white on the object of the photo of its name"), name)
    if mask.size != size:
        raise InputError(
            f"{name}: a mask of {mask.width} x {mask.height} pixels for a photo of {size[0]} x {size[1]}; save it at the photo's "
            "size, upright"
        )
    white = np.asarray(mask.convert("L")) >= 128
    if white.all() or not white.any():
        raise InputError(
            f"{name}: all {'white' if white.all() else 'black'}; a mask is white on the object and black elsewhere"
        )
    return np.repeat(white[..., None], 3, axis=2).astype(np.uint8) * 255


class Sources:
    """A folder of source images. ``add`` and ``keep`` put an image in and return the hash that a row names it by.
    What it keeps in memory is the images as they are rendered from: a photo as it was taken is a hundred times larger."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.image = lru_cache(maxsize=256)(self._image)
        self.mask = lru_cache(maxsize=256)(self._mask)

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

    def _mask(self, image_hash: str, width: int, height: int) -> Image.Image:
        """The mask squashed so, black or white."""
        return self.read(image_hash).convert("L").resize((width, height), Image.Resampling.NEAREST)

    def read(self, image_hash: str) -> Image.Image:
        """The image at its own size. Raises InputError if its file is not there or is not what it was."""
        file = self.folder / image_hash
        store.fetch(file)
        if not file.is_file() or sha256_file(file) != image_hash:
            found = "has other content" if file.is_file() else "does not exist"
            raise InputError(f"initial image {file}: {found}; put back the image that the plan was made from")
        return decode(file.read_bytes(), str(file))
