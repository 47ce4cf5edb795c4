"""configs/paper/ holds what the papers and their released code use: hyper-parameters, transforms, schedules, prompts.

What Figment does otherwise on purpose is in the recipe's page (docs/recipes/), and not in this table.
"""

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from figment.ops.pipelines import check_config
from figment.prompts.tricks import build_tricks
from figment.training.augment import augment
from figment.training.config import AugmentConfig, TrainingConfig
from figment.training.dual_prompt import learning_rate as prompt_rate
from figment.training.schedule import learning_rate

PAPER = Path("configs/paper")
STABLE_DIFFUSION = {
    "generator.model": "CompVis/stable-diffusion-v1-4",
    "generator.width": 512,
    "generator.height": 512,
}
BAG_OF_TRICKS = {  # sec. 3 and 4.1 of the paper; the sampler of the script it used
    **STABLE_DIFFUSION,
    "generator.guidance_scale": 7.5,
    "generator.num_inference_steps": 40,
    "generator.scheduler": "DDIMScheduler",
    "wording.random_guidance": (1.0, 5.0),
    "wording.as_published": False,
    "acceptance.min_probability": 0.0,
    "acceptance.require_top1": False,
    "clip.model": "RN50",  # the zero-shot row of tables 2 and 3
    "training.model": "resnet50",
    "training.weights": None,
    "training.stem": "native",
    "training.epochs": 200,
    "training.steps": None,
    "training.batch_size": 128,
    "training.learning_rate": 2e-4,
    "training.schedule": "cosine",
    "training.flip": True,
    "training.color_jitter": 0.0,
    "training.label_smoothing": 0.0,
    "training.ema_decay": None,
    "training.keep": "last",
}
CIFAR = {
    "wording.grammar": "cifar",
    "tricks": ["base_class", "class_prompt", "multi_domain", "random_guidance"],
    "training.image_size": 32,
    "training.resize": "bilinear",  # with antialiasing
    "training.weight_decay": 0.9,
    "training.crop_scale": 0.08,  # torchvision's RandomResizedCrop
    "training.crop_largest": 1.0,
    "training.rotation": 0.0,
}
SEMANTIC = {  # the released train.py
    "training.model": "tresnet_m.miil_in1k",
    "training.pretrained": True,
    "training.diversity_weight": True,
    "training.pooling": "max",
    "training.epochs": 10,
    "training.batch_size": 32,
    "training.learning_rate": 2.5e-5,
    "training.warmup": 0.1,
    "training.weight_decay": 3e-4,
    "training.cutout": 0.5,
    "training.randaugment": True,
    "training.ema_decay": None,  # there, and not used
    "training.also_best": ("gzsl/F1@3",),
    "training.mixed_precision": True,
    "generated": False,
}
TAILORED = {  # the released scripts' arguments
    "prompts.chat.model": "meta-llama/Llama-2-7b-chat-hf",
    "prompts.chat.temperature": 0.6,
    "prompts.chat.top_p": 0.9,
    "prompts.per_pair": 10,
    "prompts.labels_per_image": 2,
    "generator.width": 768,
    "generator.height": 768,
    "generator.guidance_scale": 7.5,
    "generator.num_inference_steps": 50,
    "generator.scheduler": "EulerDiscreteScheduler",
    "adaptation.batch_size": 1,
    "adaptation.learning_rate": 7e-8,
    "adaptation.weight_decay": 1e-3,
    "adaptation.max_gradient_norm": 1.0,
    "adaptation.width": 560,
    "adaptation.height": 560,
    "adaptation.num_inference_steps": 30,
    "adaptation.differentiated_steps": None,  # through all of them
    "adaptation.gamma_neg": 4.0,
    "adaptation.gamma_pos": 0.0,
    "adaptation.eps": 1e-8,
    "clip.model": "ViT-B-32",
    "clip.templates": ("{name}",),
    "training.backbone.model": "RN50",
    "training.image_size": 224,
    "training.context": 64,
    "training.class_specific": False,
    "training.init_words": "",
    "training.fusion_scale": 1e-4,
    "training.batches": "alternating",
    "training.epochs": 50,
    "training.fusion_learning_rate": 1e-4,
    "training.warmup_rate": 1e-5,
    "training.momentum": 0.9,
    "training.weight_decay": 5e-4,
    "training.loss_scale": 0.01,
    "training.gamma_neg": 2.0,
    "training.gamma_pos": 1.0,
    "training.eps": 1e-6,
    "training.also_best": ("zsl/F1@3", "gzsl/F1@3"),  # a checkpoint each
    "training.cutout": 0.5,
    "training.randaugment": True,
}
FEW_SHOT = {  # DIAGen's README and its classes' defaults
    **STABLE_DIFFUSION,
    "generator.guidance_scale": 15.0,
    "generator.num_inference_steps": 50,
    "generator.scheduler": "PNDMScheduler",
    "methods.all.images": 10,
    "methods.all.strengths": (0.7,),
    "methods.all.alpha": 0.7,
    "methods.all.noise": (0.005, 0.01, 0.025),
    "methods.all.relative_noise": False,
    "methods.all.noise_once": True,  # one z for each class and sigma
    "methods.all.weights": "per_photo",
    "methods.noise.noise_once": True,
    "methods.da_fusion.strengths": (0.5,),
    "methods.da_fusion.guidance_scale": 7.5,
    "methods.da_fusion.alpha": 0.5,
    "prompts.per_class": 10,
    "prompts.style": "words",
    "adaptation.inversion.steps": 1000,
    "adaptation.inversion.batch_size": 4,
    "adaptation.inversion.learning_rate": 2e-3,
    "adaptation.inversion.initialise": "neutral",
    "adaptation.inversion.vectors": 1,
    "adaptation.inversion.average": 0.0,
    "adaptation.inversion.flip": 0.5,
    "adaptation.probe.retrieval": 0.0,  # every class says its word
    "training.backbone.model": "timm:resnet50.tv2_in1k",
    "training.backbone.image_size": 256,
    "training.augmentation.rotation": 15.0,
    "training.augmentation.flip": True,
    "training.head.steps": 10_000,
    "training.head.batch_size": 16,
    "training.head.learning_rate": 1e-4,
    "training.head.weight_decay": 0.0,
    "training.head.validate_every": 200,
    "training.filter.learning_rate": 1e-4,
    "training.filter.weight_decay": 1e-2,
    "training.filter.batch_size": 16,
    "training.validate_on": "held_out",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "cifar10": {**BAG_OF_TRICKS, **CIFAR, "images_per_class": 6000},
    "cifar100": {
        **BAG_OF_TRICKS,
        **CIFAR,
        "images_per_class": 600,
        "unions": {"best": {"base_class": 1, "multi_domain": 1, "random_guidance": 1}},
    },
    "eurosat": {
        **BAG_OF_TRICKS,
        "wording.grammar": "eurosat",
        "tricks": ["base_class", "multi_domain", "random_guidance"],
        "images_per_class": 2700,
        "training.image_size": 224,
        "training.native_size": 64,
        "training.resize": "bilinear_no_antialias",
        "training.weight_decay": 0.3,
        "training.rotation": 90.0,
        "training.crop_scale": (224 / 256) ** 2,  # RandomCrop(224) of 256 px
        "training.crop_largest": (224 / 256) ** 2,
        "training.crop_aspect": 0.0,
    },
    "semantic_diversity_coco": {
        **SEMANTIC,
        "training.image_size": 608,  # of the README's command
        "training.rows": 2,
        "training.regularisation": 0.01,
        "training.ks": (3, 5),
    },
    "semantic_diversity_nus": {
        **SEMANTIC,
        "training.image_size": 224,
        "training.rows": 7,
        "training.regularisation": 0.3,
        "training.ks": (3, 5),
    },
    "semantic_diversity_open_images": {
        **SEMANTIC,
        "training.rows": 7,
        "training.regularisation": 0.3,
        "training.unknown": "negative",
        "training.ks": (10, 20),
        "training.also_best": ("gzsl/F1@10",),
    },
    "tailored_coco": {
        **TAILORED,
        "adaptation.steps": 4000,
        "acceptance.kind": "coco",
        "acceptance.min_probability": 0.5,
        "training.batch_size": 32,
        "training.learning_rate": 0.002,
        "training.classes_per_batch": None,
    },
    "tailored_nus": {
        **TAILORED,
        "adaptation.steps": 26_000,
        "acceptance.kind": "nus",
        "acceptance.top_k": 7,
        "acceptance.extra_probability": 0.1,
        "training.batch_size": 96,
        "training.learning_rate": 0.0005,
        "training.classes_per_batch": 100,
    },
    "few_shot_custom_coco": {**FEW_SHOT, "training.augmentation.crop_scale": 0.7},
    "few_shot_focus": {**FEW_SHOT, "training.augmentation.crop_scale": 0.7},
    "few_shot_coco": {**FEW_SHOT, "training.augmentation.crop_scale": 1.0},  # squashed, not cropped
}


