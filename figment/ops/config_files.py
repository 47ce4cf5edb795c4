"""What a config names that is not on this machine, or is not what it has to be: told before a run, and without torch.

Nothing is loaded: whether the content of a file or model is right is told by the run's first step.
"""

import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from figment import store
from figment.clip.config import ClipConfig
from figment.datasets.config import FewShotDataConfig, PhotosConfig, RealConfig, ZeroShotConfig
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.environment import RESOURCES, data_is_missing
from figment.reading import read_json
from figment.training.config import TrainingConfig
from figment.types import PREFIX, ModelName, PathText

Place = tuple[str, ...]
Fault = tuple[Place, str]
ANSWERS = "answers"  # of chat models, in a run's folder
ELSEWHERE = ("output", "labels", "imported")  # parameters that are written to, or are checked with what they hold
SPLITS = ("train", "test", "val", "validation")  # folders that are no classes
USUAL_OPTIMIZERS = ("adamw", "adam", "sgd")  # of timm's; any other one is asked of timm, which takes seconds


def local_faults(values: BaseModel) -> list[Fault]:
    """The place and the sentence of each fault of a config's valid parameters. None where steps run elsewhere: what they read
    is there."""
    if store.url():
        return []
    answered = Path(getattr(values, "output", ""), ANSWERS).is_dir()  # then no chat model is asked again
    found = [
        (place, sentence)
        for place, sentence in _walk(values, ())
        if place[0] not in ELSEWHERE and not ("chat" in place and answered)
    ]
    return [*found, *_check_scores(values), *_check_class_folders(values)]


