"""Classes or tags of images in folders and Parquet files, from a trained classifier or semantic matrix.

zenml pipeline run pipelines.predict.predict -c configs/pocket/predict.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.recipes.config import Prediction
from steps.prediction import predict_images


@figment_pipeline
def predict(config: Prediction) -> None:
    predict_images(config)
