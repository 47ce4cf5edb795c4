"""The pocket world's artwork: openly licensed emoji of many artists, rasterised once into small tables of RGBA sprites.

``TEACHERS`` teach the pocket models; ``REALITY`` are other artists, whom no generator and no CLIP of the pocket world
ever sees: their drawings are the "real photographs". The tables are inputs of the project (``data/artwork``, tracked by
``data.dvc``), so this module runs only when the vocabulary changes:

    mkdir icons && cd icons && npm pack $(python -m pocket.artwork --packages) && cd ..
    python -m pocket.artwork icons --out data/artwork     # writes a table an artist; prints what each drew, and what was dropped
"""

import argparse
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

SPRITE_SIZE = 64
NEAR = 0.145  # two artists' drawings at most this far apart are one drawing: see ``distance``

# Object (a COCO or CIFAR name) -> its glyphs, each with its Unicode short name. The first glyph is the most typical one.
OBJECTS = {
    "airplane": {"✈": "airplane", "🛩": "small-airplane", "🛫": "airplane-departure", "🛬": "airplane-arrival"},
    "apple": {"🍎": "red-apple", "🍏": "green-apple"},
    "banana": {"🍌": "banana"},
    "bicycle": {"🚲": "bicycle"},
    "bird": {
        "🐦": "bird", "🐤": "baby-chick", "🦜": "parrot", "🦆": "duck", "🐥": "front-facing-baby-chick", "🦅": "eagle",
        "🕊": "dove", "🦉": "owl", "🐧": "penguin", "🐔": "chicken", "🐓": "rooster", "🦢": "swan", "🦩": "flamingo",
        "🪿": "goose", "🦃": "turkey", "🦚": "peacock", "🦤": "dodo", "🐦‍⬛": "black-bird",
    },
    "book": {
        "📕": "closed-book", "📗": "green-book", "📘": "blue-book", "📙": "orange-book", "📖": "open-book",
        "📔": "notebook-with-decorative-cover", "📓": "notebook", "📒": "ledger", "📚": "books",
    },
    "broccoli": {"🥦": "broccoli"},
    "cake": {"🎂": "birthday-cake", "🍰": "shortcake", "🧁": "cupcake"},
    "car": {
        "🚗": "automobile", "🚙": "sport-utility-vehicle", "🚕": "taxi", "🏎": "racing-car", "🚘": "oncoming-automobile",
        "🚖": "oncoming-taxi", "🚓": "police-car",
    },
    "carrot": {"🥕": "carrot"},
    "cat": {"🐈": "cat", "🐱": "cat-face", "🐈‍⬛": "black-cat", "😺": "grinning-cat", "😾": "pouting-cat"},
    "clock": {
        "⏰": "alarm-clock", "🕰": "mantelpiece-clock", "🕓": "four-oclock", "⏱": "stopwatch", "⏲": "timer-clock",
    },
    "deer": {"🦌": "deer", "🫎": "moose"},
    "dog": {"🐕": "dog", "🐶": "dog-face", "🐩": "poodle", "🦮": "guide-dog", "🐕‍🦺": "service-dog"},
    "donut": {"🍩": "doughnut"},
    "elephant": {"🐘": "elephant"},
    "frog": {"🐸": "frog"},
    "giraffe": {"🦒": "giraffe"},
    "horse": {"🐎": "horse", "🐴": "horse-face", "🎠": "carousel-horse"},
    "laptop": {"💻": "laptop"},
    "pizza": {"🍕": "pizza"},
    "potted plant": {"🪴": "potted-plant"},
    "scissors": {"✂": "scissors"},
    "sheep": {"🐑": "ewe", "🐏": "ram"},
    "ship": {
        "🚢": "ship", "⛴": "ferry", "🛳": "passenger-ship", "⛵": "sailboat", "🛥": "motor-boat", "🚤": "speedboat",
    },
    "stop sign": {"🛑": "stop-sign"},
    "teddy bear": {"🧸": "teddy-bear"},
    "traffic light": {"🚦": "vertical-traffic-light", "🚥": "horizontal-traffic-light"},
    "train": {
        "🚂": "locomotive", "🚆": "train", "🚄": "high-speed-train", "🚅": "bullet-train", "🚇": "metro", "🚊": "tram",
        "🚈": "light-rail", "🚃": "railway-car",
    },
    "truck": {"🚚": "delivery-truck", "🚛": "articulated-lorry", "🛻": "pickup-truck", "🚒": "fire-engine"},
    "umbrella": {
        "☂": "umbrella", "☔": "umbrella-with-rain-drops", "⛱": "umbrella-on-ground", "🌂": "closed-umbrella",
    },
    "wine glass": {"🍷": "wine-glass"},
}  # fmt: skip


