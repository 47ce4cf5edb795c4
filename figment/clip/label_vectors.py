"""Label vectors: the meaning of each label's name as a unit vector, from CLIP's text tower or from word-vector files.

Zero-shot recipes know a label by its vector alone. ``make_label_vectors`` gives those of a LabelSpace; the files read are
GloVe's and fastText's text (``.txt``, ``.vec``), the two pickle layouts that the code of "Semantic Diversity Learning"
ships (``.pickle``, ``.pkl``), and ``.npz`` with ``names`` and ``vectors``.
"""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from figment import safe_pickle
from figment.clip.config import LabelVectorConfig
from figment.clip.scorer import ClipScorer
from figment.errors import InputError
from figment.labels import Label, LabelSpace, key, nearest
from figment.reading import read_text, why_unreadable
from figment.text import reason_of


@dataclass(frozen=True)
class LabelVectors:
    """``vectors`` (N, D) float32 of unit length, one for each of ``names``."""

    names: tuple[str, ...]
    vectors: Tensor

    @classmethod
    def of(cls, names: Sequence[str], vectors: Any, where: str) -> "LabelVectors":
        """From any (N, D) array; each row is brought to unit length. ``where`` names the source in an InputError."""
        array = torch.as_tensor(np.asarray(vectors, np.float32))
        if array.ndim != 2 or array.shape[0] != len(names) or array.shape[1] == 0:
            raise InputError(
                f"{where}: vectors of shape {tuple(array.shape)} for {len(names)} names; expected one row a name"
            )
        lengths = array.norm(dim=1)
        for name, length in zip(names, lengths.tolist(), strict=True):
            if not 0 < length < float("inf"):
                raise InputError(
                    f"{where}: the vector of {name!r} is zero or not finite; it says nothing about the label"
                )
        vectors = cls(tuple(names), F.normalize(array, dim=1))
        if len(vectors._rows) < len(names):
            twice = next(name for i, name in enumerate(names) if vectors._rows[key(name)] != i)
            raise InputError(f"{where}: {twice!r} is listed more than once; give each name one vector")
        return vectors

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key(name): i for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    def row_of(self, name: str) -> int | None:
        """Where a name stands, whatever its case and underscores; None if it has no vector."""
        return self._rows.get(key(name))

    def of_labels(self, labels: LabelSpace, where: str) -> "LabelVectors":
        """The vectors of ``labels`` in their order, each found by its name, prompt name or a synonym."""
        rows = [
            next((r for s in spellings(label) if (r := self.row_of(s)) is not None), None) for label in labels.labels
        ]
        missing = [label.name for label, row in zip(labels.labels, rows, strict=True) if row is None]
        if missing:
            raise InputError(missing_labels(where, missing, len(labels), self.names))
        return LabelVectors(labels.names, self.vectors[[row for row in rows if row is not None]])

    def choose(self, names: Sequence[str], where: str) -> "LabelVectors":
        """The vectors of ``names``, in that order."""
        return self.of_labels(LabelSpace(labels=tuple(Label(name=name) for name in names)), where)

    def with_more(self, others: "LabelVectors", where: str) -> "LabelVectors":
        """These and the vectors of ``others``, which are new names in the same space."""
        if others.dim != self.dim:
            raise InputError(
                f"{where}: vectors of {others.dim} dimensions beside others of {self.dim}; use one source for all"
            )
        return LabelVectors.of(self.names + others.names, torch.cat([self.vectors, others.vectors]), where)


def spellings(label: Label) -> tuple[str, ...]:
    return (label.name, label.prompt_name, *label.synonyms)


