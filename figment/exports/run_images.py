"""The images of a run's folder as samples: which of them, what each shows, and in what classes.

Modules that load torch are imported where a run needs them: without, an export starts in a second.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from figment import store
from figment.errors import InputError
from figment.exports.samples import Classes, Sample, header
from figment.files import canonical_json
from figment.labels import LabelSpace
from figment.planning.plan import ranges
from figment.reading import mapping, read_yaml
from figment.synthesis.pool import Pool
from figment.text import reason_of, shown

BATCH = 64  # images in memory
ROWS = 100_000  # of a plan in memory
COLUMNS = ("image_id", "image", "prompt", "model", "revision", "adapter", "initial_image")
VERDICTS = pa.schema([("image_id", pa.string()), ("labels", pa.list_(pa.string()))])
JUDGED = ("image_id", "accepted", "labels", "predicted")  # columns of verdicts
EXAMPLES = 10  # prompts that a card shows


@dataclass
class Summary:
    """What the samples were, counted as they went by: by position of a class, by (model, revision, adapter)."""

    images: int = 0
    from_photos: int = 0
    by_class: Counter[int] = field(default_factory=Counter)
    generators: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    prompts: set[int] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)
    content: Any = field(default_factory=sha256)

    def add(self, sample: Sample, row: dict[str, Any]) -> None:
        self.images += 1
        self.from_photos += bool(row["initial_image"])
        self.by_class.update(sample.labels)
        self.generators[(row["model"], row["revision"], row["adapter"])] += 1
        if hash(sample.caption) not in self.prompts and len(self.examples) < EXAMPLES:
            self.examples.append(sample.caption)
        self.prompts.add(hash(sample.caption))
        line = [sample.image_id, sha256(sample.data).hexdigest(), list(sample.labels)]
        self.content.update(f"{canonical_json(line)}\n".encode())


class RunImages:
    """The accepted images of the run in ``folder``, or with ``everything`` all that it judged (of few-shot: planned).

    An accepted image shows what it is trained on as, a rejected one what it was asked for. The classes are those of the run's
    config.yaml, which a run writes at its end; without it, those of its images in alphabetical order. Raises InputError for a
    folder without a plan, for one whose images are not judged yet, and where no image is left.
    """

    def __init__(self, folder: Path, everything: bool = False):
        plan, verdicts, config = (folder / name for name in ("plan.parquet", "verdicts.parquet", "config.yaml"))
        store.fetch(plan, verdicts, config, folder / "images" / "MANIFEST.json")
        if not plan.is_file():
            model = ", it is that of a model" if list(folder.glob("*.safetensors")) else ""
            raise InputError(
                f"{folder}: holds no plan.parquet{model}; give the folder of a run that generated images, such as "
                "artifacts/bag_of_tricks"
            )
        self.pool = Pool(folder / "images")
        self.pool.verify()
        table = _judged(verdicts, everything) if verdicts.is_file() else _planned(plan, self.pool, everything)
        if not len(table):
            raise InputError(f"{folder}: none of its images was accepted, so there is none to export; --all takes all")
        table = table.sort_by("image_id").combine_chunks()
        ids, self.labels = table["image_id"], table["labels"].combine_chunks()
        wrong = ids.filter(pc.invert(pc.match_substring_regex(ids, "^[0-9A-Za-z]{1,64}$").fill_null(False)))
        if len(wrong):
            raise InputError(f"{folder}: image_id {shown(wrong[0].as_py())} names a file; expected letters and digits")
        self.ids = ids.to_numpy().astype("S64")
        if len(twice := self.ids[1:][self.ids[1:] == self.ids[:-1]]):
            raise InputError(
                f"{folder}: image_id {twice[0].decode()} is there twice; run the pipeline's validation again"
            )
        self.classes = self._classes(run_space(config), config)

    def __len__(self) -> int:
        return len(self.ids)

    def _classes(self, space: LabelSpace | None, config: Path) -> Classes:
        """And number ``labels`` by them."""
        values = self.labels.flatten()
        if values.null_count or pc.any(pc.equal(pc.list_value_length(self.labels).fill_null(0), 0)).as_py():
            raise InputError(f"{config.parent}: an image shows no class; run the pipeline's validation again")
        present = sorted(values.unique().to_pylist())
        names = space.names if space else tuple(present)
        if strange := sorted(set(present) - set(names)):
            raise InputError(
                f"{config}: its {len(names)} classes do not include {shown(strange[0])}, which images of the run show; "
                "give back the label file that the run had"
            )
        self.positions = pc.index_in(values, pa.array(names, pa.string())).to_numpy()
        self.ends = self.labels.offsets.to_numpy() - self.labels.offsets[0].as_py()
        ids = space.data_set_ids if space else tuple(range(1, len(names) + 1))
        return Classes(names, ids, bool(np.diff(self.ends).max() > 1))

    def samples(self, summary: Summary) -> Iterator[Sample]:
        """Shard by shard; ``summary`` counts them. Raises InputError for an image that is not in the pool or none."""
        for batch in self.pool.read(self.ids, COLUMNS, BATCH):
            for row in batch.to_pylist():
                image_id = row["image_id"]
                place = int(np.searchsorted(self.ids, image_id.encode()))
                labels = self.positions[self.ends[place] : self.ends[place + 1]]
                where, data = f"{self.pool.folder}: image {shown(image_id)}", (row["image"] or {}).get("bytes") or b""
                sample = Sample(
                    data, header(data, where)[0], tuple(sorted(set(labels.tolist()))), row["prompt"], image_id
                )
                summary.add(sample, row)
                yield sample
        if missing := len(self) - summary.images:
            raise InputError(
                f"{self.pool.folder}: {missing} of {len(self)} images are not there; run the pipeline again"
            )


def _judged(path: Path, everything: bool) -> pa.Table:
    """image_id and labels of what passed, or of all."""
    try:
        names = pq.read_schema(path).names
        if not set(JUDGED) <= set(names):
            raise InputError(f"{path}: columns are {', '.join(names)}; expected verdicts that Figment wrote")
        table = pq.read_table(path, columns=list(JUDGED))
        table = table if everything else table.filter(table["accepted"])
        labels = pc.if_else(table["accepted"], table["predicted"], table["labels"])
        return pa.table({"image_id": table["image_id"], "labels": labels}, VERDICTS)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputError(
            f"{path}: not readable verdicts ({reason_of(error)}); run the pipeline's validation again"
        ) from error


def _planned(plan: Path, pool: Pool, everything: bool) -> pa.Table:
    """image_id and labels of what is planned by a recipe without verdicts, but for images that show nothing."""
    from figment.planning.few_shot import RECIPE as FEW_SHOT
    from figment.validation.verdicts import empty_images

    parts = list(ranges(plan, ROWS, ["image_id", "labels", "recipe"]))
    if not parts:
        return VERDICTS.empty_table()
    table = pa.concat_tables(parts)
    if not everything:
        if recipes := sorted(set(table["recipe"].unique().to_pylist()) - {FEW_SHOT}):
            raise InputError(
                f"{plan.parent}: holds no verdicts.parquet, so its images ({', '.join(recipes)}) are not judged; run its "
                "pipeline first, or give --all"
            )
        empty = pa.array(sorted(empty_images(pool, table["image_id"].to_pylist())), pa.string())
        table = table.filter(pc.invert(pc.is_in(table["image_id"], empty)))
    return table.select(["image_id", "labels"])


def run_space(config: Path) -> LabelSpace | None:
    """The classes that the run was given, None without its config."""
    if not config.is_file():
        return None
    expected = "the config.yaml that a run writes"
    parameters = mapping(
        mapping(read_yaml(config, expected), str(config), expected).get("parameters"), str(config), expected
    )
    classes, labels, data = (parameters.get(name) for name in ("classes", "labels", "data"))
    if isinstance(data, dict) and data.get("kind"):  # of a custom run, which says what its data are
        classes, labels = (data.get(name) for name in ("classes", "labels"))
        data = {name: value for name, value in data.items() if name != "kind"}
    if isinstance(classes, list) and isinstance(labels, str | None):
        return LabelSpace.chosen(classes, labels)
    from figment.datasets.zero_shot import ZeroShotConfig, zero_shot_space

    try:
        return zero_shot_space(ZeroShotConfig.model_validate(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("parameters", "data", *first["loc"])))
        raise InputError(f"{config}: {where}: {first['msg']}; expected {expected}") from error
