"""The pocket world's artwork: openly licensed emoji, rasterised once into small tables of RGBA sprites.

Noto and Fluent teach the pocket models; Twemoji, another artists' set, is kept apart as the "real photographs".
The tables are inputs of the project (``data/artwork``, tracked by ``data.dvc``), so this module runs only when the
vocabulary changes:

    apt-get download fonts-noto-color-emoji && npm pack fluentui-emoji@1.3.0 @twemoji/svg@15.0.0   # then unpack them
    python -m pocket.artwork --noto NotoColorEmoji.ttf --fluent icons/modern --twemoji package --out data/artwork
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SPRITE_SIZE = 64

# Object (a COCO or CIFAR name) -> its glyphs, each with Fluent's file name. The first glyph is the most typical one.
OBJECTS = {
    "airplane": {"✈": "airplane", "🛩": "small-airplane"},
    "apple": {"🍎": "red-apple", "🍏": "green-apple"},
    "banana": {"🍌": "banana"},
    "bicycle": {"🚲": "bicycle"},
    "bird": {"🐦": "bird", "🐤": "baby-chick", "🦜": "parrot", "🦆": "duck"},
    "book": {"📕": "closed-book", "📗": "green-book", "📘": "blue-book", "📙": "orange-book"},
    "broccoli": {"🥦": "broccoli"},
    "cake": {"🎂": "birthday-cake", "🍰": "shortcake"},
    "car": {"🚗": "automobile", "🚙": "sport-utility-vehicle", "🚕": "taxi"},
    "carrot": {"🥕": "carrot"},
    "cat": {"🐈": "cat", "🐱": "cat-face", "🐈‍⬛": "black-cat"},
    "clock": {"⏰": "alarm-clock", "🕰": "mantelpiece-clock", "🕓": "four-oclock"},
    "deer": {"🦌": "deer"},
    "dog": {"🐕": "dog", "🐶": "dog-face", "🐩": "poodle"},
    "donut": {"🍩": "doughnut"},
    "elephant": {"🐘": "elephant"},
    "frog": {"🐸": "frog"},
    "giraffe": {"🦒": "giraffe"},
    "horse": {"🐎": "horse", "🐴": "horse-face"},
    "laptop": {"💻": "laptop"},
    "pizza": {"🍕": "pizza"},
    "potted plant": {"🪴": "potted-plant"},
    "scissors": {"✂": "scissors"},
    "sheep": {"🐑": "ewe", "🐏": "ram"},
    "ship": {"🚢": "ship", "⛴": "ferry", "🛳": "passenger-ship"},
    "stop sign": {"🛑": "stop-sign"},
    "teddy bear": {"🧸": "teddy-bear"},
    "traffic light": {"🚦": "vertical-traffic-light", "🚥": "horizontal-traffic-light"},
    "train": {"🚂": "locomotive", "🚆": "train", "🚄": "high-speed-train"},
    "truck": {"🚚": "delivery-truck", "🚛": "articulated-lorry"},
    "umbrella": {"☂": "umbrella", "☔": "umbrella-with-rain-drops", "⛱": "umbrella-on-ground"},
    "wine glass": {"🍷": "wine-glass"},
}


def fit(image: Image.Image, size: int = SPRITE_SIZE) -> Image.Image:
    """Crop an RGBA picture to what is opaque, centre it on a square and scale that to ``size`` pixels."""
    image = image.convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox())
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    # Premultiplied resampling, so that the colour of transparent pixels does not bleed into the rim.
    return square.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")


def noto_glyph(font: ImageFont.FreeTypeFont, glyph: str) -> Image.Image:
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((8, 8), glyph, font=font, embedded_color=True)
    return canvas


def svg(path: Path) -> Image.Image:
    import resvg_py  # a development tool only: the shipped tables need no SVG renderer

    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=256, height=256))))


def extract(noto: Path, fluent: Path, twemoji: Path, out: Path) -> None:
    """Write one Parquet table per art set: ``object``, ``glyph``, ``image {bytes, path}`` (PNG, RGBA, 64 px)."""
    font = ImageFont.truetype(str(noto), size=109)
    sources = {
        "noto": lambda glyph, name: noto_glyph(font, glyph),
        "fluent": lambda glyph, name: svg(fluent / f"{name}.svg"),
        "twemoji": lambda glyph, name: svg(twemoji / f"{'-'.join(f'{ord(c):x}' for c in glyph)}.svg"),
    }
    out.mkdir(parents=True, exist_ok=True)
    for art, render in sources.items():
        rows = []
        for object_name, glyphs in OBJECTS.items():
            for glyph, name in glyphs.items():
                buffer = io.BytesIO()
                fit(render(glyph, name)).save(buffer, "PNG", optimize=True)
                image = {"bytes": buffer.getvalue(), "path": f"{name}.png"}
                rows.append({"object": object_name, "glyph": glyph, "image": image})
        pq.write_table(pa.Table.from_pylist(rows), out / f"{art}.parquet")


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
    for option in ("--noto", "--fluent", "--twemoji", "--out"):
        parser.add_argument(option, type=Path, required=True)
    extract(**vars(parser.parse_args()))
