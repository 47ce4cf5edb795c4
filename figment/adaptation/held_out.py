"""Which prompts tune a generator, which choose the checkpoint, which measure it: three sets that share no prompt."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch

from figment.errors import InputError
from figment.prompts.tricks import Prompt


class PromptSplit(NamedTuple):
    """Of every set of labels with three prompts or more, some are held out: as many to choose as to measure."""

    train: list[Prompt]
    choose: list[Prompt]
    measure: list[Prompt]


def split_prompts(prompts: Sequence[Prompt], share: float, seed: int) -> PromptSplit:
    """Hold out about ``share`` of each label set's prompts for choosing and as many for measuring, one at least of each.

    Raises InputError if no label set has three prompts.
    """
    by_labels: dict[tuple[str, ...], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        by_labels[prompt.labels].append(prompt)
    split = PromptSplit([], [], [])
    generator = torch.Generator().manual_seed(seed)
    for group in by_labels.values():
        order = [group[i] for i in torch.randperm(len(group), generator=generator).tolist()]
        held = min(max(1, round(share * len(group))), (len(group) - 1) // 2)
        split.choose.extend(order[:held])
        split.measure.extend(order[held : 2 * held])
        split.train.extend(order[2 * held :])
    if not split.choose:
        raise InputError(
            "prompts: no pair of classes has three, so none can be held out to judge the tuning; ask for more a pair"
        )
    return split
