"""A training that is interrupted, then edited around, resumes from its checkpoint and ends with the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import BaseModel

from figment.adaptation import concept_learning, text_encoder, textual_inversion
from figment.adaptation.config import TEMPLATES, InversionConfig, TextEncoder, TuningConfig
from figment.checkpoint import Checkpoint
from figment.clip.config import LabelVectorConfig
from figment.clip.scorer import ClipConfig
from figment.datasets.config import RealConfig
from figment.datasets.tagged import NAMES, write_tagged
from figment.files import sha256_file, write_json
from figment.images import encode
from figment.keys import checkpoint_key
from figment.labels import Label, LabelSpace
from figment.manifests import FileRef, Prepared
from figment.prompts.pair_book import template_prompts
from figment.prompts.pairs import label_pairs
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.sources import Sources
from figment.training import dual_prompt, semantic, train
from figment.training.config import DualPromptConfig, SemanticConfig, TrainingConfig
from figment.training.stage import DualPrompt, SemanticMatrix, Timm
from figment.validation.policies import CocoPolicy
from steps import adaptation, training
from tests.recipes import recipe_of

CLIP = ClipConfig(model="local-dir:models/pocket/clip", device="cpu")
CLASSES = ("car", "frog", "banana")  # those of the fixture ``pool``
SPACE = LabelSpace(labels=tuple(Label(name=name, unseen=name == "banana") for name in (*CLASSES, "dog")))


@dataclass(frozen=True)
class Trainer:
    """A step's training: ``run`` into a folder, the ``save`` (of a class) by which it leaves checkpoints, and how many it
    leaves, the ``file`` of its own code."""

    save: tuple[type, str]
    checkpoints: int
    file: str
    run: Callable[[SimpleNamespace, str], None]


@pytest.fixture
def inputs(plan, pool, tmp_path, pocket_config) -> SimpleNamespace:
    """What earlier steps have made."""
    rows = plan.to_pylist()
    verdicts = pa.table(
        {
            "image_id": [row["image_id"] for row in rows],
            "accepted": [True] * len(rows),
            "trick": [row["trick"] for row in rows],
            "labels": [row["labels"] for row in rows],
            "predicted": [row["labels"] for row in rows],
        }
    )
    pq.write_table(verdicts, tmp_path / "verdicts.parquet")
    random = torch.Generator().manual_seed(0)
    for number, name in enumerate(("train", "validation", "zsl", "gzsl")):
        targets = torch.eye(4, dtype=torch.int8).repeat(3, 1)
        targets[:, 2] = targets[:, 2] if number > 1 else -1
        pixels = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=random)
        write_tagged(tmp_path / "splits" / name, [pixels], targets, 32)
    content = {f"{n}/{f}": sha256_file(tmp_path / "splits" / n / f) for n in ("train", "zsl") for f in NAMES}
    write_json(tmp_path / "splits/splits.json", content)
    sources, photos = Sources(tmp_path / "sources"), []
    for number, name in enumerate(CLASSES[:2]):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        photos.append({"label": name, "where": name, "image": sources.keep(encode(pixels, "png"))})
    pq.write_table(pa.Table.from_pylist(photos), tmp_path / "photos.parquet")
    prompts = [
        {"text": prompt.text + place, "labels": prompt.labels, "trick": "t"}
        for prompt in template_prompts(label_pairs(LabelSpace.of(CLASSES)))
        for place in ("", " on grass", " at night")
    ]
    pq.write_table(pa.Table.from_pylist(prompts), tmp_path / "prompts.parquet")
    found = {name: FileRef.of(tmp_path / f"{name}.parquet") for name in ("verdicts", "photos", "prompts")}
    splits, images = FileRef.of(tmp_path / "splits/splits.json"), FileRef.of(pool.manifest_file)
    return SimpleNamespace(**found, splits=splits, images=images, generator=pocket_config, folder=tmp_path)


def classifier(inputs, output: str) -> None:
    config = Timm(model="test_resnet", image_size=16, epochs=4, batch_size=6, ema_decay=0.9, device="cpu")
    real = RealConfig(path=str(inputs.folder / "splits"))  # no images: none is trained on
    changes = {"training": config, "real": real, "tricks": ["base_class"], "images_per_class": 3}
    recipe = recipe_of("bag_of_tricks", output, **changes)
    space, made = LabelSpace.of(CLASSES), (inputs.images, inputs.verdicts)
    training.train_classifiers.entrypoint(recipe, space, Prepared(), None, *made)


def matrix(inputs, output: str) -> None:
    config = SemanticMatrix(
        vectors=LabelVectorConfig(clip=CLIP), twin_cosine=0.99, model="test_resnet", image_size=32, rows=2, epochs=4,
        batch_size=6, ks=(1,), device="cpu",
    )  # fmt: skip
    recipe = recipe_of("semantic_diversity", output, training=config)
    training.train_classifiers.entrypoint(recipe, SPACE, Prepared(splits=inputs.splits))


def prompts(inputs, output: str) -> None:
    config = DualPrompt(backbone=CLIP, image_size=32, context=4, fusion_scale=0.1, epochs=4, batch_size=6, device="cpu")
    recipe = recipe_of("tailored", output, training=config)
    data = Prepared(splits=inputs.splits)
    training.train_classifiers.entrypoint(recipe, SPACE, data, None, inputs.images, inputs.verdicts)


def encoder(inputs, output: str) -> None:
    config = TextEncoder(
        steps=2, batch_size=1, learning_rate=3e-3, width=32, height=32, num_inference_steps=2, checkpointing=False,
        held_out=0.3, evaluate_every=1, evaluated_images=2, evaluation_batch=2, device="cpu",
    )  # fmt: skip
    policy, space = CocoPolicy(min_probability=0.9999), LabelSpace.of(CLASSES)
    changes = {"adaptation": config, "acceptance": policy, "clip": CLIP, "generator": inputs.generator}
    recipe = recipe_of("tailored", output, **changes)
    adaptation.adapt_generator.entrypoint(recipe, space, space, Prepared(), inputs.prompts)


def words(inputs, output: str) -> None:
    config = InversionConfig(steps=4, batch_size=1, templates=("a photo of a {name}",), device="cpu")
    learning = {"inversion": config, "probe": {"images": 1}}
    changes = {"adaptation": learning, "synthesis": SynthesisConfig(device="cpu")}
    methods = {"all": {"images": 1, "concepts": True}}
    Path(output).mkdir(exist_ok=True)
    if not (Path(output) / "sources").exists():
        (Path(output) / "sources").symlink_to(inputs.folder / "sources")
    recipe = recipe_of("few_shot", output, methods=methods, clip=CLIP, generator=inputs.generator, **changes)
    space = LabelSpace.of(CLASSES[:2])
    adaptation.adapt_generator.entrypoint(recipe, space, space, Prepared(photos=inputs.photos))


TRAINERS = {
    "classifier": Trainer((Checkpoint, "save"), 4, "figment/training/train.py", classifier),
    "semantic matrix": Trainer((Checkpoint, "save"), 4, "figment/training/semantic.py", matrix),
    "dual prompts": Trainer((Checkpoint, "save"), 4, "figment/training/dual_prompt.py", prompts),
    "text encoder": Trainer((Checkpoint, "save"), 2, "figment/adaptation/text_encoder.py", encoder),
    "words": Trainer((Checkpoint, "save"), 4, "figment/adaptation/concept_learning.py", words),
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Nothing is logged, and a checkpoint is due after every epoch."""
    for module in (training, adaptation):
        monkeypatch.setattr(module, "tracking", MagicMock())
    for module in (training, text_encoder, textual_inversion):
        monkeypatch.setattr(module, "Checkpoint", partial(Checkpoint, every_seconds=0.0))


