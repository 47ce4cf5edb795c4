"""What a trained model says of images in files, folders and Parquet: a class with its probability, or tags."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from figment.clip.label_vectors import read_names
from figment.devices import choose_device
from figment.errors import InputError
from figment.evaluation.tagging import batches, load_tagger, render_lines, rendered_files, tag_files
from figment.files import atomic
from figment.image_files import UnreadImages, names_in, try_images
from figment.images import to_tensor
from figment.training.kinds.registry import open_model
from figment.training.kinds.semantic_matrix import SEMANTIC_MATRIX
from figment.training.saved import TrainedModel, read_model

CLASSES, TAGS = 1, 10  # an image, unless more are asked for


def predict_files(
    model: Path,
    files: Sequence[Path],
    tags: Path | None = None,
    top_k: int | None = None,
    batch_size: int = 32,
    rendered: Path | None = None,
    device: str = "auto",
) -> Iterator[str]:
    """Lines of JSON for the images of ``files`` in their order, by a folder with a classifier or a semantic matrix.

    ``tags``: a file of the only tags wanted, which a classifier does not take; those that the model was not trained with get
    their vectors from where its labels' came from. With a folder ``rendered`` each image is
    written there with its lines beside.
    """
    if read_model(model).kind == SEMANTIC_MATRIX.name:
        tagger = load_tagger(model, device)
        tagger = tagger.choose(read_names(tags), str(tags)) if tags else tagger
        yield from tag_files(tagger, files, TAGS if top_k is None else top_k, batch_size, rendered)
    elif tags:
        raise InputError(f"{tags}: {model} holds a classifier, which has classes of its own; leave the tags out")
    else:
        yield from classify_files(open_model(model), model, files, top_k, batch_size, rendered, device)


@torch.inference_mode()
def classify_files(
    trained: TrainedModel,
    folder: Path,
    files: Sequence[Path],
    top_k: int | None,
    batch_size: int,
    rendered: Path | None,
    device: str,
) -> Iterator[str]:
    """Lines of JSON ``{"image", "label", "probability"}``, each image's ``top_k`` classes (by default one, or
    ten if an image may show several), the most probable first.

    An image that cannot be read has a line ``{"image", "error"}``, and UnreadImages is raised at the end.
    """
    where = choose_device(device)
    top_k = (CLASSES if trained.kind.exclusive else TAGS) if top_k is None else top_k
    if top_k < 1 or batch_size < 1:
        raise InputError(f"top_k is {top_k} and batch_size {batch_size}; both are at least 1")
    classifier = trained.scorer().to(where)
    names = [name for file in files for name in names_in(file)]
    targets = rendered_files(names, rendered) if rendered else []
    unread: list[InputError] = []
    images = (image for file in files for image in try_images(file))
    for batch in batches(enumerate(images), batch_size):
        pixels = [to_tensor(image, *trained.preparation) for _, image in batch if isinstance(image, Image.Image)]
        seen = classifier(torch.stack(pixels).to(where) / 255).cpu() if pixels else torch.empty(0, len(trained.labels))
        if not torch.isfinite(seen).all():
            raise InputError(
                f"{folder}: gives probabilities that are not finite; its weights are damaged: train it again"
            )
        ranked = iter(zip(*(each.tolist() for each in seen.sort(dim=1, descending=True, stable=True)), strict=True))
        for i, image in batch:
            if isinstance(image, InputError):
                unread.append(image)
                yield json.dumps({"image": names[i], "error": str(image)}, ensure_ascii=False)
                continue
            found = [(trained.labels[c], p) for p, c in zip(*next(ranked), strict=True)][:top_k]
            if rendered:
                with atomic(targets[i]) as partial:
                    render_lines(image, [(label, f"{p:.3f}") for label, p in found]).save(partial, "PNG")
            for label, p in found:
                yield json.dumps({"image": names[i], "label": label, "probability": round(p, 6)}, ensure_ascii=False)
    if unread:
        raise UnreadImages(unread, len(names))
