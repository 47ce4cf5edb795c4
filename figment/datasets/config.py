"""Where the real pictures are that measure a classifier."""

from typing import Literal

from figment.types import Count, PathText, Settings


class RealConfig(Settings):
    """Real pictures: Parquet as on the HF Hub, CIFAR python batches, or class folders. Only ``test`` measures; ``train``,
    if there is one, gives the upper bound: the same classifier trained on real pictures."""

    path: PathText
    test: Literal["test", "validation", "val"] = "test"  # what the data call the split that measures
    test_per_class: Count | None = None
    train_per_class: Count | None = None
