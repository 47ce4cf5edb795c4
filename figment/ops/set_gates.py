"""The gates of whole sets of images: what will be learned from, and what will measure it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from figment.datasets.config import CROSS_VALIDATED, RealConfig
from figment.datasets.few_shot import FewShotSplits, open_photos
from figment.datasets.kinds import Data, FewShotData, LabelledData
from figment.datasets.labelled import StreamedImages, has_split, open_labelled
from figment.datasets.photos import open_kept
from figment.datasets.real import open_shots, open_unlabelled
from figment.datasets.tagged import read_tagged
from figment.labels import LabelSpace
from figment.manifests import FileRef, Prepared
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.synthesis.pool import Pool
from figment.training.features import first_labels
from figment.training.lists import multilabel_list, training_list
from figment.validation.config import GateConfig
from figment.validation.duplicates import SIDE
from figment.validation.gates import class_table, real_table, training_tables
from figment.validation.hashes import HashedSet, hash_set, hash_tagged, joined
from figment.validation.verdicts import LISTED, counted

# What to do where a column of a real, or of a generated, image failed.
OF_REAL = {
    "contrast": "take blank images out, or allow a share of them by gates.max_blank",
    "duplicate_of": "take repeated images out, or allow more by gates.max_duplicates",
    "test_twin": "take such images out of what is trained on, or allow more by gates.max_real_leakage",
}
OF_HELPING = {
    "test_twin": "take such images out: real.unlabelled and real.shots may not show the test; or allow some by gates.max_leakage"
}
OF_MADE = {
    "contrast": "raise acceptance.min_contrast",
    "duplicate_of": "vary what is made, or allow more by gates.max_duplicates",
    "test_twin": "look whether the generator has learned from the test images, or allow more by gates.max_leakage",
}


@dataclass(frozen=True)
class Gates:
    """What sets must hold to, and the run's folder, which a page about each gate goes into. Each method returns the names of the
    gates that were passed, and raises DataQualityError at the first that is not."""

    config: GateConfig
    folder: Path

    def check_labelled(self, space: LabelSpace, real: RealConfig) -> list[str]:
        """Few images are blank or there twice, few of those that give the upper bound are among the test ones, every class is in
        both; none that generated images are helped by is among the test ones."""
        test, path = _test_images(space, real), Path(real.path)
        checked = [self._real("evaluation set", test, None, space, every_class=True)]
        if has_split(path, "train"):
            train = hash_set(open_labelled(path, "train", space, SIDE, real.train_per_class))
            checked.append(self._real("real training list", train, test, space, every_class=True))
        if real.unlabelled:
            checked.append(
                self._disjoint("unlabelled images", open_unlabelled(real.unlabelled, space, SIDE), test, space)
            )
        if real.shots:
            checked.append(self._disjoint("real shots", open_shots(real, space, SIDE), test, space))
        return checked

    def check_splits(self, space: LabelSpace, splits: FileRef) -> list[str]:
        """The same for images with several classes each."""
        root = splits.open().parent
        tests = {name: hash_tagged(read_tagged(root / name), name) for name in ("zsl", "gzsl")}
        checked = [self._real(f"{name} images", found, None, space) for name, found in tests.items()]
        train = hash_tagged(read_tagged(root / "train"), "train")
        return [*checked, self._real("training images", train, joined(list(tests.values())), space)]

    def check_photos(self, space: LabelSpace, splits: FewShotSplits) -> list[str]:
        """The same for a few photos: no test set repeats itself, no shot is a test photo, unless the shots measure."""
        shots = hash_set(open_photos(splits.shots, SIDE))
        if CROSS_VALIDATED in splits.tests:
            return [self._real("shots", shots, None, space, every_class=True)]
        tests = {name: hash_set(open_photos(listing, SIDE)) for name, listing in splits.tests.items()}
        checked = [self._real(f"test photos {name}", found, None, space) for name, found in tests.items()]
        return [*checked, self._real("shots", shots, joined(list(tests.values())), space, every_class=True)]

    def check_shots(self, wanted: LabelSpace, photos: FileRef, test: HashedSet) -> list[str]:
        """No photo that a stage learns from is there twice, or a test image."""
        file = photos.open()
        taken = hash_set(open_kept(pq.read_table(file), wanted, SIDE, file.parent / "sources"))
        return [self._real("shots", taken, test, wanted, every_class=True)]

    def check_images(
        self,
        space: LabelSpace,
        test: HashedSet,
        images: FileRef,
        verdicts: FileRef,
        sets: Mapping[str, Mapping[str, int]],
    ) -> list[str]:
        """Of each of the ``sets``, or, if there are none, of all accepted images: classes within their shares, nothing blank or
        flagged, few duplicates, no test image among them; every unseen class has some."""
        pool, judged = Pool(images.open().parent), pq.read_table(verdicts.open(), columns=[*LISTED, "predicted"])
        suite = quality.image_suite(space, self.config.max_duplicates, self.config.max_leakage)
        for name, shares in sets.items():
            self.check_list(space, test, name, training_list(judged, shares), pool, sum(shares.values()))
        if sets:
            return [f"training list {name}" for name in sets]
        chosen = multilabel_list(judged)
        looked_at = (Check(table, suite) for table in training_tables(chosen, pool, test, self.config.near))
        within = self._classes(counted(chosen["labels"]), [space.names[i] for i in space.unseen_ids], None)
        gate("training list made", chain(looked_at, within), self.folder, OF_MADE)
        return ["training list made"]

    def check_list(
        self, space: LabelSpace, test: HashedSet, name: str, chosen: pa.Table, pool: Pool, share: int | None = None
    ) -> None:
        """One training list of images of a class each, of any class at most ``share``."""
        suite = quality.image_suite(space, self.config.max_duplicates, self.config.max_leakage)
        looked_at = (Check(table, suite) for table in training_tables(chosen, pool, test, self.config.near))
        within = self._classes(counted(chosen["label"]), list(space.names), share)
        gate(f"training list {name}", chain(looked_at, within), self.folder, OF_MADE)

    def check_made(self, space: LabelSpace, test: HashedSet, plan: FileRef, images: FileRef) -> list[str]:
        """Nothing made of a photo is a test photo. What is made of one photo may well be alike."""
        tables = training_tables(first_labels(plan), Pool(images.open().parent), test, self.config.near)
        suite = quality.image_suite(space, 1, self.config.max_leakage)
        gate("made images", (Check(table, suite) for table in tables), self.folder, OF_MADE)
        return ["made images"]

    def _real(
        self, name: str, images: HashedSet, test: HashedSet | None, space: LabelSpace, every_class: bool = False
    ) -> str:
        names, config = list(space.names), self.config
        table = real_table(images, names, config.near, test)
        suite = quality.image_suite(space, config.max_duplicates, config.max_real_leakage, config.max_blank)
        within = self._classes(Counter(table["label"]), names, None) if every_class else []
        gate(name, [Check(table, suite), *within], self.folder, OF_REAL)
        return name

    def _disjoint(self, name: str, images: StreamedImages, test: HashedSet, space: LabelSpace) -> str:
        """Of real images to train on, with labels or without: none is a test image, or as few as generated ones may be."""
        hashed = hash_set(images)
        hashed = replace(hashed, labels=hashed.labels.clip(min=0))  # that of an unlabelled image is not looked at
        table = real_table(hashed, list(space.names), self.config.near, test)
        gate(name, [Check(table, quality.image_suite(space, 1, self.config.max_leakage, 1))], self.folder, OF_HELPING)
        return name

    def _classes(self, found: Mapping[str, int], names: list[str], share: int | None) -> list[Check]:
        return [Check(class_table(found, names, share), quality.class_suite(self.config), "label")]


def test_images(space: LabelSpace, data: Data, prepared: Prepared) -> HashedSet:
    """All images that measure."""
    if isinstance(data, LabelledData):
        return _test_images(space, data.real)
    if isinstance(data, FewShotData):
        return joined([hash_set(open_photos(listing, SIDE)) for listing in data.splits(space).tests.values()])
    assert prepared.splits is not None  # the data stage wrote them
    root = prepared.splits.open().parent
    return joined([hash_tagged(read_tagged(root / name), name) for name in ("zsl", "gzsl")])


def _test_images(space: LabelSpace, real: RealConfig) -> HashedSet:
    return hash_set(open_labelled(Path(real.path), real.test, space, SIDE, real.test_per_class))