def missing_labels(where: str, missing: Sequence[str], asked: int, known: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
    hint = ", ".join(nearest(missing[0], known))
    near = f" (nearest to {missing[0]!r}: {hint})" if hint else ""
    return (
        f"{where}: no vector for {len(missing)} of {asked} labels: {shown}{near}; use another source or give synonyms"
    )


def make_label_vectors(labels: LabelSpace, config: LabelVectorConfig) -> LabelVectors:
    """The vectors of ``labels``, in their order. Raises InputError for a file that lacks one or is not what it should be."""
    if config.file is None:
        assert config.clip is not None  # LabelVectorConfig sees to it
        features = ClipScorer(config.clip).text_features(labels)
        return LabelVectors.of(labels.names, features.cpu().numpy(), f"clip.model {config.clip.model!r}")
    path = Path(config.file)
    if path.suffix in (".txt", ".vec"):
        return read_text_vectors(path, labels)
    if path.suffix == ".npz":
        return read_npz_vectors(path).of_labels(labels, str(path))
    if path.suffix in (".pickle", ".pkl"):
        columns = read_names(Path(config.columns)) if config.columns else None
        return read_pickled_vectors(path, columns).of_labels(labels, str(path))
    raise InputError(
        f"{path}: word vectors end in .txt, .vec, .pickle, .pkl or .npz; this is {path.suffix or 'none of them'!r}"
    )


def read_npz_vectors(path: Path) -> LabelVectors:
    """A NumPy archive with ``names`` (N) and ``vectors`` (N, D)."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return LabelVectors.of([str(name) for name in archive["names"]], archive["vectors"], str(path))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, EOFError) as error:
        raise InputError(
            f"{path}: not readable ({reason_of(error)}); expected an .npz with 'names' and 'vectors'"
        ) from error


def read_pickled_vectors(path: Path, columns: Sequence[str] | None = None) -> LabelVectors:
    """The paper's files: a bare array (D, N) as for NUS-WIDE, or a dict with ``wordvec_array`` (1, D, N) as for COCO.

    Column j is class j: of ``columns``, or of the classes.pickle beside the file.
    """
    expected = "a pickled array (D, N), or a dict with 'wordvec_array' (1, D, N)"
    content = safe_pickle.load(path, expected, encoding="latin1")
    array = content.get("wordvec_array") if isinstance(content, dict) else content
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim not in (2, 3):
        raise InputError(f"{path}: not {expected}")
    if array.ndim == 3 and len(array) != 1:
        raise InputError(f"{path}: an array of shape {array.shape}; expected (1, D, N)")
    if columns is None:
        beside = path.parent / "classes.pickle"
        if not beside.is_file():
            raise InputError(
                f"{path}: nothing names its {array.shape[-1]} columns; put classes.pickle beside it or give 'columns'"
            )
        columns = read_pickled_names(beside)
    return LabelVectors.of(columns, array.reshape(array.shape[-2:]).T, str(path))


def read_pickled_names(path: Path) -> tuple[str, ...]:
    """The paper's lists of names: a dict from 0..N-1 to str (classes.pickle), or a list of str (unseen_classes.pickle)."""
    expected = "a pickled list of names, or a dict from 0..N-1 to names"
    content = safe_pickle.load(path, expected, encoding="latin1")
    if isinstance(content, dict) and sorted(content, key=str) == sorted(range(len(content)), key=str):
        content = [content[i] for i in range(len(content))]
    if not isinstance(content, list | tuple) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path}: not {expected}")
    return tuple(content)


def read_names(path: Path) -> tuple[str, ...]:
    """A text file of names, one a line; empty lines and lines that start with # are passed over."""
    lines = map(str.strip, read_text(path, "text, one name a line", kind="a readable list of names").split("\n"))
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise InputError(f"{path}: holds no name; expected one a line")
    return names


def read_text_vectors(path: Path, labels: LabelSpace) -> LabelVectors:
    """GloVe's or fastText's text: a word and its numbers a line, with spaces or tabs between, for fastText after a line with
    count and dimension.

    A label is looked up by its name, prompt name and synonyms, with ``_`` or ``-`` for spaces; in the spelling asked for
    rather than in another case. A name of several words that the file does not know as one is the mean of its words'
    vectors, without punctuation around them where the file knows none. Only the lines needed are parsed.
    """
    wanted = {key(name) for label in labels.labels for name in spellings(label)}
    wanted |= {form for name in wanted for word in name.split() for form in (word, _bare(word))} - {""}
    exact: dict[str, np.ndarray] = {}
    by_key: dict[str, np.ndarray] = {}
    for word, vector in _lines(path, wanted):
        exact.setdefault(word, vector)
        by_key.setdefault(key(word), vector)
    found = by_key | exact
    vectors = [_look_up(label, found) for label in labels.labels]
    missing = [label.name for label, vector in zip(labels.labels, vectors, strict=True) if vector is None]
    if missing:
        raise InputError(missing_labels(str(path), missing, len(labels), sorted(found)))
    return LabelVectors.of(labels.names, np.stack([vector for vector in vectors if vector is not None]), str(path))


