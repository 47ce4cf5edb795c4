"""Better than CLIP? The demo's recipe with unlabelled images of the target and two shots a class, against CLIP with the same."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.tables.recipes import BEST, PERFECT, table2_training
from benchmarks.tables.world import World
from figment.clip.config import ClipConfig
from figment.datasets.config import RealConfig
from figment.datasets.labelled import LabelledImages
from figment.evaluation.results import CLIP
from figment.files import atomic, digest
from figment.metrics import accuracy
from figment.planning.bag_of_tricks import CLIP_SHOTS, CLIP_UNLABELLED, FUSED, students_of, training_sets
from figment.training.classifier import build_classifier, predict
from figment.training.config import SelfTrainingConfig, TrainingConfig
from figment.training.kinds.clip_classifier import ClipClassifier
from figment.training.lists import open_training_list, training_list
from figment.training.onnx_export import median_ms
from figment.training.train import train_classifier
from figment.training.with_real import WithReal
from figment.validation.policies import Top1Policy

SHOTS = 2


def better(world: World, seeds: int) -> Iterator[dict[str, Any]]:
    """One line a row and seed: top-1 on the test, and on the validation images, by which all settings were chosen."""
    parameters, splits = world.parameters, {name: world.real(name) for name in ("test", "validation")}
    sets = training_sets(parameters["tricks"], parameters["images_per_class"], None, False)
    for seed in range(seeds):
        training = table2_training(world).model_copy(update={"seed": seed})
        made = world.rendered(parameters["tricks"], sets, seed, Top1Policy(**parameters["acceptance"]))
        networks = {}
        for name, shares in sets.items():
            images = made.of(shares)[1]
            networks[name] = trained(world, name, images, training)
            yield row(name, seed, len(images), networks[name], splits)
        perfect = world.perfect(len(images) // len(world.space), seed)
        yield row(PERFECT, seed, len(perfect), trained(world, PERFECT, perfect, training), splits)
        chosen = training_list(made.verdicts, sets[BEST])
        synthetic = replace(open_training_list(chosen, world.pool, world.space, world.size, BEST), workers=0)
        folder = parameters["real"]["path"]
        real = RealConfig(path=folder, unlabelled=f"{folder}/unlabelled.parquet", shots=SHOTS, seed=seed)
        helped = WithReal(
            world.space, synthetic, ClipConfig(**parameters["clip"]), real, training, SelfTrainingConfig()
        )
        yield from with_real(world, helped, list(networks.values()), splits)


def with_real(
    world: World, helped: WithReal, teachers: Sequence[nn.Module], splits: dict[str, LabelledImages]
) -> Iterator[dict[str, Any]]:
    seed, size = helped.training.seed, helped.training.image_size
    vectors = {CLIP: helped.text, CLIP_UNLABELLED: helped.em_vectors(), CLIP_SHOTS.format(SHOTS): helped.shot_vectors()}
    for name, found in vectors.items():
        yield row(name, seed, 0, ClipClassifier(helped.scorer, found), splits)
    for name in students_of(helped.real, BEST):
        images = helped.self_trained_set(teachers, name.endswith("shots"), name).load()
        student = helped.adapted(trained(world, name, images, helped.student_training()))[0]
        yield row(name, seed, len(images), student, splits)
        fused = ClipClassifier(helped.scorer, helped.text, student, size)
        yield row(FUSED.format(name), seed, len(images), fused, splits)


def trained(world: World, name: str, images: LabelledImages, training: TrainingConfig) -> nn.Module:
    """The classifier, trained now unless it was before."""
    content = hashlib.sha256(images.pixels.numpy().tobytes() + images.labels.numpy().tobytes()).hexdigest()
    file = world.folder / "networks" / f"{digest([content, training.model_dump()])[:24]}.pt"
    if not file.is_file():
        network = train_classifier(images, len(world.space), training, name=f"{name}, seed {training.seed}")
        with atomic(file) as partial:
            torch.save(network.state_dict(), partial)
    network = build_classifier(training, len(world.space))
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


@torch.inference_mode()
def row(name: str, seed: int, images: int, model: nn.Module, splits: dict[str, LabelledImages]) -> dict[str, Any]:
    logits = {split: _scores(model, found.pixels) for split, found in splits.items()}
    test, truth = logits["test"], splits["test"].labels
    one = splits["test"].pixels[:1].float() / 255
    return {
        "recipe": name, "seed": seed, "images": images,
        "top1": accuracy.top1(test, truth).top1,
        "validation": accuracy.top1(logits["validation"], splits["validation"].labels).top1,
        "calibration_error": accuracy.calibration_error(test, truth),
        "per_class": json.dumps([round(score.top1, 4) for score in accuracy.per_class(test, truth)]),
        "megabytes": 4e-6 * sum(value.numel() for value in model.state_dict().values()),
        "milliseconds": median_ms(lambda: model(one)),
    }  # fmt: skip


def _scores(model: nn.Module, pixels: Tensor) -> Tensor:
    if not isinstance(model, ClipClassifier):
        return predict(model, pixels)
    return torch.cat([model(part.float() / 255).log() for part in pixels.split(256)])
