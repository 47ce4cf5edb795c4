"""Who is champion: the version that beat the one before on the same real pictures by more than chance may."""

from collections.abc import Callable

from figment.datasets.labelled import LabelledImages
from figment.evaluation.metrics import Score, paired_difference, top1
from figment.ops import registry, tracking


def challenge(name: str, version: str, test: Callable[[int], LabelledImages]) -> dict[str, str]:
    """Give ``champion`` to a version whose paired gain over the champion has a 95 % interval above zero. ``test`` gives the
    real test pictures at a size. Without a champion the bar is chance; one of other classes is no rival and stays.

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
    gain = gain_over(rival, new, test)
    tracking.log_metrics("registration", {"gain": gain.top1, "gain_low": gain.low, "gain_high": gain.high})
    over = f"version {holder.version}" if holder else "chance"
    found = f"{100 * gain.top1:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {over}"
    if gain.low > 0:
        registry.point(name, registry.CHAMPION, version)
        return {"champion": f"version {version}: {found}"}
    return {"champion": f"{over if holder else 'none'}: {found} is not enough"}


def gain_over(
    rival: registry.Registered | None, new: registry.Registered, test: Callable[[int], LabelledImages]
) -> Score:
    """Top-1 of ``new`` minus that of ``rival`` on the same pictures, paired; without a rival, minus chance."""
    pictures = test(new.image_size)
    scores = new.predict(pictures.pixels)
    if rival:
        return paired_difference(scores, rival.predict(test(rival.image_size).pixels), pictures.labels)
    score, chance = top1(scores, pictures.labels), 1 / len(new.labels)
    return Score(score.top1 - chance, score.low - chance, score.high - chance)
