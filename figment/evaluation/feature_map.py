"""Real and synthetic images on one plane: t-SNE or principal components of their CLIP features (the paper's sec. 4.2.1)."""

import io
from collections.abc import Sequence
from typing import Literal

import matplotlib
import torch
from PIL import Image
from torch import Tensor

from figment.errors import InputError
from figment.evaluation.fonts import drawable
from figment.metrics.diversity import Labelled

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def project(features: Tensor, method: Literal["tsne", "pca"] = "tsne", seed: int = 0) -> Tensor:
    """(N, 2) of ``features`` (N, D). t-SNE starts from the principal components; its perplexity is 30, or a third of a
    smaller set. Raises InputError for fewer than four images."""
    if len(features) < 4:
        raise InputError(f"feature map: {len(features)} images; give four or more")
    values = features.double().cpu().numpy()
    if method == "pca":
        from sklearn.decomposition import PCA

        return torch.from_numpy(PCA(2, random_state=seed).fit_transform(values))
    from sklearn.manifold import TSNE

    tsne = TSNE(2, perplexity=min(30, (len(values) - 1) / 3), init="pca", random_state=seed)
    return torch.from_numpy(tsne.fit_transform(values)).double()


def feature_map(
    synthetic: Labelled,
    real: Labelled,
    names: Sequence[str],
    method: Literal["tsne", "pca"] = "tsne",
    most: int = 2000,
    seed: int = 0,
) -> Image.Image:
    """An image: crosses are real, dots synthetic, a colour a class; at most ``most`` images of either, drawn from
    ``seed``. One projection of both, so that their places can be compared."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(len(x.labels), generator=generator)[:most] for x in (synthetic, real)]
    points = project(torch.cat([synthetic.features[chosen[0]], real.features[chosen[1]]]), method, seed)
    names, families = drawable(names)
    plt.rcParams["font.family"] = families
    figure, axes = plt.subplots(figsize=(8, 6))
    colours = plt.get_cmap("tab20" if len(names) > 10 else "tab10")
    first = 0
    for rows, ids, marker, size in ((chosen[0], synthetic.labels, "o", 8), (chosen[1], real.labels, "x", 22)):
        here, of = points[first : first + len(rows)], ids[rows]
        for label, name in enumerate(names):
            x, y = here[of == label].unbind(1)
            axes.scatter(
                x, y, s=size, marker=marker, color=colours(label % 20), alpha=0.7, linewidths=0.8,
                label=name if marker == "o" and len(names) <= 20 else None,
            )  # fmt: skip
        first += len(rows)
    axes.set_title("dots: synthetic, crosses: real", fontsize=9)
    axes.set_axis_off()
    if len(names) <= 20:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return Image.open(buffer).convert("RGB")
