"""What a set of images must hold to."""

from typing import Annotated

from pydantic import Field

from figment.types import Count, Integer, Settings, Share


class GateConfig(Settings):
    """What a training list and the test images must hold to. Shares are of the set."""

    near: Annotated[Integer, Field(ge=0, le=24)] = 10  # bits of 256 in which hashes of images that are alike may differ
    min_per_class: Count = 1  # images in every training list
    max_duplicates: Share = 0.1  # images of a training list that are like an earlier one
    max_leakage: Share = 0.0  # generated training images that are like a test image
    # Real training images that are like a test image: they only give the upper bound, and CIFAR-10 itself has some.
    max_real_leakage: Share = 0.01
    max_blank: Share = 0.0  # real images that show nothing
