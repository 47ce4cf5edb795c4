"""Dual prompts with region aggregation on a frozen open_clip model (DualCoOp, Sun et al. 2022; Zhang et al. 2024)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from models.feature_fusion import add_feature_fusion

Tokenizer = Callable[[Sequence[str]], Tensor]
OpenClip = Any  # a CLIP or CustomTextCLIP of open_clip


def region_features(visual: nn.Module, pixels: Tensor) -> Tensor:
    """(B, R, D): a feature in CLIP's joint space for the whole picture, then for each of the tower's regions.

    The last attention is replaced by its value and output projections, so that every region keeps to itself.
    ``pixels`` (B, 3, H, W) are normalised as the tower expects. Raises ValueError for a tower of another kind.
    """
    if isinstance(visual, ModifiedResNet):
        return _resnet_regions(visual, pixels)
    if isinstance(visual, VisionTransformer):
        return _vit_regions(visual, pixels)
    raise ValueError(
        f"{type(visual).__name__} is no tower with known regions; use open_clip's ModifiedResNet or VisionTransformer"
    )


def _resnet_regions(visual: ModifiedResNet, pixels: Tensor) -> Tensor:
    """Mean and pixels of the last map, each through the pool's value and output projections; positions resized to fit."""
    maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
    return project_tokens(visual.attnpool, maps)


def project_tokens(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """(B, 1 + HW, D) from maps (B, C, H, W) through an attention pool's value and output projections alone."""
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    positions = _resized(pool.positional_embedding, maps.shape[-2:])
    return pool.c_proj(pool.v_proj(tokens + positions.to(tokens.dtype)))


def _resized(positions: Tensor, size: Sequence[int]) -> Tensor:
    """(1 + HW, C) position embeddings for a map of another ``size``, bicubic; the first belongs to the whole."""
    side = round((len(positions) - 1) ** 0.5)
    if (side, side) == tuple(size):
        return positions
    grid = positions[1:].t().reshape(1, -1, side, side)
    grid = F.interpolate(grid.float(), size=tuple(size), mode="bicubic", align_corners=False).to(positions.dtype)
    return torch.cat([positions[:1], grid.flatten(2)[0].t()])


def _vit_regions(visual: VisionTransformer, pixels: Tensor) -> Tensor:
    """Class token and patches; in the last block each attends to itself alone (as MaskCLIP, Zhou et al. 2022)."""
    *blocks, last = visual.transformer.resblocks
    if visual.attn_pool is not None or not isinstance(last, ResidualAttentionBlock) or visual.proj is None:
        raise ValueError(
            "this vision transformer pools by attention or has blocks of its own; its regions are not known"
        )
    x = visual._embeds(pixels)
    if not visual.transformer.batch_first:
        x = x.transpose(0, 1)
    for block in blocks:
        x = block(x)
    if not visual.transformer.batch_first:
        x = x.transpose(0, 1)
    width = x.shape[-1]
    values = F.linear(last.ln_1(x), last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :])
    x = x + last.ls_1(last.attn.out_proj(values))
    x = x + last.ls_2(last.mlp(last.ln_2(x)))
    return visual.ln_post(x) @ visual.proj


def aggregate_regions(regions: Tensor, texts: Tensor) -> Tensor:
    """Logits (B, 2, C), absence before presence, from ``regions`` (B, R, D) and ``texts`` (2, C, D) in the same order.

    Each class looks where its positive prompt fits best: w = softmax over regions of 20 cos(t+, f); both logits are
    5 sum_r w_r 20 cos(t, f_r), a hundred times a weighted cosine. The probability is sigmoid(l+ - l-).
    """
    similarity = 20 * torch.einsum("brd,pcd->bpcr", F.normalize(regions, dim=-1), F.normalize(texts, dim=-1))
    weights = similarity[:, 1:].softmax(-1)
    return 5 * (weights * similarity).sum(-1)


