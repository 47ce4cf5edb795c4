"""What rounds ask of the stages, on a run's own pool: prompts, verdicts, trainings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from figment.clip.config import ClipConfig
from figment.clip.scorer import ClipScorer
from figment.datasets.config import RealConfig
from figment.datasets.labelled import StreamedImages, has_split, open_labelled
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.planning.from_prompts import Cell
from figment.planning.planners import Planning
from figment.planning.rounds import RoundsConfig
from figment.planning.row import Row
from figment.prompts.chat import ANSWERS, Chat
from figment.prompts.tricks import Prompt
from figment.prompts.unlike import ask_unlike
from figment.synthesis.pool import Pool
from figment.training.acceptance import Acceptance
from figment.training.classifier import predict_all
from figment.training.config import TrainingConfig
from figment.training.jobs import Job, Material
from figment.training.kinds.timm_classifier import TIMM
from figment.training.lists import list_digest, open_training_list
from figment.training.saved import load_model
from figment.training.trainers import timm
from figment.types import PathText, Settings
from figment.validation.review import apply_review, read_review
from figment.validation.validate import validate

VALIDATION = ("validation", "val")  # what data call the split that choices are made by


class Rounding(Settings):
    """All that decides what rounds do, but for what earlier stages made. ``first``: the set that they add to, of which ``shares``
    are the images of every class by trick; ``review``: a person's verdicts, a file."""

    rounds: RoundsConfig
    first: str
    shares: dict[str, int]
    planning: Planning
    clip: ClipConfig
    acceptance: Acceptance
    training: TrainingConfig
    real: RealConfig
    review: PathText | None = None


def open_validation(space: LabelSpace, real: RealConfig, size: int, **how: Any) -> StreamedImages:
    """The real images that choices are made by; ``how`` they become squares. Raises InputError if there are none beside those
    that measure."""
    path = Path(real.path)
    split = next((name for name in VALIDATION if name != real.test and has_split(path, name)), None)
    if split is None:
        raise InputError(
            f"rounds: {path}: no split {VALIDATION[0]!r} beside {real.test!r}; rounds choose by real images that do not measure: "
            "add some, or leave rounds out"
        )
    return open_labelled(path, split, space, size, **how)


@dataclass(frozen=True)
class Stages:
    """``rows``: those of the run's planner, for replicates of some cells and with further prompts; ``render`` a plan; ``gate``
    stops for a list that must not be trained on; ``do`` a training."""

    material: Material
    pool: Pool
    scorer: ClipScorer
    rounding: Rounding
    rows: Callable[[Mapping[Cell, range], Sequence[Prompt]], Iterable[Row]]
    render: Callable[[pa.Table], None]
    gate: Callable[[str, pa.Table], None]
    do: Callable[[Job], None]

    @property
    def space(self) -> LabelSpace:
        return self.material.space

    def judge(self, plan: pa.Table) -> pa.Table:
        """The verdicts on a plan's images."""
        review = self.rounding.review
        verdicts = validate(plan, self.pool, self.space, self.scorer, self.rounding.acceptance)  # type: ignore[arg-type]
        return apply_review(verdicts, read_review(Path(review))) if review else verdicts

    def ask(self, confused: Mapping[str, str], draw: int) -> list[Prompt]:
        """Prompts for classes that are taken for others; ``draw``: how often was asked before."""
        config = self.rounding.rounds
        chat = Chat(config.chat, self.material.output / ANSWERS)
        return ask_unlike(confused, self.space, chat, config.prompts_per_class, draw)

    def open(self, chosen: pa.Table, what: str) -> StreamedImages:
        """The images of a list, as the classifiers take them."""
        training = self.rounding.training
        how = (training.image_size, what, training.resize, training.native_size)
        return open_training_list(chosen, self.pool, self.space, *how)

    def validation(self) -> StreamedImages:
        """The real images that choices are made by, as the classifiers take them."""
        training = self.rounding.training
        how = {"resize": training.resize, "native_size": training.native_size}
        return open_validation(self.space, self.rounding.real, training.image_size, **how)

    def look(self, network: nn.Module, candidates: pa.Table, beside: pa.Table) -> Tensor:
        """(N, C) logits on the images of a list that may lack classes, which the list ``beside`` has."""
        if not len(candidates):
            return torch.empty(0, len(self.space))
        images = self.open(pa.concat_tables([candidates, beside]), "candidates")
        return predict_all(network, images.subset(torch.arange(len(candidates))))

    def train(self, name: str, chosen: pa.Table, times: float) -> nn.Module:
        """A classifier on a list, with ``times`` as many updates as the first had: as many an image."""
        training = self.rounding.training
        if training.steps:
            training = training.model_copy(update={"steps": round(training.steps * times)})
        self.gate(name, chosen)
        images, decided = partial(self.open, chosen, name), {"images": list_digest(chosen)}
        todo = timm.job(name, training, self.material, images, decided, chosen)
        self.do(todo)
        return load_model(todo.folder, TIMM).network

    def classifier(self, name: str) -> Path:
        """The folder of a classifier."""
        return self.material.output / "classifiers" / name.replace(" ", "_")
