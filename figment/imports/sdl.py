"""``sdl``: a checkpoint of "Semantic Diversity Learning", ``NUS_mtresnet_224.pth``, as a saved model that tags images.

The checkpoint holds the network and the names of the classes; their vectors and which of them are unseen are files of the
release's data folder: ``wordvec_array.pickle``, ``classes.pickle``, ``unseen_classes.pickle``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from figment.clip.label_vectors import (
    LabelVectorConfig,
    LabelVectors,
    read_names,
    read_npz_vectors,
    read_pickled_names,
    read_pickled_vectors,
)
from figment.errors import InputError
from figment.files import digest, sha256_file
from figment.imports.contract import Found, Importer, Options
from figment.imports.weights import PREFIX, match
from figment.labels import Label, LabelSpace, check_name, key
from figment.reading import name_of
from figment.tensor_files import read_tensor_file, state_of
from figment.text import shown
from figment.training.config import SemanticConfig
from figment.training.kinds.semantic_matrix import (
    SEMANTIC_MATRIX,
    LabelledMatrix,
    SemanticSettings,
    semantic_preprocessing,
)
from figment.training.saved import Provenance, SavedModel, save_model
from figment.training.semantic import build_semantic_matrix

MODEL, IMAGE_SIZE = "tresnet_m", 224
RELEASE = "miil_in1k"  # of timm: its mean and deviation are 0 and 1, as in the paper
EMBEDDING = "embedding.weight"


def _names(content: Any, where: str) -> tuple[str, ...]:
    """The classes that a checkpoint lists, in the order of their vectors; () if it lists none."""
    listed = content.get("idx_to_class") if isinstance(content, Mapping) else None
    if listed is None:
        return ()
    if isinstance(listed, Mapping):
        by_number = {str(number): name for number, name in listed.items()}
        listed = [by_number.get(str(number)) for number in range(len(by_number))]
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"{where}: idx_to_class is {shown(listed)}; expected names by number from 0")
    return tuple(check_name(name, f"{where}: idx_to_class") for name in listed)


def _vectors(place: Path, names: tuple[str, ...]) -> tuple[Path, LabelVectors]:
    """The file of the label vectors, and these in the order of ``names``, or in its own where those are not known."""
    file = place / "wordvec_array.pickle" if place.is_dir() else place
    if file.suffix == ".npz":
        found = read_npz_vectors(file)
    elif file.suffix in (".pickle", ".pkl"):
        found = read_pickled_vectors(file, names or None)
    else:
        raise InputError(
            f"--vectors: {name_of(file)}; expected the release's wordvec_array.pickle, or an .npz of names and vectors"
        )
    return file, found.choose(names, name_of(file)) if names else found


def _unseen(labels: Path | None, beside: Path) -> set[str]:
    """Names of the unseen classes."""
    file = labels or beside / "unseen_classes.pickle"
    if file.suffix in (".yaml", ".yml"):
        space = LabelSpace.load(file)
        return {key(label.name) for label in space.labels if label.unseen}
    if not file.is_file():
        raise InputError(f"{name_of(file)}: is not there and says which classes are unseen; give --labels")
    found = read_pickled_names(file) if file.suffix in (".pickle", ".pkl") else read_names(file)
    return set(map(key, found))


def _read(source: Path, folder: Path, options: Options) -> Found:
    where = name_of(source)
    content = read_tensor_file(source, "a checkpoint of Semantic Diversity Learning")
    tensors = state_of(content, where)
    while tensors and EMBEDDING not in tensors and any(map(PREFIX.match, tensors)):
        tensors = {PREFIX.sub("", name): value for name, value in tensors.items()}
    file, vectors = _vectors(options.vectors or source.parent, _names(content, where))
    unseen = _unseen(options.labels, file.parent)
    if strange := sorted(unseen - set(map(key, vectors.names))):
        where_unseen = name_of(options.labels or file.parent)
        raise InputError(f"{where_unseen}: the unseen class {strange[0]!r} is none of the {len(vectors)} classes")
    embedding = tensors.pop(EMBEDDING, None)
    if embedding is None or embedding.ndim != 2 or not len(embedding) or len(embedding) % vectors.dim:
        shape = "none" if embedding is None else tuple(embedding.shape)
        raise InputError(
            f"{where}: {EMBEDDING} is {shape}; expected a multiple of the vectors' {vectors.dim} numbers, and features"
        )
    training = SemanticConfig(model=f"{MODEL}.{RELEASE}", image_size=IMAGE_SIZE, rows=len(embedding) // vectors.dim)
    with torch.random.fork_rng(devices=[]):
        matrix = build_semantic_matrix(training, vectors.dim).eval()
    if embedding.shape != matrix.embedding.weight.shape:
        raise InputError(
            f"{where}: {EMBEDDING} is {tuple(embedding.shape)}; expected {tuple(matrix.embedding.weight.shape)}"
        )
    found, left = match(tensors, matrix.backbone, where)
    matrix.backbone.load_state_dict(found, strict=False)
    matrix.embedding.weight.data.copy_(embedding)
    space = LabelSpace(labels=tuple(Label(name=name, unseen=key(name) in unseen) for name in vectors.names)).checked()
    sha256 = sha256_file(source)
    saved = SavedModel(
        labels=space,
        preprocessing=semantic_preprocessing(matrix, IMAGE_SIZE),
        training=f"Imported from {source.name}, of Semantic Diversity Learning, with {training.rows} principal vectors.",
        provenance=Provenance(key=digest(["import", "sdl", sha256, sha256_file(file)]), data={"import": sha256}),
    )
    settings = SemanticSettings(vectors=LabelVectorConfig(file=str(file)), training=training)
    save_model(SEMANTIC_MATRIX, LabelledMatrix(matrix, vectors.vectors, training.pooling), settings, saved, folder)
    notes = (f"not taken: {len(left)} tensors, such as {', '.join(left[:3])}",) if left else ()
    counts = {"classes": len(space), "unseen": len(space.unseen_ids), "principal vectors": training.rows}
    return Found(sha256, counts, "tag images with it: figment predict IMAGE --model {}", notes)


IMPORTER = Importer(
    "model", "a checkpoint such as NUS_mtresnet_224.pth", _read, frozenset({"name", "vectors", "labels"})
)
