"""NUS-WIDE with 925 seen classes (tags) and 81 unseen (annotated concepts), in the two layouts that people have.

The zero-shot release: annotations/Tag_all/all_labels.txt (1006 names), annotations/zsl/formatted_*.npy, images/.
The original: ImageList/, NUS_WID_Tags/ (1000 tags, of which 75 are concepts too), Groundtruth/TrainTestLabels/, Flickr/.

Images were fetched from Flickr, where about one in five is gone. Those that are not there are left out and counted.
"""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from figment.datasets.multilabel import MultiLabelSet, Split, check_file_name, first_there, labelled_only, split_ids
from figment.errors import InputError
from figment.labels import Label, LabelSpace, key
from figment.reading import LARGE, read_text, why_unreadable
from figment.text import reason_of

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # whatever the tools around set for everybody
RELEASED = {  # labels, images
    "train": ("formatted_train_all_labels_filtered.npy", "formatted_train_images_filtered.npy"),
    "zsl": ("formatted_val_all_labels_filtered.npy", "formatted_val_images_filtered.npy"),
    "gzsl": ("formatted_val_gzsl_labels_filtered.npy", "formatted_val_gzsl_images_filtered.npy"),
}


def nus_wide_space(root: Path, unseen: LabelSpace) -> LabelSpace:
    """All classes: ``unseen`` as given (parents and all), the data set's other tags as seen, in the data set's order."""
    if _is_release(root):
        names = _lines(root / "annotations/Tag_all/all_labels.txt")
    else:
        tags = _lines(first_there(root, "NUS_WID_Tags/TagList1k.txt", "TagList1k.txt"))
        concepts = set(map(key, unseen.names))
        names = [tag for tag in tags if key(tag) not in concepts] + list(unseen.names)
    taken = set(map(key, names))  # tags of their own, although they may be synonyms of a concept
    known = {
        key(label.name): label.model_copy(
            update={"unseen": True, "synonyms": tuple(word for word in label.synonyms if key(word) not in taken)}
        )
        for label in unseen.labels
    }
    missing = [label.name for name, label in known.items() if name not in set(map(key, names))]
    if missing:
        raise InputError(
            f"{root}: its list of labels lacks {', '.join(missing)}; give the label space of the 81 concepts"
        )
    labels = tuple(known.get(key(name), Label(name=name)) for name in names)
    return LabelSpace(labels=labels, confusable=unseen.confusable).checked()


def read_nus_wide(root: Path, split: Split, space: LabelSpace) -> MultiLabelSet:
    """``train`` over the seen classes, ``zsl`` over the unseen, ``gzsl`` over all, from ``nus_wide_space``'s classes."""
    classes = space.choose([space.names[i] for i in split_ids(space, split)])
    return _read_release(root, split, classes) if _is_release(root) else _read_original(root, split, classes)


def _is_release(root: Path) -> bool:
    return (root / "annotations/Tag_all/all_labels.txt").is_file()


def _read_release(root: Path, split: Split, classes: LabelSpace) -> MultiLabelSet:
    labels_file, images_file = (root / "annotations/zsl" / name for name in RELEASED[split])
    labels, names = read_array(labels_file), read_array(images_file)
    columns = {key(name): i for i, name in enumerate(_lines(root / "annotations/Tag_all/all_labels.txt"))}
    if labels.shape != (len(names), len(columns)):
        raise InputError(
            f"{labels_file}: has shape {labels.shape}, but there are {len(names)} images in {images_file.name} "
            f"and {len(columns)} labels in all_labels.txt; take all three from one release"
        )
    targets = np.asarray(labels[:, [columns[key(name)] for name in classes.names]]) > 0
    files = [str(name.decode() if isinstance(name, bytes) else name).strip().replace("\\", "/") for name in names]
    return _collect(images_file, root / "images", files, targets, classes)


def _read_original(root: Path, split: Split, classes: LabelSpace) -> MultiLabelSet:
    part = "Train" if split == "train" else "Test"
    list_file = first_there(root, f"ImageList/{part}Imagelist.txt", f"{part}Imagelist.txt")
    files = [name.replace("\\", "/") for name in _lines(list_file)]
    targets = np.zeros((len(files), len(classes)), bool)
    if classes.seen_ids:
        tag_file = first_there(root, f"NUS_WID_Tags/{part}_Tags1k.dat", f"{part}_Tags1k.dat")
        tags = _lines(first_there(root, "NUS_WID_Tags/TagList1k.txt", "TagList1k.txt"))
        columns = {key(tag): i for i, tag in enumerate(tags)}
        table = _table(tag_file)
        if table.shape != (len(files), len(tags)):
            raise InputError(
                f"{tag_file}: has {table.shape[0]} rows of {table.shape[1]}, expected one for each of {len(files)} images "
                f"in {list_file.name} and {len(tags)} tags"
            )
        for i in classes.seen_ids:
            targets[:, i] = table[:, columns[key(classes.names[i])]] > 0
    for i in classes.unseen_ids:
        name = f"TrainTestLabels/Labels_{classes.names[i]}_{part}.txt"
        truth_file = first_there(root, f"Groundtruth/{name}", name)
        truth = np.array(_lines(truth_file))
        if len(truth) != len(files) or not np.isin(truth, ("0", "1")).all():
            raise InputError(
                f"{truth_file}: has {len(truth)} lines, expected 0 or 1 for each of {len(files)} images in {list_file.name}"
            )
        targets[:, i] = truth == "1"
    return _collect(list_file, first_there(root, "Flickr", "images"), files, targets, classes)


def _collect(where: Path, folder: Path, names: list[str], targets: np.ndarray, classes: LabelSpace) -> MultiLabelSet:
    files = [folder / check_file_name(name, f"{where}: image {i + 1}") for i, name in enumerate(names)]
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise InputError(f"{where}: image {twice!r} is listed twice; each must be there once")
    found = labelled_only(str(where), files, targets, classes)
    there = [i for i, file in enumerate(found.files) if file.is_file()]
    if not there:
        raise InputError(
            f"{where}: none of {len(found)} images is there, the first would be {found.files[0]}; unpack them"
        )
    if len(there) < len(found):
        log.warning("%s: %d of %d images are not there and are left out", where, len(found) - len(there), len(found))
    return MultiLabelSet(tuple(found.files[i] for i in there), found.targets[there], classes)


def _table(path: Path) -> np.ndarray:
    """(rows, columns) uint8 of 0 and 1."""
    expected = "expected a line an image, of 0 or 1 for each tag"
    try:
        if why := why_unreadable(path):
            raise OSError(why)
        table = pd.read_csv(path, sep=r"\s+", header=None, dtype=np.uint8, engine="c").to_numpy()
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path}: not readable ({reason_of(error)}); {expected}") from error
    if table.max() > 1:
        raise InputError(f"{path}: holds a {table.max()}; {expected}")
    return table


def _lines(path: Path) -> list[str]:
    text = read_text(path, "a list of NUS-WIDE, which has them all in one folder", LARGE)
    return [line.strip() for line in text.split("\n") if line.strip()]


def read_array(path: Path) -> np.ndarray:
    """An npy file, mapped and not read. Raises InputError for what is none, and for pickled objects, which are never loaded."""
    if why := why_unreadable(path):
        raise InputError(f"{path}: {why}; unpack the whole zero-shot release")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises any
        pickled = "allow_pickle" in str(error) or "Python objects" in str(error)
        found = (
            "holds pickled objects, which are never loaded" if pickled else f"not a readable npy ({reason_of(error)})"
        )
        raise InputError(f"{path}: {found}; save it again as an array of numbers or of unicode text") from error
