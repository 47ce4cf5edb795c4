"""Tags of pictures in folders and Parquet files, from a trained semantic matrix.

zenml pipeline run pipelines.predict.predict -c configs/pocket/predict.yaml
"""

from typing import Annotated

from pydantic import Field

from figment.ops.pipelines import figment_pipeline
from steps.semantic.tagging import tag_pictures


@figment_pipeline
def predict(
    model: str,
    pictures: list[str],
    output: str,
    tags: str | None = None,
    top_k: Annotated[int, Field(gt=0)] = 10,
    batch_size: Annotated[int, Field(gt=0)] = 32,
    rendered: bool = True,
    device: str = "auto",
) -> None:
    tag_pictures(model, pictures, tags, top_k, batch_size, rendered, device, output)
