"""What a trained model says of images in files, folders and Parquet: a class with its probability, or tags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from figment.clip.label_vectors import read_names
from figment.devices import choose_device
from figment.errors import InputError
from figment.evaluation.tagging import Said, See, check_sizes, lines_of, load_tagger, tag_files
from figment.images import to_tensor
from figment.training.kinds.registry import open_model
from figment.training.kinds.semantic_matrix import SEMANTIC_MATRIX
from figment.training.saved import TrainedModel, read_model

CLASSES, TAGS = 1, 10  # an image, unless more are asked for


@dataclass(frozen=True)
class Asked:
    """What is wanted of a model. ``tags``: a file of the only tags, which a classifier does not take; those that the model was
    not trained with get their vectors from where its labels' came from. With a folder ``rendered`` each image is written there
    with its lines beside."""

    tags: Path | None = None
    top_k: int | None = None
    batch_size: int = 32
    rendered: Path | None = None
    device: str = "auto"


def predict_files(model: Path, files: Sequence[Path], asked: Asked = Asked()) -> Iterator[str]:
    """Lines of JSON for the images of ``files`` in their order, by a folder with a classifier or a semantic matrix."""
    if read_model(model).kind == SEMANTIC_MATRIX.name:
        tagger = load_tagger(model, asked.device)
        tagger = tagger.choose(read_names(asked.tags), str(asked.tags)) if asked.tags else tagger
        top_k = TAGS if asked.top_k is None else asked.top_k
        yield from tag_files(tagger, files, top_k, asked.batch_size, asked.rendered)
    elif asked.tags:
        raise InputError(f"{asked.tags}: {model} holds a classifier, which has classes of its own; leave the tags out")
    else:
        trained = open_model(model)
        usual = CLASSES if trained.kind.exclusive else TAGS
        top_k = usual if asked.top_k is None else asked.top_k
        check_sizes(top_k, asked.batch_size)
        yield from lines_of(files, classes_by(trained, model, top_k, asked.device), asked.batch_size, asked.rendered)


def classes_by(trained: TrainedModel, folder: Path, top_k: int, device: str) -> See:
    """``{"image", "label", "probability"}`` of each image's ``top_k`` classes, the most probable first."""
    where, labels = choose_device(device), trained.labels
    classifier = trained.scorer().to(where)

    def said(label: int, probability: float) -> Said:
        record = {"label": labels[label], "probability": round(probability, 6)}
        return Said(record, labels[label], f"{probability:.3f}")

    def see(images: Sequence[Image.Image]) -> list[list[Said]]:
        if not images:
            return []
        pixels = torch.stack([to_tensor(image, *trained.preparation) for image in images])
        with torch.inference_mode():
            seen = classifier(pixels.to(where) / 255).cpu()
        if not torch.isfinite(seen).all():
            raise InputError(
                f"{folder}: gives probabilities that are not finite; its weights are damaged: train it again"
            )
        best = seen.argsort(dim=1, descending=True, stable=True)[:, :top_k].tolist()
        return [[said(c, row[c]) for c in chosen] for row, chosen in zip(seen.tolist(), best, strict=True)]

    return see