@cache
def effective(name: str) -> dict[str, Any]:
    """The config's parameters with all defaults, as the pipeline gets them."""
    path = PAPER / f"{name}.yaml"
    module, pipeline, _ = re.match(r"# zenml pipeline run (\S+)\.(\w+) -c (\S+)\n", path.read_text()).groups()
    return check_config(path, getattr(importlib.import_module(module), pipeline).entrypoint)


def test_every_paper_config_has_its_table():
    assert PUBLISHED.keys() == {path.stem for path in PAPER.glob("*.yaml")}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, table in PUBLISHED.items() for field in table])
def test_as_published(name, field):
    found: Any = effective(name)
    for part in field.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == PUBLISHED[name][field]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
def test_the_rate_falls_by_the_cosine_after_every_epoch(name):
    """torch's CosineAnnealingLR, stepped once an epoch."""
    config = effective(name)["training"]
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], config.learning_rate)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    for epoch in range(config.epochs):
        ours = learning_rate(config, epoch * 390, 390, config.epochs * 390)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("name", ["tailored_coco", "tailored_nus"])
def test_prompts_warm_up_for_an_epoch_and_fall_by_the_cosine(name):
    config = effective(name)["training"]
    rates = [
        prompt_rate(config.learning_rate, config.warmup_rate, e, config.epochs) for e in range(1, config.epochs + 1)
    ]
    assert rates[0] == 1e-5
    assert rates[1:] == sorted(rates[1:], reverse=True)  # once an epoch; see docs/recipes/tailored.md
    assert rates[1] == pytest.approx(config.learning_rate, rel=2e-3)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
