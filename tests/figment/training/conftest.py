import pytest
import torch

from figment.datasets.labelled import LabelledImages


@pytest.fixture(scope="module")
def colours() -> LabelledImages:
    """Three classes that differ in colour alone."""
    labels = torch.arange(60) % 3
    noise = torch.randint(0, 60, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels = noise + 180 * torch.nn.functional.one_hot(labels, 3)[:, :, None, None]
    return LabelledImages(pixels.to(torch.uint8), labels)
