"""One saved model for every kind of classifier: a folder with ``model.json`` and ``model.safetensors``.

``model.json`` says the kind, the labels with their synonyms and which of them are unseen, how images are prepared, what was
measured, and where the weights came from. What is particular to a kind is in ``figment.training.kinds``: how its network is
built, and how it scores images. All are in ``figment.training.kinds.registry``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import atomic, write_json
from figment.images import Resize
from figment.labels import LabelSpace
from figment.model_folders import load_state, one_sentence, read_json, read_tensors
from figment.text import shown
from figment.types import Natural, Number, Settings, Side

MODEL, WEIGHTS = "model.json", "model.safetensors"
EARLIER = ("classifier.json", "head.json", "semantic.json")  # of versions before this format
ADVICE = "give the folder of a trained model, or train again"
S = TypeVar("S", bound=BaseModel)
Colour = tuple[Number, Number, Number]


class Preprocessing(Settings):
    """How an image becomes the network's input: brought to ``native_size`` px if it is larger, made square by ``resize``,
    ``image_size`` px, in [0, 1]. ``mean`` and ``std`` are what the network then subtracts and divides by, itself."""

    image_size: Side
    resize: Resize
    native_size: Side | None = None
    mean: Colour
    std: Colour

    @classmethod
    def with_statistics(cls, image_size: int, resize: Resize, mean: Tensor, std: Tensor) -> Self:
        """``mean`` and ``std`` with three values in any shape."""
        red, green, blue = (round(value, 6) for value in mean.flatten().tolist())
        return cls(
            image_size=image_size,
            resize=resize,
            mean=(red, green, blue),
            std=tuple(round(value, 6) for value in std.flatten().tolist()),
        )


class Measure(Settings):
    """A value in [0, 1], with its 95 % interval and the number of real images where they are known."""

    name: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    images: Natural | None = None


class Provenance(Settings):
    """``key`` names everything that decided the weights, ``data`` holds digests by what they are of, ``generator`` is
    MODEL@REVISION, ``run`` the first pipeline run that registered the model."""

    key: str = ""
    data: Mapping[str, str] = Field({})
    generator: str = ""
    run: str = ""


class SavedModel(BaseModel):
    """What ``model.json`` holds. ``settings`` are the kind's own, ``images`` how many it was trained on, ``training`` a sentence
    on how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: str = ""
    labels: LabelSpace
    preprocessing: Preprocessing
    settings: dict[str, Any] = {}
    images: Natural = 0
    training: str = ""
    metrics: tuple[Measure, ...] = ()
    provenance: Provenance = Provenance()


@dataclass(frozen=True)
class Kind(Generic[S]):
    """A kind of model. ``build`` gives the network that ``settings`` describe, on the CPU, given the tensors only for their
    shapes; ``scores`` a module from images (N, 3, S, S) float in [0, 1] to (N, C); ``weights`` what of the network is saved.
    ``exclusive``: an image is of one class; ``probabilities``: the scores are such."""

    name: str
    settings: type[S]
    build: Callable[[SavedModel, S, Mapping[str, Tensor]], nn.Module]
    scores: Callable[[Any, SavedModel], nn.Module]
    weights: Callable[[Any, S], Mapping[str, Tensor]] = lambda network, _: network.state_dict()
    exclusive: bool = True
    probabilities: bool = True


@dataclass(frozen=True)
class TrainedModel(Generic[S]):
    """A loaded model: ``network`` in eval mode on the CPU."""

    saved: SavedModel
    kind: Kind[S]
    settings: S
    network: Any

    @property
    def labels(self) -> tuple[str, ...]:
        return self.saved.labels.names

    @property
    def preparation(self) -> tuple[int, Resize, int | None]:
        """What ``figment.images.to_tensor`` takes after an image."""
        found = self.saved.preprocessing
        return found.image_size, found.resize, found.native_size

    def scorer(self) -> nn.Module:
        """Images (N, 3, S, S) float in [0, 1] -> (N, C)."""
        return self.kind.scores(self.network, self.saved).eval()


def save_model(kind: Kind[S], network: nn.Module, settings: S, saved: SavedModel, folder: Path) -> Path:
    """Write the weights, then ``model.json``, which takes kind and settings from these; returns the weights' path."""
    tensors = kind.weights(network, settings)
    with atomic(folder / WEIGHTS) as partial:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)
    _write(saved.model_copy(update={"kind": kind.name, "settings": settings.model_dump(mode="json")}), folder)
    return folder / WEIGHTS


def _write(saved: SavedModel, folder: Path) -> None:
    write_json(folder / MODEL, saved.model_dump(mode="json"))


def read_model(folder: Path) -> SavedModel:
    """``model.json`` of a folder. Raises InputError if it is not there or not as it should be."""
    earlier = next((name for name in EARLIER if (folder / name).is_file()), None)
    if earlier and not (folder / MODEL).is_file():
        raise InputError(
            f"{folder}: holds a model of an earlier version of Figment ({earlier}); run its pipeline again, which trains it on "
            f"the same images and saves it as {MODEL}"
        )
    what = f"{folder}: no trained model in {MODEL} and {WEIGHTS}"
    with one_sentence(what, ADVICE):
        saved = SavedModel.model_validate(read_json(folder / MODEL, what))
        saved.labels.checked()
    return saved


def load_model(folder: Path, *kinds: Kind[Any]) -> TrainedModel[Any]:
    """The model in ``folder``, of one of ``kinds``. Raises InputError if there is none, or not the whole of it."""
    saved = read_model(folder)
    kind = next((kind for kind in kinds if kind.name == saved.kind), None)
    if kind is None:
        known = ", ".join(kind.name for kind in kinds)
        raise InputError(f"{folder}: {MODEL} is of kind {shown(saved.kind)}; expected {known}")
    what = f"{folder}: no trained model in {MODEL} and {WEIGHTS}"
    with one_sentence(what, ADVICE):
        settings = kind.settings.model_validate(saved.settings)
        tensors = read_tensors(folder / WEIGHTS, what)
        network = kind.build(saved, settings, tensors)
        load_state(network, tensors, what, kind.weights(network, settings))
    return TrainedModel(saved, kind, settings, network.eval())


def add_metrics(folder: Path, metrics: Iterable[Measure]) -> None:
    """Note in ``model.json`` what was measured after training."""
    saved = read_model(folder)
    found = {each.name: each for each in (*saved.metrics, *metrics)}
    _update(saved, saved.model_copy(update={"metrics": tuple(found.values())}), folder)


def add_provenance(folder: Path, generator: str, run: str) -> SavedModel:
    """Note in ``model.json`` what is known when the model is registered; a run that is there already stays."""
    saved = read_model(folder)
    provenance = saved.provenance.model_copy(update={"generator": generator, "run": saved.provenance.run or run})
    return _update(saved, saved.model_copy(update={"provenance": provenance}), folder)


def _update(before: SavedModel, after: SavedModel, folder: Path) -> SavedModel:
    if after != before:
        _write(after, folder)
    return after