def _look_up(label: Label, found: dict[str, np.ndarray]) -> np.ndarray | None:
    for name in spellings(label):
        for spelling in (name, name.casefold(), key(name)):
            if spelling in found:
                return found[spelling]
    for name in spellings(label):
        words = [word if word in found else _bare(word) for word in key(name).split()]
        parts = [found.get(word) for word in words if word]
        if parts and all(part is not None for part in parts):
            return np.mean([part / np.linalg.norm(part) for part in parts if part is not None], axis=0)
    return None


def _bare(word: str) -> str:
    return word.strip(string.punctuation)


def _lines(path: Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(word, vector (D,)) of the lines whose word is ``wanted``. Words may hold spaces, as a few of GloVe's do."""
    try:
        if why := why_unreadable(path):
            raise InputError(f"{path}: cannot be read ({why}); expected word vectors as text")
        with open(path, encoding="utf-8-sig", errors="replace", newline="\n") as file:
            fields = next(file, "").split()
            header = len(fields) == 2 and all(field.isdigit() for field in fields)
            dim = int(fields[1]) if header else len(fields) - 1
            if dim < 1:
                raise InputError(f"{path}: its first line holds no vector; expected a word and its numbers a line")
            file.seek(0)
            for number, line in enumerate((line.replace("\t", " ") for line in file), 1):
                if (number == 1 and header) or key(line.split(" ", 1)[0]) not in wanted:
                    continue
                word, *numbers = line.rstrip().rsplit(None, dim)
                if " " in word and not _is_number(word.rsplit(" ", 1)[1]):
                    continue
                try:
                    vector = np.array(numbers, np.float32)
                except ValueError as error:
                    raise InputError(
                        f"{path} line {number}: {word!r} is followed by what is no number ({reason_of(error)})"
                    ) from error
                if len(vector) != dim or " " in word:
                    count = len(line.split()) - 1
                    raise InputError(f"{path} line {number}: {count} numbers where the file's first vector has {dim}")
                yield word, vector
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected word vectors as text") from error


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text) is not None


def twins(unseen: LabelVectors, seen: LabelVectors, threshold: float = 0.8) -> dict[str, tuple[str, float]]:
    """Which unseen names are a seen one in other clothes, with that seen name and their cosine: its singular or plural, or
    a cosine of at least ``threshold``. Knowing the seen one, such a label is hardly unseen."""
    cosines = unseen.vectors @ seen.vectors.t()
    found = {}
    for i, name in enumerate(unseen.names):
        same = next((j for j, other in enumerate(seen.names) if differ_in_number(name, other)), None)
        j = int(cosines[i].argmax()) if same is None else same
        if same is not None or cosines[i, j] >= threshold:
            found[name] = (seen.names[j], float(cosines[i, j]))
    return found


def twin_free(unseen: LabelVectors, seen: LabelVectors, threshold: float = 0.8) -> tuple[str, ...]:
    """The unseen names without a twin among the seen: the subset to report beside the full one."""
    known = twins(unseen, seen, threshold)
    return tuple(name for name in unseen.names if name not in known)


def differ_in_number(first: str, second: str) -> bool:
    """Whether one name is the other's plural, by the regular endings of English and -f, -fe to -ves."""
    one, many = sorted((key(first), key(second)), key=len)
    plurals = {one + "s", one + "es"}
    plurals |= {one[: -len(end)] + new for end, new in (("y", "ies"), ("f", "ves"), ("fe", "ves")) if one.endswith(end)}
    return many in plurals