@dataclass(frozen=True)
class Artist:
    """An icon set of npm, and what it calls a glyph where Unicode's short name does not find it. ``None`` leaves out a
    drawing that shows something else (a desktop computer, a flag) or stands on a filled square (no silhouette)."""

    package: str
    version: str
    names: dict[str, str | None] = field(default_factory=dict)


TEACHERS = {
    "noto": Artist("@iconify-json/noto", "1.2.9"),
    "fluent": Artist("@iconify-json/fluent-emoji", "1.2.7", {"black-bird": "blackbird"}),
    "openmoji": Artist("@iconify-json/openmoji", "1.2.29"),
    "emojione": Artist("@iconify-json/emojione-v1", "1.2.3", {"laptop": None, "ship": None, "carousel-horse": None}),
    "fxemoji": Artist(
        "@iconify-json/fxemoji",
        "1.2.2",
        {
            "front-facing-baby-chick": "frontfacingchick",
            "dove": "doveofpeace",
            "notebook-with-decorative-cover": "notebookdecorativecover",
            "sport-utility-vehicle": "recreationalvehicle",
            "cat": "catside",
            "cat-face": "cat",
            "mantelpiece-clock": "manltepiececlock",
            "four-oclock": "clock4oclock",
            "dog": "dogside",
            "dog-face": "dog",
            "laptop": None,
            "ship": None,
            "sailboat": None,
            "carousel-horse": None,
            "pizza": "sliceofpizza",
            "scissors": "blackscissors",
            "ewe": "sheep",
            "locomotive": "steamlocomotive",
            "bullet-train": "highspeedtrainbulletnose",
            "umbrella": None,
            "closed-umbrella": "umbrella",
        },
    ),
}
REALITY = {
    "twemoji": Artist("@iconify-json/twemoji", "1.2.5"),
    "emojitwo": Artist("@iconify-json/emojione", "1.2.3"),
    "noto_v1": Artist("@iconify-json/noto-v1", "1.2.5", {"laptop": None}),
    "streamline": Artist(
        "@iconify-json/streamline-emojis", "1.2.4", {"turkey": None, "ship": None, "carousel-horse": None}
    ),
}


def fit(image: Image.Image, size: int = SPRITE_SIZE) -> Image.Image:
    """Crop an RGBA image to what is opaque, centre it on a square and scale that to ``size`` pixels."""
    image = image.convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox())
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    # Premultiplied resampling, so that the colour of transparent pixels does not bleed into the rim.
    return square.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")


def draw(body: str, width: float, height: float) -> Image.Image:
    """An icon's SVG body as an RGBA sprite."""
    import resvg_py  # a development tool only: the shipped tables need no SVG renderer

    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="256" height="256">{body}</svg>'
    )
    return fit(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))))


def read_icons(package: Path) -> dict:
    """icons.json of a package, a .tgz as ``npm pack`` leaves it."""
    with tarfile.open(package) as archive:
        member = archive.extractfile("package/icons.json")
        if member is None:
            raise ValueError(f"{package}: no icons.json in it")
        return json.load(member)


def find(icons: dict, artist: Artist, name: str) -> list[str]:
    """The names of an artist's drawings of one glyph: one, none, or several numbered ones."""
    drawn, alias = icons["icons"], {k: v["parent"] for k, v in icons.get("aliases", {}).items()}
    called = artist.names.get(name, name)
    if called is None:
        return []
    for candidate in (called, f"{called}-face", called.replace("-", "")):
        candidate = alias.get(candidate, candidate)
        if candidate in drawn:
            return [candidate]
    return [numbered for i in range(1, 10) if (numbered := f"{called}-{i}") in drawn]


@dataclass
class Drawing:
    """One sprite: what it shows, the glyph, the artist's name of it, and the RGBA image."""

    object: str
    glyph: str
    name: str
    image: Image.Image


def drawings(package: Path, artist: Artist) -> Iterator[Drawing]:
    icons = read_icons(package)
    for object_name, glyphs in OBJECTS.items():
        for glyph, unicode_name in glyphs.items():
            for name in find(icons, artist, unicode_name):
                icon = icons["icons"][name]
                size = [icon.get(side, icons.get(side, 16)) for side in ("width", "height")]
                yield Drawing(object_name, glyph, name, draw(icon["body"], *size))


def distance(a: Image.Image, b: Image.Image) -> float:
    """Root of the mean squared difference of two sprites, mirrored or not: premultiplied RGBA in [0, 1] at half their size."""
    x, y = (np.asarray(s.convert("RGBa").resize((32, 32), Image.Resampling.BOX), float) / 255 for s in (a, b))
    return min(float(np.sqrt(np.square(x - other).mean())) for other in (y, y[:, ::-1]))


