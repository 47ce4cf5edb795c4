"""Classes or tags of images in folders and Parquet files, from a trained classifier or semantic matrix.

zenml pipeline run pipelines.predict.predict -c configs/pocket/predict.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.types import Count, PathText
from steps.prediction import predict_images


@figment_pipeline
def predict(
    model: PathText,
    images: list[PathText],
    output: PathText,
    tags: PathText | None = None,
    top_k: Count | None = None,
    batch_size: Count = 32,
    rendered: bool = True,
    device: str = "auto",
) -> None:
    predict_images(model, images, tags, top_k, batch_size, rendered, device, output)
