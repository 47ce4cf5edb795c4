"""Ask a person: images on a page, by cluster or one by one, sorted by doubt, whose answers are a file that the next run takes.

Of a run's unlabelled images those are asked about where CLIP and the trained model disagree: clusters of like ones, each named by
one click. Of its generated images all, the doubtful first, to be kept or dropped. Either page is one file that loads nothing.
"""

import io
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from figment.datasets.listing import Listing
from figment.errors import InputError
from figment.evaluation.report import EMBEDDED, png_uri, pool_uri
from figment.images import decode
from figment.reading import read_json
from figment.synthesis.pool import IMAGE_TYPE, Pool
from figment.text import shown

TEMPLATE = Path(__file__).parent / "ask.html.j2"
CLUSTERS, SHOWN = 30, 4  # questions on a page of clusters, and images of each


class Item(BaseModel):
    """A question: images that one answer is about, by id, as data URIs. The page filters by ``group`` and ``state``; ``text``
    says what is believed; ``answer`` is one given before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: tuple[str, ...]
    uris: tuple[str, ...]
    group: str
    state: str
    text: str
    answer: str = ""


class Answers(BaseModel):
    """What the page saves: a label by image id, and how many clicks and keys it took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clicks: int
    answers: dict[str, str]


def read_answers(path: Path) -> Answers:
    """What a page saved. Raises InputError for any other file."""
    expected = "the answers.json that the page of figment ask saves"
    try:
        return Answers.model_validate(read_json(path, expected))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {field}: {first['msg']}, found {shown(first['input'])}; expected {expected}"
        ) from error


def disagreement(student: Tensor, clip: Tensor) -> Tensor:
    """(N,) how far two models' probabilities (N, C) are from each other: Jensen-Shannon divergence in bits, in [0, 1]."""
    mean = (student + clip) / 2
    return (
        sum(((p * ((p + 1e-12) / (mean + 1e-12)).log2()).sum(1) for p in (student, clip)), torch.zeros(len(mean))) / 2
    )


def cluster_doubted(features: Tensor, doubt: Tensor, clusters: int = CLUSTERS, seed: int = 0) -> list[list[int]]:
    """Rows of ``features`` (N, D) in clusters, the most doubted first, in each the most central first: of the half of the images
    that has the larger ``doubt`` (N,), and of at least as many as there are clusters."""
    from sklearn.cluster import KMeans

    rows = doubt.argsort(descending=True, stable=True)[: max(clusters, len(doubt) // 2)]
    chosen = features[rows].double().numpy()
    found = KMeans(min(clusters, len(rows)), n_init=4, random_state=seed).fit(chosen)
    distances = np.linalg.norm(chosen - found.cluster_centers_[found.labels_], axis=1)
    groups = []
    for number in range(found.n_clusters):
        own = np.flatnonzero(found.labels_ == number)
        groups.append(rows[own[distances[own].argsort(kind="stable")]].tolist())
    return sorted(groups, key=lambda own: -float(doubt[own].mean()))


SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", IMAGE_TYPE),
        ("where", pa.string()),
        ("cluster", pa.int32()),
        ("clip", pa.string()),
        ("student", pa.string()),
    ]
)