class DualPrompts(nn.Module):
    """Two learned contexts, shared by all classes or of each its own: [start][context][name][.][end], one context for absence,
    one for presence."""

    tokens: Tensor

    def __init__(
        self,
        clip: OpenClip,
        tokenizer: Tokenizer,
        names: Sequence[str],
        context: int = 64,
        class_specific: bool = False,
        init_words: str = "",
    ):
        """``context`` vectors each, of all classes or ``class_specific``; the first begin as the tokens of ``init_words``. Raises
        ValueError for a name that is too long to stand behind them, and for more words than there is context."""
        super().__init__()
        tower = text_tower(clip)
        plain = tokenizer([f"{name}." for name in names])
        for name, length in zip(names, (_ends(tower, plain) + 1).tolist(), strict=True):
            if length + context > plain.shape[1]:
                raise ValueError(
                    f"{name!r}: {length} tokens around {context} of context do not fit the text encoder's {plain.shape[1]}; "
                    "use a shorter context"
                )
        # The context's places hold an ordinary token, the name's first; what is read there is replaced.
        tokens = torch.cat([plain[:, :1], plain[:, 1:2].expand(-1, context), plain[:, 1:]], 1)[:, : plain.shape[1]]
        weight = tower.token_embedding.weight
        self.register_buffer("tokens", tokens.to(weight.device), persistent=False)
        shape = (len(names), context) if class_specific else (context,)
        self.negative = nn.Parameter(torch.empty(*shape, weight.shape[1], device=weight.device))
        self.positive = nn.Parameter(torch.empty(*shape, weight.shape[1], device=weight.device))
        nn.init.normal_(self.negative, std=0.02)
        nn.init.normal_(self.positive, std=0.02)
        if init_words:
            self._begin_as(init_words, tower, tokenizer)

    @torch.no_grad()
    def _begin_as(self, words: str, tower: Any, tokenizer: Tokenizer) -> None:
        tokens = tokenizer([words]).to(self.tokens.device)
        count, room = int(_ends(tower, tokens)) - 1, self.negative.shape[-2]
        if not 0 < count <= room:
            raise ValueError(f"init_words {words!r}: {count} tokens for {room} vectors of context; use fewer words")
        vectors = tower.token_embedding.weight[tokens[0, 1 : 1 + count]].float()
        for context in (self.negative, self.positive):
            context[..., :count, :] = vectors

    def forward(self, clip: OpenClip, classes: Sequence[int] | None = None) -> Tensor:
        """(2, C, D) text features, absence before presence, of all classes or of those asked for."""
        tokens = self.tokens if classes is None else self.tokens[list(classes)]
        features = []
        for parameter in (self.negative, self.positive):
            context: Tensor = parameter
            if context.ndim == 3 and classes is not None:
                context = context[list(classes)]
            with _context_in_place(text_tower(clip).token_embedding, context):
                features.append(clip.encode_text(tokens))
        return torch.stack(features)


def text_tower(clip: OpenClip) -> Any:
    """Where an open_clip model keeps its text encoder: in ``text``, or in itself."""
    return getattr(clip, "text", clip)


def _ends(tower: Any, tokens: Tensor) -> Tensor:
    """(C,) positions of the end tokens, where the text encoder reads off its feature."""
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", "argmax"))
    if pool == "eos":
        end = getattr(tower, "text_eos_id", None) or tower.eos_id
        return torch.eq(tokens, end).int().argmax(1)
    if pool == "argmax":
        return tokens.argmax(1)
    raise ValueError(
        f"the text encoder pools by {pool!r}; only those that read the end token ('argmax', 'eos') take a context"
    )


@contextmanager
def _context_in_place(embedding: nn.Module, context: Tensor) -> Iterator[None]:
    """What ``embedding`` reads at the positions after the first is ``context`` instead, (V, D) or (C, V, D)."""

    def replace(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        learned = context.to(output.dtype).expand(len(output), -1, -1)
        return torch.cat([output[:, :1], learned, output[:, 1 + context.shape[-2] :]], 1)

    handle = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


class DualPromptClassifier(nn.Module):
    """Multi-label logits of an open_clip model whose prompts are learned and whose weights are not.

    ``clip`` is frozen and stays in eval mode; with ``fusion_scale`` its visual tower gets feature-fusion branches, in place,
    which learn (``fusion`` lists them).
    ``names`` are the classes; the learned contexts fit any others too, so they can be loaded under another list of names.
    """

    def __init__(
        self,
        clip: OpenClip,
        tokenizer: Tokenizer,
        names: Sequence[str],
        context: int = 64,
        fusion_scale: float | None = None,
        class_specific: bool = False,
        init_words: str = "",
    ):
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.prompts = DualPrompts(clip, tokenizer, names, context, class_specific, init_words)
        self.fusion = () if fusion_scale is None else tuple(add_feature_fusion(clip.visual, fusion_scale))
        self.train()

    def train(self, mode: bool = True) -> "DualPromptClassifier":
        super().train(mode)
        self.clip.eval()
        return self

    def regions(self, pixels: Tensor) -> Tensor:
        """(B, R, D) from normalised pixels (B, 3, H, W); without a graph if nothing in the tower learns."""
        with torch.set_grad_enabled(len(self.fusion) > 0 and torch.is_grad_enabled()):
            return region_features(self.clip.visual, pixels)

    def texts(self, classes: Sequence[int] | None = None) -> Tensor:
        """(2, C, D) of all classes or of those asked for; compute once to score many batches."""
        return self.prompts(self.clip, classes)

    def forward(self, pixels: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(B, 2, C) logits, absence before presence, from normalised pixels (B, 3, H, W)."""
        return aggregate_regions(self.regions(pixels), self.texts(classes))


def presence(logits: Tensor) -> Tensor:
    """(B, C) probabilities that a class is there, from logits (B, 2, C)."""
    return (logits[:, 1] - logits[:, 0]).sigmoid()
