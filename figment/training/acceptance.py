"""All kinds of acceptance: CLIP's verdict by several rules, and that of a filter of one's own."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from figment.training.config import AugmentConfig, BackboneConfig, HeadConfig
from figment.types import Count, Seed
from figment.validation.policies import CalibratedPolicy, CocoPolicy, MostProbable, NusPolicy, Top1Policy

FILTER_VIEWS = 5  # random views in which a generated image is judged


class FilterPolicy(MostProbable):
    """``MostProbable`` by DIAGen's filter in CLIP's place: a linear head on a frozen backbone's features, which was fitted on
    photos of the classes and whose temperature was calibrated on them by cross-fitting. Of images of one class each."""

    kind: Literal["filter"] = "filter"
    by_clip: ClassVar[bool] = False

    backbone: BackboneConfig = BackboneConfig()
    augmentation: AugmentConfig = AugmentConfig(crop_scale=0.7, rotation=15)
    views: Count = FILTER_VIEWS  # random views of each image, of which the first five judge
    head: HeadConfig = HeadConfig(weight_decay=1e-2)
    seed: Seed = 0


Acceptance = Annotated[
    Top1Policy | CocoPolicy | NusPolicy | CalibratedPolicy | FilterPolicy, Field(discriminator="kind")
]
