"""The feature-fusion module: a global branch beside each 3x3 convolution of a frozen image encoder (Zhang et al. 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GlobalBranch(nn.Module):
    """Gathers one vector a head from the whole image and deals it out again; each head has C / ``heads`` channels.

    Unlike the published code it holds no convolutions that are never used. Batch norm in eval mode, with statistics that
    never change, is a scale and a shift for each channel; in train mode it normalises by the batch.
    """

    def __init__(self, channels: int, heads: int = 8, reduction: int = 4):
        super().__init__()
        if channels % heads or channels % reduction:
            raise ValueError(f"{channels} channels divide neither among {heads} heads nor by {reduction}")
        hidden = channels // reduction
        self.heads = heads
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.aggregate = nn.Conv2d(2 * hidden, heads, 1)
        self.broadcast = nn.Conv2d(2 * hidden, heads, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W). Equivariant to any permutation of the pixels."""
        b, _, h, w = x.shape
        local = F.relu(self.reduce(x))
        hidden = torch.cat([local, local.mean((2, 3), keepdim=True).expand_as(local)], 1)
        attention = self.aggregate(hidden).flatten(2).softmax(-1)  # (B, heads, HW): where each head looks
        share = self.broadcast(hidden).flatten(2).sigmoid()  # (B, heads, HW): how much each pixel receives
        gathered = torch.einsum("bhcp,bhp->bhc", x.reshape(b, self.heads, -1, h * w), attention)
        return self.norm(torch.einsum("bhc,bhp->bhcp", gathered, share).reshape_as(x))


class FeatureFusion(nn.Module):
    """``conv(x) + branch(x)``. The branch starts ``scale`` small, so that what the encoder learned is kept at first.

    The gradient of the branch's convolutions is proportional to that scale: at the paper's 1e-4 little but the scales and
    shifts learn.
    """

    def __init__(self, conv: nn.Conv2d, scale: float = 1e-4):
        super().__init__()
        self.conv = conv
        self.branch = GlobalBranch(conv.in_channels)
        nn.init.normal_(self.branch.norm.weight, 0, scale)
        nn.init.zeros_(self.branch.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)"""
        return self.conv(x) + self.branch(x)


def add_feature_fusion(encoder: nn.Module, scale: float = 1e-4, min_channels: int = 33) -> list[GlobalBranch]:
    """Put a branch beside every 3x3 convolution of ``encoder`` that has ``min_channels`` or more, in place.

    Returns the branches, which are all that is new to be trained. Raises ValueError if there is nowhere to put one (a
    vision transformer has no such convolution).
    """
    branches = []
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if (
                isinstance(child, nn.Conv2d)
                and not isinstance(parent, FeatureFusion)
                and _takes_branch(child, min_channels)
            ):
                fused = FeatureFusion(child, scale).to(child.weight)
                setattr(parent, name, fused)
                branches.append(fused.branch)
    if not branches:
        raise ValueError(
            f"{type(encoder).__name__}: no 3x3 convolution of {min_channels} channels or more to put a branch beside"
        )
    return branches


def _takes_branch(conv: nn.Conv2d, min_channels: int) -> bool:
    """The branch adds to the convolution's output, so the shape must not change in between."""
    keeps_shape = conv.in_channels == conv.out_channels and conv.stride == (1, 1) and conv.padding == (1, 1)
    return conv.kernel_size == (3, 3) and conv.in_channels >= min_channels and keeps_shape
