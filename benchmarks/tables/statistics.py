"""Means over seeds with their intervals, and the order of recipes."""

import pandas as pd
from scipy.stats import spearmanr

from figment.evaluation.seeds import Mean as Mean
from figment.evaluation.seeds import mean as mean


def difference(table: pd.DataFrame, first: str, second: str, column: str = "top1") -> Mean:
    """``first`` minus ``second``, paired by seed. ``table`` has the columns recipe, seed and ``column``."""
    by_seed = table.pivot(index="seed", columns="recipe", values=column)
    return mean((by_seed[first] - by_seed[second]).dropna())


def gap_closed(table: pd.DataFrame, recipe: str, base: str, real: str) -> Mean:
    """(recipe - base) / (real - base), of each seed."""
    by_seed = table.pivot(index="seed", columns="recipe", values="top1")
    return mean(((by_seed[recipe] - by_seed[base]) / (by_seed[real] - by_seed[base])).dropna())


def rank_correlation(table: pd.DataFrame, recipes: list[str], measure: str) -> tuple[float, Mean]:
    """Spearman's rho of ``measure`` and accuracy over ``recipes``: of their means over seeds, and in the mean of seeds."""
    chosen = table[table["recipe"].isin(recipes)]
    means = chosen.groupby("recipe")[[measure, "top1"]].mean()
    whole = chosen.groupby("seed").filter(lambda g: len(g) == len(recipes))
    each = whole.groupby("seed")[[measure, "top1"]].apply(lambda g: spearmanr(g[measure], g["top1"]).statistic)
    return float(spearmanr(means[measure], means["top1"]).statistic), mean(each.dropna())


def verdict(found: Mean, sign: int) -> str:
    """Whether an order that the paper saw (``sign`` of its difference) was seen here too."""
    if not (found.low > 0 or found.high < 0):
        return "not decided"
    return "holds" if found.value * sign > 0 else "reversed"