def questions(
    listing: Listing, groups: Sequence[Sequence[int]], clip: Tensor, student: Tensor, names: Sequence[str]
) -> pa.Table:
    """The most central images of each cluster, a row an image: its bytes and where they are from, and what the two models' logits
    (N, C) take it for. An ``image_id`` is the SHA-256 of the bytes."""
    rows = []
    for number, group in enumerate(groups):
        for row in group[:SHOWN]:
            chunk, place = listing.places[row].tolist()
            ((where, found),) = listing.chunks[chunk].read([place])
            data = found if isinstance(found, bytes) else _png(found)
            guesses = {"clip": names[int(clip[row].argmax())], "student": names[int(student[row].argmax())]}
            image = {"bytes": data, "path": Path(where).name}
            rows.append(
                {"image_id": sha256(data).hexdigest(), "image": image, "where": where, "cluster": number, **guesses}
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def cluster_items(asked: pa.Table) -> list[Item]:
    """An item a cluster."""
    by_cluster: dict[int, list[dict]] = {}
    for row in asked.to_pylist():
        by_cluster.setdefault(row["cluster"], []).append(row)
    return [
        Item(
            ids=tuple(row["image_id"] for row in rows),
            uris=tuple(png_uri(decode(row["image"]["bytes"], row["where"]), EMBEDDED) for row in rows),
            group=rows[0]["clip"],
            state="agree" if all(row["clip"] == row["student"] for row in rows) else "disagree",
            text=f"CLIP: {rows[0]['clip']}; model: {rows[0]['student']}",
        )
        for rows in by_cluster.values()
    ]


def review_items(verdicts: pa.Table, pool: Pool, decided: Mapping[str, bool], most: int) -> list[Item]:
    """An item a generated image: the ``most`` whose probability is nearest to one half, and all that are ``decided``."""
    doubt = pc.abs(pc.subtract(verdicts["probability"], 0.5))
    order = [("doubt", "ascending"), ("image_id", "ascending")]
    verdicts = verdicts.append_column("doubt", doubt).sort_by(order)
    rest = verdicts.slice(most)
    more = rest.filter(pc.is_in(rest["image_id"], pa.array(list(decided), pa.string())))
    rows = [*verdicts.slice(0, most).to_pylist(), *more.to_pylist()]
    ids = [row["image_id"] for row in rows]
    uris = {
        row["image_id"]: pool_uri(row["image"], row["image_id"])
        for batch in pool.read(ids, ["image_id", "image"])
        for row in batch.to_pylist()
    }
    answers = {True: "keep", False: "drop", None: ""}
    return [
        Item(
            ids=(row["image_id"],),
            uris=(uris[row["image_id"]],),
            group=" + ".join(row["labels"]),
            state=row["reason"].replace("_", " "),
            text=f"{' + '.join(row['labels'])}, {row['probability']:.2f}",
            answer=answers[decided.get(row["image_id"])],
        )
        for row in rows
        if row["image_id"] in uris
    ]


def page(title: str, lead: str, items: Sequence[Item], choices: Sequence[str], file: str) -> str:
    """The HTML: a page of ``items`` at a time, each to be answered by one of ``choices``. What it saves is called ``file``: a
    .csv of decisions or a .json of ``Answers``."""
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    grouped = any(len(item.ids) > 1 for item in items)
    values = {"title": title, "lead": lead, "choices": list(choices), "file": file, "grouped": grouped}
    return environment.get_template(TEMPLATE.name).render(**values, items=[item.model_dump() for item in items])


def shots_of(asked: pa.Table, given: Answers, names: Sequence[str], where: str) -> pa.Table:
    """The images that were named, in the form of the Hugging Face Hub (``image``, ``label``), with where each is from and how it
    came to its label. Raises InputError for an answer about an unknown image or class; ``where`` names the file."""
    known = set(asked["image_id"].to_pylist())
    for image_id, label in given.answers.items():
        if image_id not in known:
            raise InputError(f"{where}: image {shown(image_id)} was not asked about; answer the page of this run")
        if label not in names:
            raise InputError(f"{where}: {shown(label)} is no class of the run; they are {', '.join(names)}")
    rows = [
        {
            "image": row["image"],
            "label": given.answers[row["image_id"]],
            "image_id": row["image_id"],
            "where": row["where"],
            "source": f"figment ask, cluster {row['cluster']}",
        }
        for row in asked.to_pylist()
        if row["image_id"] in given.answers
    ]
    text = [(name, pa.string()) for name in ("label", "image_id", "where", "source")]
    return pa.Table.from_pylist(rows, schema=pa.schema([("image", IMAGE_TYPE), *text]))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