def _walk(value: Any, place: Place) -> Iterator[Fault]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            here = (*place, field.alias or name)  # as the config has it
            yield from _check_named(getattr(value, name), field, here, value)
            yield from _walk(getattr(value, name), here)
        for kind, check in CHECKS.items():
            if isinstance(value, kind):
                try:
                    check(value)
                except InputError as error:
                    name, _, sentence = str(error).partition(": ")
                    yield _fault((*place, name.removeprefix(f"{place[-1]}.")), sentence)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _walk(inner, (*place, str(name)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _walk(inner, (*place, str(number)))


def _fault(place: Place, sentence: str) -> Fault:
    return place, f"{'.'.join(place)}: {sentence}"


def _check_named(value: Any, field: FieldInfo, place: Place, owner: BaseModel) -> Iterator[Fault]:
    """The files and folders that a field names."""
    named = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    texts = [text for text in named if isinstance(text, str)]
    if _is(field, ModelName):
        for text in texts if not getattr(owner, "base_url", None) else []:  # else a server's model
            folder = PREFIX.sub("", text, count=1)
            local = "local-dir:" in text or folder.startswith((".", "/")) or folder.count("/") > 1
            if local and not is_there(folder):
                yield _fault(place, f"{folder!r} is not there; give the folder of a model, or a name or hub id")
    elif _is(field, PathText):
        tag = getattr(owner, "model", "").startswith("open_clip:") and place[-1] == "weights"  # one of open_clip's
        for text in texts:
            if not (is_there(text) or (tag and not Path(text).suffix)):
                yield _fault(place, f"{text!r} is not there; give an existing file or folder")


def _is(field: FieldInfo, kind: Any) -> bool:
    """Whether a field holds values of this annotated type, alone or among others."""
    (mark,) = (each for each in kind.__metadata__)
    return mark in field.metadata or any(_holds(part, mark) for part in get_args(field.annotation))


def _holds(annotation: Any, mark: Any) -> bool:
    return mark in getattr(annotation, "__metadata__", ()) or any(_holds(part, mark) for part in get_args(annotation))


def is_there(name: str) -> bool:
    """Whether a file or folder is there, or comes with the first command: a clone's data, the embedded models."""
    path = Path(name)
    fetched = path.parts[:1] == ("data",) and data_is_missing(Path())
    embedded = path.is_relative_to("models/pocket") and (RESOURCES / path).exists()
    return fetched or embedded or path.exists()


def _check_real(real: RealConfig) -> None:
    path = Path(real.path)
    if path.exists() and not has_split(path, real.test):
        raise InputError(
            f"path: {real.path!r} holds no image of a split {real.test!r}; expected {real.test}.parquet, CIFAR batches, a "
            f"folder a class, or those in a folder {real.test}"
        )


def has_split(path: Path, split: str) -> bool:
    """Whether a file is there that may hold images of this split; what the file holds is not looked at."""
    parquet = re.compile(rf"{split}([-_.]?\d.*)?\.parquet")

    def may_hold(file: Path) -> bool:
        image = (mimetypes.guess_type(file.name)[0] or "").startswith("image/") and len(file.parts) > 1
        of_split = split in file.parts[:-1] or not set(SPLITS) & set(file.parts[:-1])
        return bool(parquet.fullmatch(file.name)) or file.name in (split, f"{split}_batch") or (image and of_split)

    return path.is_file() or any(may_hold(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir())


def _check_photos(data: FewShotDataConfig | PhotosConfig) -> None:
    places = {"train": data.train} | {f"tests.{name}": where for name, where in getattr(data, "tests", {}).items()}
    places |= {"masks": masks} if (masks := getattr(data, "masks", None)) else {}
    for field, where in places.items() if data.source != "focus" and Path(data.root).is_dir() else ():
        coco = Path("annotations", f"instances_{where}.json")
        for place in [Path(where), *([coco] if data.source == "coco" and field != "masks" else [])]:
            if not (Path(data.root) / place).exists():
                raise InputError(
                    f"{field}: {str(Path(data.root) / place)!r} is not there; give what lies below data.root"
                )


def _check_tagged(data: ZeroShotConfig) -> None:
    if data.source == "parquet" and data.root and Path(data.root).is_dir():
        for split in ("train", "test"):
            if not any(Path(data.root).rglob(f"{split}*.parquet")):
                raise InputError(f"root: {data.root!r} holds no {split}*.parquet; give the folder with both splits")


def _check_optimizer(training: TrainingConfig) -> None:
    if training.optimizer.lower() not in USUAL_OPTIMIZERS:
        from figment.training.optimizers import check_name

        check_name(training.optimizer)


CHECKS: dict[type, Callable[[Any], None]] = {
    RealConfig: _check_real,
    FewShotDataConfig: _check_photos,
    PhotosConfig: _check_photos,
    ZeroShotConfig: _check_tagged,
    TrainingConfig: _check_optimizer,
}


def _check_class_folders(values: BaseModel) -> Iterator[Fault]:
    """Folders of real images whose names are nearly the classes: a misspelled one would cost a class its images."""
    real, classes = getattr(values, "real", None), getattr(values, "classes", None)
    if not (
        isinstance(real, RealConfig) and classes and Path(real.path).is_dir() and has_split(Path(real.path), real.test)
    ):
        return
    try:
        space = LabelSpace.chosen(classes, getattr(values, "labels", None))
    except InputError:  # told by itself
        return
    names = _folders(Path(real.path))
    names = _folders(Path(real.path, real.test)) if names and set(names) <= set(SPLITS) else names
    shown = {space.id_of(name) for name in names} - {None}
    absent = [name for number, name in enumerate(space.names) if number not in shown]
    strange = [name for name in names if not space.knows(name)]
    if shown and absent:
        near = f"; folders of no class: {', '.join(map(repr, strange))}" if strange else ""
        yield _fault(
            ("real", "path"),
            f"{real.path!r} has no folder of {', '.join(absent)}{near}; rename a folder, or correct the classes",
        )


def _folders(path: Path) -> list[str]:
    found = path.iterdir() if path.is_dir() else []
    return sorted(folder.name for folder in found if folder.is_dir() and not folder.name.startswith("."))


def _check_scores(values: BaseModel) -> Iterator[Fault]:
    """SigLIP's probabilities, asked of another CLIP whose folder is here."""
    clip, acceptance = getattr(values, "clip", None), getattr(values, "acceptance", None)
    if not (isinstance(clip, ClipConfig) and getattr(acceptance, "scores", "") == "sigmoid"):
        return
    folder = Path(PREFIX.sub("", clip.model, count=1))
    folder = folder if folder.exists() else RESOURCES / folder
    for name in ("open_clip_config.json", "config.json"):
        if (folder / name).is_file():
            config = read_json(folder / name, "the config of a CLIP")
            known = config.get("model_cfg", {}).get("init_logit_bias") is not None
            if not known and not str(config.get("model_type", "")).startswith("siglip"):
                sentence = f"sigmoid is for a SigLIP, and {clip.model!r} is none; set softmax, or another clip.model"
                yield _fault(("acceptance", "scores"), sentence)
            return
