"""What the classifier is wrong about, and which of its training images are nearest to that."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.clip.scorer import ClipConfig, ClipScorer, clip_digest
from figment.datasets.config import RealConfig
from figment.datasets.labelled import open_labelled
from figment.evaluation.errors import explain_errors as explain
from figment.evaluation.results import Results
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import Classifiers, FileRef
from figment.ops import caching
from figment.ops.steps import step
from figment.synthesis.pool import Pool
from figment.training.kinds.timm_classifier import TIMM
from figment.training.saved import load_model
from figment.validation.features import FeatureStore

ERRORS, NEIGHBOURS = 12, 4


@step(role="look")
def explain_errors(
    labels: LabelSpace,
    images: FileRef,
    classifiers: Classifiers,
    results: Results,
    clip: ClipConfig,
    real: RealConfig,
    output: str,
) -> Annotated[FileRef, "errors"]:
    """errors.json: the worst errors of the classifier that is looked at closer, each with its nearest training images."""
    chosen, path = classifiers[results.confusion_of], Path(output) / "errors.json"
    folder, data = chosen.weights.open().parent, caching.data_digest(Path(real.path), "test")
    key = caching.result_key(
        __name__, weights=chosen.weights.sha256, real=[real.model_dump(), data], clip=clip_digest(clip)
    )
    if not caching.is_current(path, key):
        model, scorer = load_model(folder, TIMM), ClipScorer(clip)
        tests = [
            open_labelled(Path(real.path), real.test, labels, size, real.test_per_class, resize, native_size)
            for size, resize, native_size in (
                model.preparation,
                (scorer.size, "bicubic", None),
            )
        ]
        learned = pq.read_table(folder / "training_list.parquet")["image_id"].to_pylist()
        store = FeatureStore(Pool(images.open().parent), scorer)
        errors = explain(model.network, *tests, learned, store, labels.names, ERRORS, NEIGHBOURS)
        write_json(path, [error.model_dump() for error in errors])
        caching.mark_current(path, key)
    return FileRef.of(path)
