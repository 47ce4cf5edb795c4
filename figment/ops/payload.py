"""Images as the JSON that MLflow's servers take."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from figment.image_files import find_files, read_images
from figment.images import encode


def payload(paths: Sequence[Path]) -> str:
    """The body of a request about the images of files, folders and Parquet: ``{"inputs": [BASE64, ...]}``."""
    images = (np.asarray(image) for file in find_files(paths) for image in read_images(file))
    return json.dumps({"inputs": [base64.b64encode(encode(pixels, "png")).decode() for pixels in images]})
