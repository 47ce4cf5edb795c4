"""Where real images are: those that measure a classifier, that a recipe learns from, or a few photos of each class."""

from collections.abc import Iterable
from os.path import normpath
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from figment.errors import InputError
from figment.names import RESERVED, check_set_names
from figment.types import Count, Natural, Number, PathText, Seed, Settings

CROSS_VALIDATED = "cross-validated shots"  # the test set of photos that have no other


Shots = Annotated[
    Annotated[Natural, Tag("number")] | Annotated[PathText, Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "number"),
]


class RealConfig(Settings):
    """Real images: Parquet as on the HF Hub, CIFAR python batches, or class folders. Only ``test`` measures; ``train``,
    if there is one, gives the upper bound: the same classifier trained on real images.

    Two more sets may be trained on; neither may show the test. ``unlabelled``: any images of the kind that is to be classified, a
    folder or Parquet file of them. ``shots``: so many images of every class, with their labels, drawn from ``train`` by ``seed``;
    or a file of labelled images of some or all classes, such as `figment ask` makes.
    """

    path: PathText
    test: Literal["test", "validation", "val"] = "test"  # what the data call the split that measures
    test_per_class: Count | None = None
    train_per_class: Count | None = None
    unlabelled: PathText | None = None
    shots: Shots = 0
    seed: Seed = 0

    @property
    def paths(self) -> list[Path]:
        """The files and folders that the images are in."""
        return [Path(self.path), *(Path(place) for place in self.beside)]

    @property
    def beside(self) -> list[str]:
        """The files and folders of what may be trained on beside generated images."""
        return [place for place in (self.unlabelled, self.shots) if isinstance(place, str)]

    @property
    def shots_name(self) -> str:
        """What rows of results call them: how many of a class, or where they are from."""
        return "asked" if isinstance(self.shots, str) else str(self.shots)

    @property
    def helps(self) -> bool:
        """Whether any of these images may be trained on beside generated ones."""
        return bool(self.unlabelled or self.shots)

    @model_validator(mode="after")
    def _unlabelled_is_no_test(self) -> Self:
        if self.unlabelled and normpath(self.unlabelled) == normpath(self.path):
            raise ValueError(
                f"unlabelled is {self.unlabelled!r}, which holds the test images; give a folder or Parquet file of other images"
            )
        return self


class CocoFiles(Settings):
    """Images and what is on them: an annotation file of COCO's format, by any name, and the folder of its images."""

    model_config = ConfigDict(populate_by_name=True)

    annotations: PathText = Field(alias="json")
    images: PathText


class ZeroShotConfig(Settings):
    """``labels`` says which classes are unseen: a YAML file (for ``nus_wide`` of the unseen alone), or a folder with the lists
    seen.txt and unseen.txt, a name a line. ``root`` is the folder of the data set; for ``parquet`` that of train*.parquet, of
    whose images the seen classes are known, and test*.parquet, of whose images all are: columns ``image`` and ``labels``.

    Own data in COCO's format: ``train`` and ``test`` in place of ``root``. ``seen`` and ``unseen`` are names of categories, in
    place of ``labels``."""

    source: Literal["parquet", "coco", "nus_wide", "open_images"]
    root: PathText | None = None
    labels: PathText | None = None
    train: CocoFiles | None = None
    test: CocoFiles | None = None
    seen: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    validation: Number = Field(0.1, gt=0, lt=1)  # share of the training images that chooses the epoch
    seed: Seed = 0  # of what validates

    @model_validator(mode="after")
    def _from_somewhere(self) -> Self:
        if (self.train is None) != (self.test is None):
            absent = "test" if self.train else "train"
            raise ValueError(
                f"{absent} is not given; give both, such as {absent}: {{json: {absent}.json, images: {absent}}}"
            )
        if (self.root is None) == (self.train is None):
            raise ValueError("give either root, the folder of a data set, or train and test, files of COCO's format")
        if self.train and self.source != "coco":
            raise ValueError(f"train and test are files of COCO's format; source is {self.source}, set it to coco")
        if bool(self.seen) != bool(self.unseen):
            raise ValueError("give both seen and unseen, such as seen: [cat, dog], unseen: [frog, car]")
        if (self.labels is None) != bool(self.seen):
            raise ValueError("give either labels, a file, or the names of seen and unseen classes")
        return self

    @property
    def paths(self) -> list[Path]:
        """The files and folders that the data are in."""
        own = [path for files in (self.train, self.test) if files for path in (files.annotations, files.images)]
        return [Path(path) for path in own] if own else [Path(self.root)] if self.root else []


