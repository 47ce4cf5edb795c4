"""Tags of images from a trained semantic matrix and label vectors: the seen and the unseen, in one ranking."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image, ImageDraw, ImageFont

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors, make_label_vectors
from figment.devices import choose_device
from figment.errors import InputError
from figment.files import atomic
from figment.image_files import UnreadImages, names_in, try_images
from figment.images import as_rgb, squash
from figment.labels import LabelSpace, key
from figment.training.kinds.semantic_matrix import SEMANTIC_MATRIX
from figment.training.saved import load_model
from figment.training.semantic import predict_scores
from models.semantic_matrix import Pooling, SemanticMatrix

T = TypeVar("T")


@dataclass(frozen=True)
class Tag:
    """A label given to an image. ``score`` ranks and is no probability; ``row`` is the principal vector that won it, so
    tags with the same row share a direction of meaning. ``unseen``: no training image had this label."""

    tag: str
    score: float
    unseen: bool
    row: int

    @property
    def beside(self) -> tuple[str, str]:
        """A name and numbers: ``*`` around unseen ones, score, row."""
        return f"*{self.tag}*" if self.unseen else self.tag, f"{self.score:.3g}   row {self.row}"


@dataclass(frozen=True)
class Tagger:
    """A model with the labels it is asked for; any label with a vector will do, trained on or not. ``source`` is where the
    vectors of more come from."""

    model: SemanticMatrix
    labels: LabelVectors
    unseen: frozenset[str]
    image_size: int
    pooling: Pooling = "max"
    source: LabelVectorConfig | None = None

    def __post_init__(self) -> None:
        if self.labels.dim != self.model.dim:
            raise InputError(
                f"label vectors have {self.labels.dim} dimensions, the model's matrix {self.model.dim}; "
                "take the vectors from the source it was trained with"
            )

    def choose(self, names: Sequence[str], where: str) -> "Tagger":
        """One that gives only these tags, the new ones by vectors from ``source``. Raises InputError for a name that has none
        there either."""
        more = self._with_new(names, where) if self.source else self
        labels = more.labels.choose(names, where)
        rows = [more.labels.row_of(name) for name in names]
        unseen = {
            name
            for name, row in zip(names, rows, strict=True)
            if row is not None and more.labels.names[row] in more.unseen
        }
        return replace(self, labels=labels, unseen=frozenset(unseen))

    def _with_new(self, names: Sequence[str], where: str) -> "Tagger":
        new = {key(name): name for name in names if self.labels.row_of(name) is None}
        if not new or not self.source:
            return self
        try:
            vectors = make_label_vectors(LabelSpace.of(list(new.values())), self.source)
            return self.with_labels(vectors, self.source.source)
        except InputError as error:
            shown = ", ".join(repr(name) for name in list(new.values())[:5]) + (", ..." if len(new) > 5 else "")
            raise InputError(f"{where}: the model does not know {shown}; {error}") from error

    def with_labels(self, labels: LabelVectors, where: str) -> "Tagger":
        """One that gives these tags too, unseen ones, known by their vectors alone."""
        more = self.labels.with_more(labels, where)
        return replace(self, labels=more, unseen=self.unseen | set(labels.names))


def load_tagger(folder: Path, device: str = "cpu") -> Tagger:
    """From the folder of a semantic matrix."""
    model = load_model(folder, SEMANTIC_MATRIX)
    space, training = model.saved.labels, model.settings.training
    unseen = frozenset(space.names[i] for i in space.unseen_ids)
    matrix, labels = model.network.matrix.to(choose_device(device)), model.network.label_vectors(space.names)
    return Tagger(matrix, labels, unseen, training.image_size, training.pooling, model.settings.vectors)


def predict_tags(
    tagger: Tagger, images: Iterable[Image.Image], top_k: int = 10, batch_size: int = 32
) -> Iterator[list[Tag]]:
    """For each image, of any mode, its ``top_k`` tags, best first; equal scores in the labels' order.

    Images are taken ``batch_size`` at a time and squashed to the model's size, as in the paper.
    """
    check_sizes(top_k, batch_size)
    names = tagger.labels.names
    for batch in batches(images, batch_size):
        pixels = torch.stack([squash(as_rgb(image), tagger.image_size) for image in batch])
        scores, rows = predict_scores(tagger.model, pixels, tagger.labels.vectors, tagger.pooling)
        if not scores.isfinite().all():
            raise InputError("the model's scores of an image are not finite; its weights are damaged, train it again")
        best = scores.argsort(dim=1, descending=True, stable=True)[:, :top_k]
        for chosen, score, row in zip(best.tolist(), scores, rows, strict=True):
            yield [Tag(names[j], float(score[j]), names[j] in tagger.unseen, int(row[j])) for j in chosen]


def check_sizes(top_k: int, batch_size: int) -> None:
    if top_k < 1 or batch_size < 1:
        raise InputError(f"top_k is {top_k} and batch_size {batch_size}; both are at least 1")


def tag_files(
    tagger: Tagger,
    files: Sequence[Path],
    top_k: int = 10,
    batch_size: int = 32,
    rendered: Path | None = None,
) -> Iterator[str]:
    """``lines_of`` images, ``{"image", "tag", "score", "unseen", "row"}``, a line a tag. Raises InputError at once for a
    ``top_k`` or a ``batch_size`` below 1."""
    check_sizes(top_k, batch_size)

    def see(images: Sequence[Image.Image]) -> Iterator[list[Said]]:
        for tags in predict_tags(tagger, images, top_k, batch_size):
            yield [Said(asdict(tag), *tag.beside) for tag in tags]

    return lines_of(files, see, batch_size, rendered)


class Said(NamedTuple):
    """One thing that is said of an image: in a line of JSON; and beside the image, a name and its numbers."""

    record: dict[str, Any]
    name: str
    numbers: str


See = Callable[[Sequence[Image.Image]], Iterable[Sequence[Said]]]  # what is said of each image of a batch


def lines_of(files: Sequence[Path], see: See, batch_size: int, rendered: Path | None) -> Iterator[str]:
    """Lines of JSON ``{"image", ...}`` of all that ``see`` says of the images of files (Parquet has many) in their order.

    With a folder ``rendered``, each image with its lines beside is written there as PNG. An image that cannot be read has
    a line ``{"image", "error"}``, and UnreadImages is raised at the end.
    """
    names = [name for file in files for name in names_in(file)]
    targets = rendered_files(names, rendered) if rendered else []
    unread: list[InputError] = []
    images = (image for file in files for image in try_images(file))
    for batch in batches(enumerate(images), batch_size):
        seen = iter(see([found for _, found in batch if isinstance(found, Image.Image)]))
        for i, found in batch:
            if isinstance(found, InputError):
                unread.append(found)
                yield json.dumps({"image": names[i], "error": str(found)}, ensure_ascii=False)
                continue
            said = next(seen)
            if rendered:
                with atomic(targets[i]) as partial:
                    render_lines(found, [(one.name, one.numbers) for one in said]).save(partial, "PNG")
            for one in said:
                yield json.dumps({"image": names[i]} | one.record, ensure_ascii=False)
    if unread:
        raise UnreadImages(unread, len(names))


def rendered_files(names: Sequence[str], folder: Path) -> list[Path]:
    """Where each image is rendered: by its file's name; with its folder below the common one, if names occur twice (class
    folders), and with its suffix. Raises InputError if two would be rendered in the same place even so."""
    common = os.path.commonpath([Path(name).parent for name in names]) if names else ""
    below = [Path(os.path.relpath(Path(name).parent, common)) for name in names]
    stems = [Path(rendered_name(name)) for name in names]
    ways = (
        stems,
        [inner / stem for inner, stem in zip(below, stems, strict=True)],
        [inner / Path(name).name.replace(":", "-") for inner, name in zip(below, names, strict=True)],
    )
    for way in ways:
        if len({str(path).casefold() for path in way}) == len(names):
            return [folder / f"{path}.png" for path in way]
    twice = Counter(names).most_common(1)[0][0]
    raise InputError(f"{twice}: two images would be rendered in one file; give each once, under a name of its own")


def rendered_name(name: str) -> str:
    """``a`` for a/a.jpg, ``test-12`` for row 12 of test.parquet."""
    file, _, row = name.rpartition(".parquet:")
    return f"{Path(file).name}-{row}" if file else Path(name).stem


def render_tags(image: Image.Image, tags: Sequence[Tag]) -> Image.Image:
    """The image with its tags beside: ``*`` around unseen ones, score, row."""
    return render_lines(image, [tag.beside for tag in tags])


def render_lines(image: Image.Image, lines: Sequence[tuple[str, str]]) -> Image.Image:
    """The image, at least 160 px high, with ``lines`` on white at its right: a name and its numbers. A name is ``#3`` in the
    fourth line if no font here has all its letters."""
    from figment.evaluation.fonts import font_file

    image = as_rgb(image)
    if image.height < 160:
        image = image.resize((max(1, round(image.width * 160 / image.height)), 160), Image.Resampling.LANCZOS)
    written = []
    for number, (name, numbers) in enumerate(lines):
        file = font_file(f"{name}#{numbers}")
        text = f"{name if file else f'#{number}'}   {numbers}"
        written.append((text, ImageFont.truetype(file or str(font_file("#")), 12)))
    height, margin = 18, 8
    width = max((int(font.getlength(text)) for text, font in written), default=0) + 2 * margin
    canvas = Image.new("RGB", (image.width + width, max(image.height, height * len(lines) + 2 * margin)), "white")
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for i, (text, font) in enumerate(written):
        draw.text((image.width + margin, margin + i * height), text, fill=(20, 40, 160), font=font)
    return canvas


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
