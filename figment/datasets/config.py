"""Where the real pictures are that measure a classifier."""

from typing import Literal

from pydantic import Field

from figment.types import Count, Number, PathText, Seed, Settings


class RealConfig(Settings):
    """Real pictures: Parquet as on the HF Hub, CIFAR python batches, or class folders. Only ``test`` measures; ``train``,
    if there is one, gives the upper bound: the same classifier trained on real pictures."""

    path: PathText
    test: Literal["test", "validation", "val"] = "test"  # what the data call the split that measures
    test_per_class: Count | None = None
    train_per_class: Count | None = None


class ZeroShotConfig(Settings):
    """``labels`` says which classes are unseen: a YAML file (for ``nus_wide`` of the unseen alone), or a folder with the lists
    seen.txt and unseen.txt, a name a line. ``root`` is the folder of the data set; for ``parquet`` that of train*.parquet, of
    whose images the seen classes are known, and test*.parquet, of whose images all are: columns ``image`` and ``labels``."""

    source: Literal["parquet", "coco", "nus_wide", "open_images"]
    root: PathText
    labels: PathText
    validation: Number = Field(0.1, gt=0, lt=1)  # share of the training pictures that chooses the epoch
    seed: Seed = 0  # of what validates
