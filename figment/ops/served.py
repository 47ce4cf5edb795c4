"""What MLflow loads and serves of a registered classifier: images in, label names with scores out.

MLflow runs a copy of this file, which needs Figment beside it: ``mlflow models serve --env-manager local``.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from PIL import Image
from torch import Tensor

from figment.errors import InputError
from figment.image_files import read_image
from figment.images import as_rgb, decode, to_tensor

ARRAYS = "(H, W, 3) or (3, H, W), of integers up to 255 or of floats in [0, 1]"


class ServedClassifier(mlflow.pyfunc.PythonModel):
    """Takes one image or several: encoded bytes, base64 of those, a path (never from a server's client), a PIL image or an array;
    in a list, an array (N, ...), a DataFrame's first column or as JSON's ``inputs``. Gives the best ``label``, its ``score``
    and the ``scores`` of all labels for each: probabilities, unless the model's kind has none."""

    def load_context(self, context: Any) -> None:
        self.network = mlflow.pytorch.load_model(context.artifacts["network"])
        prepared = context.model_config
        self.labels, self.size = prepared["labels"], prepared["image_size"]
        self.resize, self.native_size = prepared["resize"], prepared["native_size"]

    @torch.inference_mode()
    def predict(self, context, model_input, params=None):  # unannotated: MLflow would take a schema from its types
        try:
            pixels = [self.pixels(item, f"image {i}") for i, item in enumerate(_items(model_input))]
        except InputError as error:
            raise MlflowException(str(error), error_code=BAD_REQUEST) from error
        rows = self.network(torch.stack(pixels)).tolist() if pixels else []
        scores = [dict(zip(self.labels, row, strict=True)) for row in rows]
        best = [max(row, key=lambda label, row=row: row[label]) for row in scores]
        return [{"label": n, "score": row[n], "scores": row} for n, row in zip(best, scores, strict=True)]

    def pixels(self, item: Any, where: str) -> Tensor:
        """(3, S, S) float in [0, 1]. Raises InputError for what is no image."""
        if isinstance(item, list | np.ndarray):
            array = _array(item, where)
            if array.dtype != np.uint8 and array.shape == (self.size, self.size, 3):
                return torch.from_numpy(array).permute(2, 0, 1).float()
            image = Image.fromarray(array if array.dtype == np.uint8 else (array * 255).round().astype(np.uint8))
        elif isinstance(item, Image.Image):
            image = as_rgb(item)
        elif isinstance(item, bytes):
            image = decode(item, where)
        elif isinstance(item, str | Path):
            image = _named(item, where)
        else:
            raise InputError(
                f"{where}: found a {type(item).__name__}; expected bytes, base64, a path, an image or an array"
            )
        return to_tensor(image, self.size, self.resize, self.native_size).float() / 255


def _items(model_input: Any) -> list[Any]:
    if isinstance(model_input, pd.DataFrame):
        return list(model_input.iloc[:, 0])
    if isinstance(model_input, dict):
        return _items(next(iter(model_input.values()), []))
    if isinstance(model_input, np.ndarray):
        return [model_input] if model_input.ndim == 3 else list(np.atleast_1d(model_input))
    return list(model_input) if isinstance(model_input, list | tuple) else [model_input]


def _array(item: Any, where: str) -> np.ndarray:
    """(H, W, 3), uint8 or float in [0, 1]."""
    try:
        array = np.asarray(item)
    except ValueError:  # a list of lists of different lengths
        array = np.zeros(0)
    if array.ndim == 3 and array.shape[0] == 3:
        array = np.ascontiguousarray(array.transpose(1, 2, 0))
    highest = {"f": 1, "u": 255, "i": 255}.get(array.dtype.kind, -1)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size or not (0 <= array.min() <= array.max() <= highest):
        raise InputError(f"{where}: found an array of {array.dtype} {array.shape}; expected {ARRAYS}")
    return array if array.dtype.kind == "f" else array.astype(np.uint8)


def _named(text: str | Path, where: str) -> Image.Image:
    served = _MLFLOW_IS_IN_SERVING_ENVIRONMENT.get()  # a client's text opens no file of the server's
    if not served and (isinstance(text, Path) or os.path.isfile(text)):
        return read_image(Path(text))
    try:
        return decode(base64.b64decode(str(text), validate=True), where)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"{where}: text that is {'' if served else 'no path and '}no base64; encode an image file"
        ) from error


mlflow.models.set_model(ServedClassifier())
