"""Who is champion: the version that beat the one before on the same real images by more than chance may."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from figment.datasets.labelled import LabelledImages
from figment.datasets.tagged import TaggedImages
from figment.images import Resize
from figment.metrics.accuracy import Score, macro_score, map_difference, paired_macro_difference
from figment.ops import registry, tracking

# By how much a version beats another one, or without one chance, with a 95 % interval.
Gain = Callable[[registry.Registered, registry.Registered | None], Score]


def challenge(name: str, version: str, gain_of: Gain) -> dict[str, str]:
    """Give ``champion`` to a version whose paired gain over the champion has a 95 % interval above zero. Without a champion
    the bar is chance; one of other classes is no rival and stays.

    Returns tags that say who is champion and why; the gain goes to the metrics.
    """
    holder = registry.holder_of(name, registry.CHAMPION)
    if holder and str(holder.version) == version:
        return {"champion": f"version {version}: it is this one"}
    new, rival = registry.Registered(registry.find_version(f"{name}/{version}")), None
    if holder:
        rival = registry.Registered(holder)
        if rival.labels != new.labels:
            return {
                "champion": f"version {holder.version}: it knows other classes, so the two cannot be compared; "
                "call this one otherwise (register_as)"
            }
    gain = gain_of(new, rival)
    tracking.log_metrics("registration", {"gain": gain.top1, "gain_low": gain.low, "gain_high": gain.high})
    over = f"version {holder.version}" if holder else "chance"
    found = f"{100 * gain.top1:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {over}"
    if gain.low > 0:
        registry.point(name, registry.CHAMPION, version)
        return {"champion": f"version {version}: {found}"}
    return {"champion": f"{over if holder else 'none'}: {found} is not enough"}


def accuracy_gain(test: Callable[[int, Resize], LabelledImages]) -> Gain:
    """Macro accuracy on ``test``, which gives the images as a model takes them; chance is one over the number of classes."""

    def gain(new: registry.Registered, rival: registry.Registered | None) -> Score:
        images = test(new.image_size, new.resize)
        scores = new.predict(images.pixels)
        if rival:
            same = test(rival.image_size, rival.resize).pixels
            return paired_macro_difference(scores, rival.predict(same), images.labels)
        score, chance = macro_score(scores, images.labels), 1 / len(new.labels)
        return Score(score.top1 - chance, score.low - chance, score.high - chance)

    return gain


def ranking_gain(test: TaggedImages) -> Gain:
    """Mean average precision over all classes; chance scores every image alike."""

    def gain(new: registry.Registered, rival: registry.Registered | None) -> Score:
        def scores(model: registry.Registered) -> Tensor:
            side = model.image_size
            same = test.pixels.shape[-1] == side
            return model.predict(test.pixels if same else resize(test.pixels, [side, side], antialias=True))

        targets = (test.targets > 0).int()
        by_chance = torch.rand(targets.shape, generator=torch.Generator().manual_seed(0))
        return map_difference(scores(new), scores(rival) if rival else by_chance, targets)

    return gain