def test_the_tricks_draw_as_the_paper_says(name):
    config = effective(name)
    tricks = {
        trick.name: trick
        for trick in build_tricks(
            config["tricks"], config.get("domains"), config["generator"].guidance_scale, config["wording"]
        )
    }
    assert tricks["random_guidance"].guidance == (1.0, 5.0)
    assert tricks["base_class"].guidance == 7.5
    assert len(tricks["multi_domain"].templates) == (5 if name == "eurosat" else 10)


def test_a_crop_of_one_size_is_a_square_of_that_size():
    """EuroSAT's: 224 of 256 px. Without rotation every column is resampled alike: a ramp keeps 7/8 of its slope."""
    config = effective("eurosat")["training"]
    fixed = AugmentConfig(
        **{name: getattr(config, name) for name in ("crop_scale", "crop_largest", "crop_aspect")}, flip=False
    )
    ramp = torch.arange(64, dtype=torch.uint8).repeat(8, 3, 64, 1)
    found = augment(ramp, fixed, torch.Generator().manual_seed(0)) * 255
    assert torch.allclose(found[..., 32, 40] - found[..., 32, 24], torch.full((8, 3), 14.0), atol=0.05)


def test_the_defaults_are_the_whole_law_of_random_crops():
    assert TrainingConfig().crop_largest == 1.0
    assert TrainingConfig().crop_aspect == 0.2877