class FewShotDataConfig(Settings):
    """Where the photos are. ``train`` and the values of ``tests`` (name of a test set -> where it is) mean

    * ``folders``: a folder below ``root`` with one folder a class (Custom COCO, ImageFolder);
    * ``coco``: a folder of images below ``root``, such as val2017, described by annotations/instances_val2017.json;
    * ``focus``: nothing for ``train``; the only test set is what the training split leaves;
    * ``parquet``: a folder below ``root`` with train*.parquet for ``train``, with test*.parquet for a test set, as on the
      Hugging Face Hub (``image``, ``label``).

    ``masks`` is a folder below ``root`` with a PNG for each photo of ``train`` (folders, coco), at the photo's own place and name
    there: white on the object that the photo shows, black elsewhere.

    Without other photos, ``tests: {}``: each shot is measured by classifiers that did not learn from it.
    """

    source: Literal["folders", "coco", "focus", "parquet"]
    root: PathText
    train: str = "train"
    masks: str | None = None
    tests: dict[str, str] = Field({"test": "test"})
    # The first so many photos in a class's drawn order may be shots, whatever ``shots`` is; those after them may validate.
    largest_shots: Count = 8
    held_out: Natural | None = None  # at most so many photos of a class validate

    @model_validator(mode="after")
    def _nothing_measures_itself(self) -> Self:
        check_set_names(self.tests, "tests", taken=(*RESERVED, CROSS_VALIDATED))
        if self.source == "focus" and not self.tests:
            raise ValueError("tests is empty, but focus has a test set; give it a name, such as tests: {focus: ''}")
        if self.masks and self.source not in ("folders", "coco"):
            raise ValueError(f"masks belong to photos that are files; source: {self.source} has none, leave masks out")
        if self.source in ("folders", "coco"):
            for name, where in self.tests.items():
                if normpath(where) == normpath(self.train):
                    raise ValueError(
                        f"tests.{name} is {where!r}, the training photos; give a folder of other photos, or tests: {{}} if there "
                        "are none"
                    )
        return self

    @property
    def paths(self) -> list[Path]:
        """The files and folders that the photos are in."""
        return _below(self.source, self.root, [self.train, *self.tests.values()])

    @property
    def cross_validated(self) -> bool:
        """Whether the shots measure, since there are no other photos."""
        return not self.tests

    @property
    def test_names(self) -> tuple[str, ...]:
        return tuple(self.tests) or (CROSS_VALIDATED,)


def _below(source: str, root: str, places: Iterable[str]) -> list[Path]:
    if source == "focus":
        return [Path(root)]
    annotations = [Path(root, "annotations", f"instances_{place}.json") for place in places if source == "coco"]
    return list(dict.fromkeys([*(Path(root, place) for place in places), *annotations]))


def check_cross_validation(data: FewShotDataConfig, shots: int, finetune: bool) -> None:
    """Raise InputError if shots that are to measure themselves cannot."""
    if data.cross_validated and shots < 2:
        raise InputError(
            "shots: 1, but without a test set some shots measure what others teach; take 2 or more, or give data.tests"
        )
    if data.cross_validated and finetune:
        raise InputError("training.finetune: has to be measured on a test set; give data.tests, or leave it out")


class PhotosConfig(Settings):
    """``shots`` photos of every class, drawn from ``seed``; where they are is said as in ``FewShotDataConfig``."""

    source: Literal["folders", "coco", "parquet"]
    root: PathText
    train: str = "train"
    shots: Count = 4
    seed: Seed = 0

    @property
    def paths(self) -> list[Path]:
        """The files and folders that the photos are in."""
        return _below(self.source, self.root, [self.train])
