"""Trainer of ``few_shot_head``: a linear head for every method, with the same settings; only what it learns from differs. With
``finetune`` the whole network of each then learns on from its head: same photos, same images, same law."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from figment.checkpoint import Checkpoint
from figment.datasets.config import CROSS_VALIDATED
from figment.datasets.kinds import FewShotData
from figment.datasets.labelled import LabelledImages
from figment.datasets.photos import open_kept
from figment.devices import choose_device
from figment.files import atomic, sha256_file
from figment.loop import Log
from figment.manifests import FileRef
from figment.planning.methods import Method
from figment.planning.plan import read_plan
from figment.planning.planners import USES
from figment.planning.sample_weights import confidence_weight, mean_effective_size
from figment.synthesis.pool import Pool
from figment.training.backbone import load_backbone
from figment.training.config import FewShotTrainingConfig
from figment.training.features import HELD_OUT, SHOTS, TEST, Views, first_labels, image_features, photo_features
from figment.training.few_shot import Made, cross_validate, law_of, learn
from figment.training.finetune import CHECKPOINT_VERSION, Finetuning, finetune
from figment.training.head import FeatureSet, HeadTraining
from figment.training.jobs import Job, Material, Trained
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD, FewShotClassifier, HeadSettings, head_preprocessing
from figment.training.lists import open_training_list
from figment.training.saved import WEIGHTS, SavedModel, load_model

CROSS_LOGITS = "cross_validated.safetensors"  # of the shots, by heads that did not learn from them


class Used(NamedTuple):
    """What a method learns from beside the photos: images, by their ``rows`` (S,) in the plan, each made from, or taken with, the
    photo of the number in ``sources`` (S,), with ``weights`` (S,) before they are put to the method's use; and the list that says
    so: image_id, label, weight."""

    rows: Tensor
    sources: Tensor
    weights: Tensor
    listed: pa.Table


def views_of(config: FewShotTrainingConfig, seed: int) -> Views:
    return Views(config.backbone, config.augmentation, config.views, seed)


def jobs(config: FewShotTrainingConfig, methods: Mapping[str, Method], seed: int, material: Material) -> Iterator[Job]:
    """A head for each method; then, with ``finetune``, the network of each."""
    assert material.photos is not None  # the pipeline sees to it
    views = views_of(config, seed)
    known = (material.output, views, material.cached)
    photos = photo_features(material.space, material.data, material.photos, *known)
    used: dict[str, Used] = {}
    made: dict[str, Made] = {}
    if material.plan and material.images and material.verdicts:
        features = image_features(material.space, material.plan, material.images, *known).features
        used = used_by_each(methods, material.plan, material.verdicts, pq.read_table(material.photos.open()))
        made = {name: Made(features[own.rows], own.sources, own.weights) for name, own in used.items()}
    learned_from = [views.file(material.output, what) for what in ("photos", *(["images"] if used else []))]
    inputs: dict[str, Any] = {
        "labels": material.space,
        "features": [sha256_file(file) for file in learned_from],
        "verdicts": material.verdicts.sha256 if material.verdicts else "",
        "uses": sha256_file(_uses(material.plan)) if material.plan and _uses(material.plan).is_file() else "",
        "seed": seed,
    }
    data = {"features": inputs["features"][0]}
    heads = _Heads(config, seed, material, photos, made, used)
    for name, method in methods.items():
        decided = {**inputs, "method": method, "training": config.model_dump(mode="json", exclude={"finetune"})}
        train = partial(heads.head, name, method)
        yield Job(name, heads.folder(name), __name__, 0, decided, train, heads.listed(name), data)
    for name, method in methods.items() if config.finetune else ():
        decided = {"method": method, "training": config, "seed": seed}
        train, folder = partial(heads.finetuned, name, method), material.output / "finetuned" / name
        known_as = (__name__, CHECKPOINT_VERSION, decided, train, heads.listed(name), data)
        yield Job(name, folder, *known_as, prefix="finetuning", later=partial(heads.digest, name))


@dataclass(frozen=True)
class _Heads:
    """``photos``: features of each set of them; of each method ``made``, what it learns from beside the shots, and ``used``, its
    images in the plan."""

    config: FewShotTrainingConfig
    seed: int
    material: Material
    photos: Mapping[str, FeatureSet]
    made: Mapping[str, Made]
    used: Mapping[str, Used]

    def folder(self, name: str) -> Path:
        return self.material.output / "heads" / name

    def digest(self, name: str) -> dict[str, str]:
        return {"head": sha256_file(self.folder(name) / WEIGHTS)}

    def listed(self, name: str) -> pa.Table | None:
        return self.used[name].listed if name in self.used else None

    def head(self, name: str, method: Method, _: Checkpoint, log: Log) -> Trained:
        space, shots, made = self.material.space, self.photos[SHOTS], self.made.get(name)
        training = HeadTraining(len(space), self.config.head, self.seed, self.photos.get(HELD_OUT))
        found, use = learn(method, shots, made, training, log)
        settings = HeadSettings(
            name=name,
            method=method,
            backbone=self.config.backbone,
            made=len(made.sources) if made else 0,
            effective_size=mean_effective_size(use, made.sources) if made else 0.0,
            kept=found.kept,
        )
        if f"{TEST}{CROSS_VALIDATED}" in self.photos:
            with atomic(self.folder(name) / CROSS_LOGITS) as unfinished:
                save_file({"logits": cross_validate(method, shots, made, training)}, unfinished)
        backbone = load_backbone(self.config.backbone)
        saved = SavedModel(
            labels=space,
            preprocessing=head_preprocessing(backbone, self.config.backbone.image_size),
            images=len(shots.labels) + settings.made,
            training=described(settings),
        )
        return Trained(FEW_SHOT_HEAD, FewShotClassifier(backbone, found.head), settings, saved, found.history)

    def finetuned(self, name: str, method: Method, checkpoint: Checkpoint, log: Log) -> Trained:
        photos, held_out, made = self.pixels
        nothing = torch.zeros(0, dtype=torch.long)
        rows, sources, weights = self.used[name][:3] if name in self.used else (nothing, nothing, torch.zeros(0))
        assert self.config.finetune is not None  # who calls this sees to it
        base = load_model(self.folder(name), FEW_SHOT_HEAD)
        base.network.backbone.to(choose_device(self.config.backbone.device))
        learned_from = LabelledImages(
            torch.cat([photos.pixels, made[rows]]), torch.cat([photos.labels, photos.labels[sources]])
        )
        law, _ = law_of(method, photos.labels, sources, weights)
        augmentation = self.config.augmentation if method.augment else None
        training = Finetuning(self.config.finetune, augmentation, self.seed, held_out)
        found = finetune(base.network, learned_from, law, training, checkpoint, log)
        settings = base.settings.model_copy(update={"kept": found.kept, "finetuned": True})
        saved = base.saved.model_copy(update={"training": described(settings), "metrics": ()})
        return Trained(FEW_SHOT_HEAD, base.network, settings, saved, found.history)

    @cached_property
    def pixels(self) -> tuple[LabelledImages, LabelledImages | None, Tensor]:
        """The photos, those that validate, and all images of the plan, in memory at the backbone's size."""
        material, size, held_out = self.material, self.config.backbone.image_size, None
        if isinstance(material.data, FewShotData):
            sets = material.data.photo_sets(material.space, size)
            photos = sets[SHOTS].load()
            held_out = sets[HELD_OUT].load() if HELD_OUT in sets else None
        else:
            kept = pq.read_table(material.photos.open())  # type: ignore[union-attr]
            photos = open_kept(kept, material.space, size, material.output / "sources").load()
        made = photos.pixels[:0]
        if material.plan and material.images:
            pool = Pool(material.images.open().parent)
            listed = first_labels(material.plan)
            made = open_training_list(listed, pool, material.space, size, "of generated images", "squash").load().pixels
        return photos, held_out, made


