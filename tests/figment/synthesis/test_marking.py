import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from figment.images import encode
from figment.synthesis.marking import SOURCE_TYPE, xmp_packet

RDF, DC = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://purl.org/dc/elements/1.1/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


def read_mark(data: bytes) -> tuple[str, str]:
    """(digital source type, identifier) as any reader of XMP finds them."""
    image = Image.open(io.BytesIO(data))
    packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    (description,) = ElementTree.fromstring(packet.decode()).iter(f"{{{RDF}}}Description")
    return description.get(f"{{{IPTC}}}DigitalSourceType"), description.get(f"{{{DC}}}identifier")


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_image_of_any_format_says_what_made_it(image_format):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert read_mark(encode(pixels, image_format, xmp_packet("0" * 64))) == (SOURCE_TYPE, "0" * 64)


def test_the_mark_leaves_the_pixels_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(pixels, "png", xmp_packet("id"))))), pixels)


def test_the_pools_images_are_marked(pool, plan):
    for batch in pool.read(plan["image_id"].to_pylist(), ["image_id", "image"]):
        for row in batch.to_pylist():
            assert read_mark(row["image"]["bytes"]) == (SOURCE_TYPE, row["image_id"])
