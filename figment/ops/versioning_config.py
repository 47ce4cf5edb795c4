"""What of a run's dataset DVC keeps."""

from typing import Literal

from figment.types import Positive, Settings


class VersioningConfig(Settings):
    """``keep``: ``all`` a run made; ``accepted``: of its images only those that were accepted, as Parquet for `datasets`;
    ``nothing``. Where the run's folder is larger than ``max_gb`` (10^9 bytes), its pool of images is left out."""

    keep: Literal["all", "accepted", "nothing"] = "all"
    max_gb: Positive = 100.0