def drop_copies(art: dict[str, list[Drawing]]) -> dict[str, list[Drawing]]:
    """Leave out, artist by artist, what is nearly a drawing of an earlier artist (some glyphs leave no choice: a stop sign,
    a clock face). Of an object of REALITY the two farthest from all earlier ones stay in any case."""
    nearness = []
    for i, owns in enumerate(art.values()):
        earlier = [other for before in list(art.values())[:i] for other in before]
        for own in owns:
            nearest = [distance(own.image, other.image) for other in earlier if other.object == own.object]
            nearness.append((min(nearest, default=1.0), own))
    real = {id(own) for artist in REALITY for own in art[artist]}
    kept = {id(own) for gap, own in nearness if gap > NEAR}
    for name in OBJECTS:
        far = sorted((d for d in nearness if id(d[1]) in real and d[1].object == name), key=lambda d: d[0])
        kept |= {id(own) for _, own in far[-2:]}
    return {artist: [own for own in owns if id(own) in kept] for artist, owns in art.items()}


def sheet(art: list[Drawing], columns: int = 16) -> Image.Image:
    """All sprites of an artist on white."""
    cell = SPRITE_SIZE + 8
    page = Image.new("RGB", (columns * cell, -(-len(art) // columns) * cell), "white")
    for i, drawing in enumerate(art):
        page.paste(drawing.image, (i % columns * cell + 4, i // columns * cell + 4), drawing.image)
    return page


def extract(folder: Path, out: Path, sheets: Path | None = None) -> None:
    """Write one Parquet table per artist: ``object``, ``glyph``, ``image {bytes, path}`` (PNG, RGBA, 64 px)."""
    artists = {**TEACHERS, **REALITY}
    art = {name: list(drawings(folder / archive(artist), artist)) for name, artist in artists.items()}
    kept = drop_copies(art)
    out.mkdir(parents=True, exist_ok=True)
    for artist, owns in kept.items():
        rows = []
        for own in owns:
            buffer = io.BytesIO()
            own.image.save(buffer, "PNG", optimize=True)
            image = {"bytes": buffer.getvalue(), "path": f"{own.name}.png"}
            rows.append({"object": own.object, "glyph": own.glyph, "image": image})
        pq.write_table(pa.Table.from_pylist(rows), out / f"{artist}.parquet")
        names = [own.name for own in owns]
        print(
            f"{artist}: {len(owns)} drawings; near copies left out:",
            [d.name for d in art[artist] if d.name not in names],
        )
        if sheets:
            sheets.mkdir(parents=True, exist_ok=True)
            sheet(owns).save(sheets / f"{artist}.png")
    for name in OBJECTS:
        drawn = {artist: sum(own.object == name for own in owns) for artist, owns in kept.items()}
        taught, real = (sum(drawn[artist] > 0 for artist in side) for side in (TEACHERS, REALITY))
        print(f"{name}: {taught} teachers, {real} artists of reality;", " ".join(f"{k} {v}" for k, v in drawn.items()))


def archive(artist: Artist) -> str:
    """The file that ``npm pack`` writes."""
    return f"{artist.package.removeprefix('@').replace('/', '-')}-{artist.version}.tgz"


def load_sprites(path: Path, objects: list[str]) -> tuple[Tensor, Tensor]:
    """Read one art set: sprites (N, 4, 64, 64) premultiplied RGBA in [0, 1], object ids (N,) into ``objects``."""
    sprites, ids = [], []
    for row in pq.read_table(path).to_pylist():
        if row["object"] in objects:
            rgba = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGBA")
            pixels = torch.from_numpy(np.array(rgba)).permute(2, 0, 1).float() / 255
            sprites.append(torch.cat([pixels[:3] * pixels[3:], pixels[3:]]))
            ids.append(objects.index(row["object"]))
    return torch.stack(sprites), torch.tensor(ids)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where npm pack put the packages")
    parser.add_argument("--out", type=Path, default=Path("data/artwork"))
    parser.add_argument("--sheets", type=Path, help="a folder for contact sheets, one an artist")
    parser.add_argument("--packages", action="store_true", help="print what npm pack has to fetch")
    options = parser.parse_args()
    if options.packages:
        print(*(f"{artist.package}@{artist.version}" for artist in [*TEACHERS.values(), *REALITY.values()]))
    elif options.folder is None:
        parser.error("name the folder of the packages")
    else:
        extract(options.folder, options.out, options.sheets)