def described(settings: HeadSettings) -> str:
    """A sentence on the network and its training."""
    backbone = settings.backbone
    return (
        f"Method {settings.name}: a linear head on the {'fine-tuned' if settings.finetuned else 'frozen'} {backbone.model}, "
        f"{backbone.image_size} px, step {settings.kept}."
    )


def used_by_each(methods: Mapping[str, Method], plan: FileRef, verdicts: FileRef, photos: pa.Table) -> dict[str, Used]:
    """By method the accepted images that it learns from: those that a few-shot plan made for it, or else all, by every method
    that takes any."""
    planned, judged = read_plan(plan.open()), pq.read_table(verdicts.open())
    ids, labels = planned["image_id"].combine_chunks(), pc.list_element(planned["labels"], 0)
    passed = judged.filter(judged["accepted"])
    probability = dict(zip(passed["image_id"].to_pylist(), passed["probability"].to_pylist(), strict=True))
    weight = torch.tensor([confidence_weight(probability.get(i, 0.0)) for i in ids.to_pylist()], dtype=torch.float64)
    used = pq.read_table(_uses(plan)) if _uses(plan).is_file() else _uses_of_all(methods, planned, photos)
    used = used.filter(pc.is_in(used["image_id"], passed["image_id"].combine_chunks()))
    found = {}
    for name in pc.unique(used["method"]).to_pylist():
        mine = used.filter(pc.equal(used["method"], name))
        rows = torch.tensor(pc.index_in(mine["image_id"], ids).to_pylist())
        at = pa.array(sorted(set(rows.tolist())))  # the plan is sorted by id
        counts = weight if methods[name].weights != "equal" else torch.ones_like(weight)
        listed = {"image_id": ids.take(at), "label": labels.take(at), "weight": counts.numpy()[at.to_numpy()]}
        found[name] = Used(rows, torch.tensor(mine["photo"].to_pylist()), counts[rows], pa.table(listed))
    return found


def _uses(plan: FileRef) -> Path:
    return Path(plan.path).with_name(USES)


def _uses_of_all(methods: Mapping[str, Method], planned: pa.Table, photos: pa.Table) -> pa.Table:
    """Each image of a plan with the photo that it was made from, or else with the photos of its class in turn."""
    numbers = {image: number for number, image in enumerate(photos["image"].to_pylist())}
    of_class = photos["label"].to_pylist()
    turns = {label: cycle([n for n, own in enumerate(of_class) if own == label]) for label in set(of_class)}
    rows = planned.select(["image_id", "labels", "initial_image"]).to_pylist()
    taking = [name for name, method in methods.items() if method.images]
    photo_of = {
        row["image_id"]: numbers[row["initial_image"]]
        if row["initial_image"] in numbers
        else next(turns[row["labels"][0]])
        for row in rows
    }
    uses = [{"method": name, "photo": photo, "image_id": i} for name in taking for i, photo in photo_of.items()]
    return pa.Table.from_pylist(uses)
