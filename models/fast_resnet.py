"""The same CLIP ResNet with less work: for a frozen tower that scores many pictures."""

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def make_fast(visual: nn.Module) -> nn.Module:
    """Change a frozen tower in place so that it computes the same features, up to rounding, in about half the time.

    A ModifiedResNet in eval mode gets its batch norms folded into its convolutions, its pool asked only the one query whose
    answer is used, and its weights laid out channels last. Other towers are returned as they are.
    """
    if not isinstance(visual, ModifiedResNet):
        return visual
    if visual.training:
        raise ValueError("batch norms can be folded in eval mode only")
    _fold_batch_norms(visual)
    visual.attnpool = _OneQueryPool(visual.attnpool)
    return visual.to(memory_format=torch.channels_last)


def _fold_batch_norms(module: nn.Module) -> None:
    """Each batch norm goes into the convolution before it; in this tower the two are neighbours, in order."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        elif not isinstance(child, nn.Conv2d):
            _fold_batch_norms(child)
        before = (name, child) if isinstance(child, nn.Conv2d) else None


class _OneQueryPool(nn.Module):
    """open_clip's attention pool, which lets every position ask and then keeps the answer to the mean alone."""

    def __init__(self, pool: AttentionPool2d):
        super().__init__()
        self.positional_embedding, self.num_heads = pool.positional_embedding, pool.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.c_proj = pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D). With one query keys and values need not be computed: q . (K x) = (K' q) . x, and the
        weighted mean of values is the value of the weighted mean. What a key's bias adds is the same for all positions."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.positional_embedding.to(x.dtype)
        heads, width = self.num_heads, tokens.shape[-1]
        query = self.q_proj(tokens[:, 0]).unflatten(-1, (heads, -1)) * (width // heads) ** -0.5  # (B, heads, d)
        key = self.k_proj.weight.unflatten(0, (heads, -1))  # (heads, d, C)
        weights = torch.einsum("bhd,hdc,btc->bht", query, key, tokens).softmax(-1)
        values = torch.einsum("bht,btc,hdc->bhd", weights, tokens, self.v_proj.weight.unflatten(0, (heads, -1)))
        return self.c_proj(values.flatten(1) + self.v_proj.bias)
