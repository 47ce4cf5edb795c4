"""Classes or tags of pictures in folders and Parquet files, from a trained classifier or semantic matrix.

zenml pipeline run pipelines.predict.predict -c configs/pocket/predict.yaml
"""

from typing import Annotated

from pydantic import Field

from figment.ops.pipelines import figment_pipeline
from steps.prediction import predict_pictures


@figment_pipeline
def predict(
    model: str,
    pictures: list[str],
    output: str,
    tags: str | None = None,
    top_k: Annotated[int, Field(gt=0)] | None = None,
    batch_size: Annotated[int, Field(gt=0)] = 32,
    rendered: bool = True,
    device: str = "auto",
) -> None:
    predict_pictures(model, pictures, tags, top_k, batch_size, rendered, device, output)