def weights(folder: Path) -> dict[str, str]:
    """Hashes of all weights below a folder (an adapter's name is that of its content), and of what was measured on the way."""
    files = [*folder.rglob("[!.]*.safetensors"), *folder.rglob("history.json"), *folder.rglob("tuning.json")]
    return {str(file.relative_to(folder)): sha256_file(file) for file in files}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_training_resumes_whatever_was_edited_meanwhile(name, inputs, code, tmp_path, monkeypatch):
    trainer, saved = TRAINERS[name], []
    original = getattr(*trainer.save)
    killed = [trainer.checkpoints // 2]

    def save(self, *values):
        original(self, *values)
        saved.append(1)
        if len(saved) == killed[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(*trainer.save, save)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(inputs, str(tmp_path / "resumed"))
    assert not any(file.name.endswith(".key") for file in (tmp_path / "resumed").rglob("*"))
    killed[0] = 0
    code.append("figment/evaluation/report.py", "changed = 1")
    code.append("figment/files.py", "changed = 1")
    code.append(trainer.file, "changed = 1")
    trainer.run(inputs, str(tmp_path / "resumed"))
    assert len(saved) == trainer.checkpoints, "it began again"

    trainer.run(inputs, str(tmp_path / "whole"))
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole") != {}
    del saved[:]
    code.edit("figment/files.py", '"""Files that', '"""The files that')
    trainer.run(inputs, str(tmp_path / "whole"))
    assert not saved, "a finished training is current"


@pytest.mark.parametrize("name", ["words"])
def test_a_checkpoint_of_another_version_is_not_resumed(name, inputs, code, tmp_path, monkeypatch):
    trainer, saved = TRAINERS[name], []
    original = getattr(*trainer.save)

    def save(self, *values):
        original(self, *values)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(*trainer.save, save)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(inputs, str(tmp_path / "out"))
    monkeypatch.setattr(concept_learning, "CHECKPOINT_VERSION", 0)
    trainer.run(inputs, str(tmp_path / "out"))
    assert len(saved) == 2 + trainer.checkpoints


# By trainer the defaults that its version stands for. Change one only together with the version: a checkpoint's key does
# not hold them.
DEFAULTS: dict[str, tuple[int, type[BaseModel], int, dict[str, object]]] = {
    "classifier": (
        train.CHECKPOINT_VERSION, TrainingConfig, 2,
        {"crop_scale": 0.08, "shift": 0, "rotation": 0.0, "color_jitter": 0.0, "flip": True, "model": "resnet50",
         "stem": "native", "image_size": 32, "resize": "bilinear", "native_size": None, "epochs": 200, "steps": None,
         "batch_size": 128, "learning_rate": 2e-4, "schedule": "cosine", "weight_decay": 0.9, "dropout": 0.0,
         "drop_path": 0.0, "label_smoothing": 0.0, "ema_decay": None, "holdout": 0.0, "keep": "last", "processes": 1,
         "precision": "auto", "seed": 0, "device": "auto"},
    ),
    "semantic matrix": (
        semantic.CHECKPOINT_VERSION, SemanticConfig, 2,
        {"model": "tresnet_m", "pretrained": False, "stem": "native", "image_size": 224, "rows": 7, "regularisation": 0.3,
         "diversity_weight": True, "pooling": "max", "unknown": "ignore", "epochs": 10, "batch_size": 32,
         "learning_rate": 2.5e-05, "warmup": 0.1, "weight_decay": 3e-4, "cutout": 0.5, "randaugment": True,
         "ema_decay": None, "mixed_precision": True, "ks": (3, 5), "select_by": "validation/mAP", "workers": 0, "seed": 0,
         "device": "auto"},
    ),
    "dual prompts": (
        dual_prompt.CHECKPOINT_VERSION, DualPromptConfig, 2,
        {"context": 64, "fusion_scale": 1e-4, "batches": "alternating", "unknown": "ignore", "epochs": 50,
         "batch_size": 32, "classes_per_batch": None, "learning_rate": 0.002, "fusion_learning_rate": 1e-4,
         "warmup_rate": 1e-05, "momentum": 0.9, "weight_decay": 5e-4, "loss_scale": 0.01, "cutout": 0.5,
         "randaugment": True, "held_out": 0.1, "seed": 0, "device": "auto"},
    ),
    "text encoder": (
        text_encoder.CHECKPOINT_VERSION, TuningConfig, 2,
        {"steps": 4000, "batch_size": 1, "learning_rate": 7e-08, "weight_decay": 0.001, "max_gradient_norm": 1.0,
         "width": 560, "height": 560, "num_inference_steps": 30, "differentiated_steps": None, "checkpointing": True,
         "held_out": 0.1, "evaluate_every": 200, "evaluated_images": 256, "evaluation_batch": 16, "dtype": "auto",
         "device": "auto", "seed": 0},
    ),
    "words": (
        concept_learning.CHECKPOINT_VERSION, InversionConfig, 2,
        {"steps": 1000, "batch_size": 4, "learning_rate": 0.002, "vectors": 1, "average": 0.5, "initialise": "name",
         "templates": TEMPLATES, "flip": 0.5, "seed": 0, "dtype": "auto"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_version_stands_for_these_defaults(name):
    version, config, known, defaults = DEFAULTS[name]
    assert version == known
    assert {field: config.model_fields[field].default for field in defaults} == defaults


def test_an_option_with_its_default_leaves_a_key_as_it_is():
    class Before(BaseModel):
        rate: float = 0.1

    class After(Before):
        new: int = 3

    keys = [
        checkpoint_key(1, training=[config], data="d")
        for config in (Before(rate=1), After(rate=1), After(rate=1, new=3))
    ]
    assert len(set(keys)) == 1
    others = (
        checkpoint_key(1, training=[After(rate=1, new=4)], data="d"),
        checkpoint_key(2, training=[Before(rate=1)], data="d"),
    )
    assert not set(others) & set(keys)
