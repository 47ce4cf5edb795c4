"""Where the real pictures are that measure a classifier."""

from pydantic import BaseModel, ConfigDict, Field


class RealConfig(BaseModel):
    """Real pictures: Parquet as on the HF Hub, CIFAR python batches, or class folders. Only ``test`` measures; ``train``,
    if there is one, gives the upper bound: the same classifier trained on real pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    test_per_class: int | None = Field(None, gt=0)
    train_per_class: int | None = Field(None, gt=0)
