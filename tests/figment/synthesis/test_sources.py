"""Source images: as large as they are needed in memory, however large the photos are."""

import gc

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from figment.adaptation.adapted import given_of
from figment.datasets.few_shot import photo_chunks
from figment.datasets.listing import select
from figment.images import decode, encode
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.recipes.config import FewShot
from figment.synthesis import sources as module
from figment.synthesis.sources import Sources, keep_photos

SIDE = 300


@pytest.fixture
def photos() -> list[bytes]:
    random = np.random.default_rng(0)
    return [encode(random.integers(0, 256, (SIDE, SIDE + 1, 3), dtype=np.uint8), "png") for _ in range(3)]


def test_a_photo_is_decoded_once_and_only_its_small_image_is_kept(tmp_path, photos, monkeypatch):
    decoded = []
    monkeypatch.setattr(module, "decode", lambda data, where: (decoded.append(where), decode(data, where))[1])
    sources = Sources(tmp_path)
    hashes = [sources.keep(photo) for photo in photos]
    for _ in range(2):
        for image_hash, photo in zip(hashes, photos, strict=True):
            small = decode(photo, "photo").resize((32, 40), Image.Resampling.BICUBIC)
            assert np.array_equal(sources.image(image_hash, 32, 40), small)
    assert len(decoded) == len(photos)
    gc.collect()
    whole = [held for held in gc.get_objects() if isinstance(held, Image.Image) and SIDE in held.size]
    assert not whole


def test_two_sizes_of_one_photo_are_two_images(tmp_path, photos):
    sources = Sources(tmp_path)
    image_hash = sources.keep(photos[0])
    assert [sources.image(image_hash, side, 8).size for side in (16, 8, 16)] == [(16, 8), (8, 8), (16, 8)]
    assert sources.read(image_hash).size == (SIDE + 1, SIDE)


def test_every_photo_finds_its_mask_by_its_place_and_name_and_a_plan_names_it(tmp_path, pocket_config):
    for name, side in (("cat/1", 8), ("dog/deep/2", 9)):
        for folder, suffix, mode in (("shots", "jpg", "RGB"), ("masks", "png", "1")):
            file = tmp_path / folder / f"{name}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new(mode, (side, 8))
            image.paste(1 if mode == "1" else (255, 0, 0), (0, 0, 3, 4))
            image.save(file)
    space = LabelSpace.of(["cat", "dog"])
    listing = select(photo_chunks("folders", tmp_path, "shots"), space, None, "photos")
    path = keep_photos(listing, space, tmp_path, (tmp_path / "shots", tmp_path / "masks"))
    sources = Sources(tmp_path / "sources")
    for row, side in zip(pq.read_table(path).to_pylist(), (8, 9), strict=True):
        white = np.asarray(sources.mask(row["object"], side, 8)) == 255
        assert white[:4, :3].all()
        assert white.sum() == 12
        assert np.array_equal(np.asarray(sources.mask(row["background"], side, 8)), 255 * ~white)
    assert np.asarray(sources.mask(row["object"], 3, 4)).shape == (4, 3)

    data = {"source": "folders", "root": str(tmp_path), "train": "shots", "masks": "masks", "tests": {"test": "others"}}
    methods = {"inside": {"images": 1, "mask": True}, "outside": {"images": 1, "mask": True, "invert": True}}
    fields = {"classes": ["cat", "dog"], "shots": 1, "methods": methods, "output": str(tmp_path / "out")}
    recipe = FewShot(data=data, generator=pocket_config, **fields)
    recipe.check()
    planned = recipe.planning.planner.rows(given_of(space, recipe.planning, photos=FileRef.of(path)), recipe.planning)
    kept = pq.read_table(path).to_pylist()
    masks = {(row["image"], row[side]) for row in kept for side in ("object", "background")}
    assert {(row.initial_image, row.mask) for row in planned} == masks
