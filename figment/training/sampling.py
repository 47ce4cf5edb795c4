"""What a few-shot training item is: the exact law by which photos and synthetic images are drawn ("DIAGen", sec. 3)."""

import torch
from torch import Tensor

from figment.planning.sample_weights import Use


def sampling_law(labels: Tensor, sources: Tensor, use: Use) -> Tensor:
    """(N + S,) probability that a training item is each photo, then each synthetic image; they sum to one.

    Class uniform, photo n uniform among those of its class, then the photo itself with 1 - alpha_n, or its m-th synthetic
    image with alpha_n q_nm. ``labels`` (N,) of the photos, ``sources`` (S,) the number of each image's photo.
    """
    of_class = torch.bincount(labels)
    photo = 1 / ((of_class > 0).sum() * of_class[labels]).double()
    return torch.cat([photo * (1 - use.alpha), photo[sources] * use.alpha[sources] * use.share])


def class_uniform(labels: Tensor) -> Tensor:
    """(N,) how likely each image is drawn: classes alike, images of a class alike."""
    nothing = torch.zeros(0, dtype=torch.long)
    return sampling_law(labels, nothing, Use(torch.zeros(len(labels), dtype=torch.float64), torch.zeros(0).double()))


def places_in_class(labels: Tensor) -> Tensor:
    """(N,) how many images of its class come before each."""
    same = labels[:, None] == labels
    return same.tril(-1).sum(1)
