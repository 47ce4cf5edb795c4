"""The shipped sprites: every object by enough artists, and reality drawn by others than the teachers."""

import io
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from pocket.artwork import NEAR, OBJECTS, REALITY, TEACHERS, Drawing, distance, drop_copies, fit

RECENT = {"broccoli", "carrot", "deer", "giraffe", "laptop", "potted plant", "stop sign", "teddy bear"}  # after 2015


@pytest.fixture(scope="module")
def sprites() -> dict[str, list[tuple[str, Image.Image]]]:
    art = {}
    for artist in (*TEACHERS, *REALITY):
        rows = pq.read_table(Path(f"data/artwork/{artist}.parquet")).to_pylist()
        art[artist] = [(row["object"], Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]
    return art


def test_every_object_has_teachers_and_reality(sprites):
    taught = Counter(name for artist in TEACHERS for name in {name for name, _ in sprites[artist]})
    real = Counter(name for artist in REALITY for name in {name for name, _ in sprites[artist]})
    for name in OBJECTS:
        assert taught[name] >= (3 if name in RECENT else 4), name
        assert real[name] >= (1 if name in RECENT else 3), name


def test_no_sprite_is_empty_or_small(sprites):
    for artist, owns in sprites.items():
        for name, image in owns:
            assert image.mode == "RGBA"
            assert image.size == (64, 64)
            assert sum(a > 128 for a in image.getchannel("A").getdata()) > 300, (artist, name)


def test_reality_shows_no_teachers_drawing(sprites):
    """But for the stop sign, of which every artist draws the same octagon."""
    for artist in REALITY:
        for name, image in sprites[artist]:
            others = [other for t in TEACHERS for shown, other in sprites[t] if shown == name]
            assert name == "stop sign" or min(distance(image, other) for other in others) > NEAR, (artist, name)


def disc(colour: str, box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return fit(image)


def test_a_mirrored_sprite_is_near_and_a_recoloured_one_is_not():
    wide, tall = disc("red", (0, 20, 63, 40)), disc("red", (20, 0, 40, 63))
    assert distance(wide, wide.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 0.01
    assert distance(wide, disc("blue", (0, 20, 63, 40))) > NEAR
    assert distance(wide, tall) > NEAR


def test_copies_of_an_earlier_artist_are_dropped_but_two_of_an_object_stay_in_reality():
    red, tall = disc("red", (0, 20, 63, 40)), disc("green", (20, 0, 40, 63))
    art = {artist: [] for artist in (*TEACHERS, *REALITY)}
    art["noto"] = [Drawing("dog", "d", "dog", red), Drawing("cat", "c", "cat", red)]
    art["fluent"] = [Drawing("dog", "d", "dog", red), Drawing("dog", "e", "other", tall)]
    art["twemoji"] = [Drawing("dog", "d", "dog", red), Drawing("cat", "c", "cat", red)]
    art["emojitwo"] = [Drawing("dog", "d", "dog", disc("blue", (0, 20, 63, 40))), Drawing("cat", "c", "cat", red)]
    art["noto_v1"] = [Drawing("dog", "d", "dog", disc("yellow", (10, 0, 50, 63)))]
    kept = {artist: [(own.object, own.name) for own in owns] for artist, owns in drop_copies(art).items() if owns}
    assert kept == {
        "noto": [("dog", "dog"), ("cat", "cat")],
        "fluent": [("dog", "other")],
        "twemoji": [("cat", "cat")],
        "emojitwo": [("dog", "dog"), ("cat", "cat")],
        "noto_v1": [("dog", "dog")],
    }
