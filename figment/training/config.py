"""What the user may choose about the training of a classifier, a semantic matrix or a few-shot head."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from figment.clip.config import DEFAULT_CLIP, ClipConfig, LabelVectorConfig
from figment.errors import InputError
from figment.metrics.measures import KS, names_of_measures
from figment.types import (
    Count,
    ModelName,
    Natural,
    NonNegative,
    Number,
    PathText,
    Positive,
    Resize,
    Seed,
    Settings,
    Share,
    Side,
)

AUTO_AUGMENTS = ("rand", "augmix", "original", "originalr", "v0", "v0r", "3a")


class AugmentConfig(Settings):
    """How images are changed at random while they are learned from (figment.training.augment)."""

    crop_scale: Number = Field(0.08, gt=0, le=1)  # smallest area of a random resized crop; 1: no such crop
    crop_largest: Number = Field(1.0, gt=0, le=1)  # largest area of it
    crop_aspect: Number = Field(0.2877, ge=0, le=2)  # of its aspect the logarithm, either way: 3/4 to 4/3; 0: squares
    shift: Natural = 0  # random crop of the image padded by so many px
    rotation: Number = Field(0.0, ge=0, le=180)  # degrees either way
    color_jitter: Share = 0.0
    flip: bool = True
    # timm: its create_transform, image by image, with these crops, jitters and flips; slower, and as its recipes have it
    transforms: Literal["figment", "timm"] = "figment"
    auto_augment: str | None = None  # timm's, such as rand-m9-mstd0.5-inc1 or augmix-m3-w3
    random_erasing: Share = 0.0  # probability that a rectangle of an image is erased

    @model_validator(mode="after")
    def _timms_own(self) -> "AugmentConfig":
        if self.transforms != "timm" and (self.auto_augment or self.random_erasing):
            raise ValueError("auto_augment and random_erasing are timm's; set transforms: timm, or leave them out")
        if self.transforms == "timm" and (self.shift or self.rotation):
            raise ValueError("timm's transforms have no shift or rotation; leave them out, or use auto_augment")
        if self.auto_augment and self.auto_augment.partition("-")[0] not in AUTO_AUGMENTS:
            raise ValueError(
                f"auto_augment is {self.auto_augment!r}; one that begins with {', '.join(AUTO_AUGMENTS)} is timm's"
            )
        return self


class ClipHeadConfig(Settings):
    """A head on CLIP's cached features that begins as the text features: AdamW down a cosine, on half cross-entropy and half
    the soft one at ``temperature`` against CLIP's zero-shot answers, which keeps what CLIP knows."""

    epochs: Count = 30
    batch_size: Count = 64
    learning_rate: Positive = 2e-3
    weight_decay: NonNegative = 0.1
    hard: Share = 0.5  # of the loss
    temperature: Positive = 2.0


class SelfTrainingConfig(Settings):
    """What is done with real images beside the generated ones (``real.unlabelled``, ``real.shots``). ``rounds`` and ``clip_pull``
    were chosen on the validation split of the embedded drawings; nothing was on a test split."""

    keep: Number = Field(0.7, gt=0, le=1)  # of the unlabelled images of each predicted class, the surest
    repeat: Count = 2  # times that a kept image is in the student's set
    repeat_shots: Count = 16
    updates: Number = Field(1.5, ge=1, le=10)  # times those of other classifiers
    rounds: Annotated[Count, Field(le=3)] = 1  # after the first the student before is the teacher, with CLIP
    source: Count = 16  # images that the batch statistics of training count for, against the unlabelled ones
    clip_pull: Share = 0.25  # how far each step of EM moves CLIP's class vectors from the text to the images
    clip_head: ClipHeadConfig = ClipHeadConfig()


class TrainingConfig(AugmentConfig):
    """Any timm model, from random weights or pretrained ones. The defaults are the paper's recipe (sec. 4.1): AdamW 2e-4, cosine
    to zero, 200 epochs, batch 128, weight decay 0.9 on CIFAR, 0.3 on EuroSAT, 0.1 for MobileNetV3 anywhere."""

    model: ModelName = "resnet50"  # a name of timm's, with a tag or without, or hf_hub:OWNER/NAME
    pretrained: bool = False  # starts from timm's weights of that name, from the hub or its cache
    freeze: tuple[str, ...] = ()  # parts that do not learn, such as conv1 or layer1; backbone: all but the last layer
    # What the first layers throw away of the resolution, for images of 32-64 px: half and small keep twice and four
    # times as many pixels a side (a ResNet's pooling and first stride, a transformer's patch).
    stem: Literal["native", "half", "small"] = "native"
    # Start weights instead of random ones, a safetensors file of the model (figment import weights); another last layer is
    # left out.
    weights: PathText | None = None
    image_size: Side = 32
    resize: Resize = (
        "bilinear"  # of images that have another size; the paper: bilinear on CIFAR, no antialias on EuroSAT
    )
    # The px of the real images, if they are smaller than image_size: larger ones are brought to it first, so that the
    # generated show no detail that the real lack.
    native_size: Side | None = None

    epochs: Count = 200
    steps: Count | None = None  # if given, replaces epochs: every set then gets the same number of updates
    batch_size: Annotated[Count, Field(gt=1)] = 128
    learning_rate: Positive = 2e-4
    # cosine: to zero, after every epoch as the paper has it (after every step if ``steps`` is given);
    # one_cycle: up linearly over the first quarter of the steps, then down the cosine
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    weight_decay: NonNegative = 0.9
    optimizer: str = "adamw"  # any of timm's
    momentum: Number = Field(0.9, ge=0, lt=1)  # of optimizers that have one
    decay_all: bool = True  # whether biases and norms are decayed too
    layer_decay: Number | None = Field(None, gt=0, le=1)  # each layer's rate is this times that of the layer above it
    mixup: NonNegative = 0.0  # alpha of timm's Mixup
    cutmix: NonNegative = 0.0  # and of CutMix; with both, one or the other for each batch
    dropout: Number = Field(0.0, ge=0, lt=1)  # before the last layer; torchvision's MobileNetV3 has 0.2
    drop_path: Number = Field(0.0, ge=0, lt=1)  # stochastic depth; torchvision's ConvNeXt-S has 0.4
    label_smoothing: Number = Field(0.0, ge=0, lt=1)
    ema_decay: Number | None = Field(None, gt=0, lt=1)  # if given, the moving average of the weights is what is kept

    holdout: Number = Field(0.0, ge=0, lt=1)  # share of every class that is not trained on but validated on
    keep: Literal["last", "best"] = "last"  # which epoch's weights: the last, or the best on the held-out share

    self_training: SelfTrainingConfig = SelfTrainingConfig()  # where real.unlabelled or real.shots are given

    # On one machine, one a GPU: batch_size is that of all together, so that their number changes the time and not the result
    processes: Count = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 autocast on a GPU, fp32 elsewhere
    seed: Seed = 0
    device: str = "auto"

    @model_validator(mode="after")
    def _best_needs_a_holdout(self) -> "TrainingConfig":
        if self.keep == "best" and not self.holdout:
            raise ValueError("keep: best needs images to choose by; set holdout, for example to 0.1")
        return self

    @model_validator(mode="after")
    def _starts_from_one(self) -> "TrainingConfig":
        if self.pretrained and self.weights:
            raise ValueError("pretrained and weights are two starts; leave one out")
        return self

    @model_validator(mode="after")
    def _every_process_has_as_many(self) -> "TrainingConfig":
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by processes {self.processes}; it is that of all together"
            )
        return self


class DualPromptConfig(Settings):
    """The defaults are the paper's for MS-COCO. For NUS-WIDE it takes batches of 96, prompts at 0.0005 and 100 classes a
    batch."""

    context: Count = 64  # learned vectors before a class's name
    class_specific: bool = False  # a context for each class instead of one for all; it fits no other classes then
    init_words: str = ""  # what the context begins as, such as "a photo of a"; the vectors beyond its tokens are random
    fusion_scale: Positive | None = 1e-4  # of the new branches' scales at the start; None: no branches
    batches: Literal["alternating", "mixed"] = (
        "alternating"  # real and generated images in turn, an epoch each, or together
    )
    unknown: Literal["ignore", "negative"] = "ignore"  # what a target of -1 means
    epochs: Count = 50
    batch_size: Count = 32
    classes_per_batch: Count | None = None  # drawn for each batch where there are more; all by default
    learning_rate: Positive = 0.002  # of the prompts
    fusion_learning_rate: Positive = 1e-4
    warmup_rate: Positive = 1e-5  # of all in the first epoch
    momentum: Number = Field(0.9, ge=0, lt=1)
    weight_decay: NonNegative = 5e-4
    loss_scale: Positive = 0.01  # the loss is a sum over images and classes
    gamma_neg: NonNegative = 2  # focusing exponents of the asymmetric loss
    gamma_pos: NonNegative = 1
    eps: Number = Field(0.0, ge=0, lt=1)  # the least probability whose logarithm it takes; 0: from logits, exactly
    cutout: Share = 0.5
    randaugment: bool = True
    held_out: Number = Field(0.1, gt=0, lt=1)  # share of the generated images that helps to choose the epoch
    also_best: tuple[
        str, ...
    ] = ()  # of each the epoch that is best on the test images is saved too, as papers report it
    seed: Seed = 0
    device: str = "auto"

    @model_validator(mode="after")
    def _measured_on_test_images(self) -> "DualPromptConfig":
        check_test_measures(self.also_best, KS)
        return self


class DualPromptTraining(DualPromptConfig):
    """``backbone``: the CLIP that prompts are learned on, by images of ``image_size`` px."""

    backbone: ClipConfig = ClipConfig(model="RN50", pretrained="openai")
    image_size: Side = 224


class SemanticConfig(Settings):
    """The defaults are the paper's recipe: TResNet-M, 7 rows (NUS-WIDE; 2 for COCO), Adam under one cycle, cutout and
    RandAugment, 10 epochs of batches of 32. Its ``regularisation`` is 0.3, for COCO 0.01; it starts from ImageNet
    weights, ``model: tresnet_m.miil_in1k, pretrained: true``."""

    model: ModelName = "tresnet_m"
    pretrained: bool = False  # timm's weights of that name, from the hub or its cache
    weights: PathText | None = None  # start weights of the backbone, a safetensors file (figment import weights)
    stem: Literal["native", "small"] = "native"
    image_size: Side = 224
    rows: Count = 7
    regularisation: Share | None = 0.3
    diversity_weight: bool = True
    pooling: Literal["max", "mean"] = "max"
    unknown: Literal["ignore", "negative"] = "ignore"  # what a target of -1 means
    epochs: Count = 10
    batch_size: Annotated[Count, Field(gt=1)] = 32
    learning_rate: Positive = 2.5e-5  # the highest of the cycle
    warmup: Number = Field(0.1, ge=0, lt=1)  # share of the steps in which the rate rises
    weight_decay: NonNegative = 3e-4  # on matrices only; added to the gradient, as Adam has it
    cutout: Share = 0.5  # side of the rectangle, as a share of the image's
    randaugment: bool = True
    ema_decay: float | None = Field(
        None, gt=0, lt=1
    )  # if given, the moving average of the weights is kept and measured
    mixed_precision: bool = True  # on a GPU
    ks: tuple[Count, ...] = (3, 5)  # precision, recall and F1 are measured of the k best tags
    select_by: str = "validation/mAP"  # which of the measures chooses the epoch
    also_best: tuple[
        str, ...
    ] = ()  # of each the epoch that is best on the test images is saved too, as papers report it
    workers: Natural = 0  # processes that augment
    seed: Seed = 0
    device: str = "auto"

    @model_validator(mode="after")
    def _measured_on_test_images(self) -> "SemanticConfig":
        check_test_measures(self.also_best, self.ks)
        return self


class SemanticTraining(SemanticConfig):
    """``twin_cosine``: an unseen label whose vector is this near to a seen one's is left out of zsl_twin_free."""

    vectors: LabelVectorConfig = LabelVectorConfig(clip=DEFAULT_CLIP)
    twin_cosine: Annotated[Number, Field(gt=0, le=1)] = 0.8


def check_test_measures(names: Sequence[str], ks: Sequence[int]) -> None:
    """Raise ValueError for a name that is no measure on the test images."""
    known = [f"{protocol}/{name}" for protocol in ("zsl", "gzsl") for name in names_of_measures(ks)]
    if strange := next((name for name in names if name not in known), None):
        raise ValueError(f"also_best: {strange!r} is not measured on the test images; there are {', '.join(known)}")


def check_selection(config: SemanticConfig) -> None:
    """Raise InputError, before anything is trained, if ``select_by`` is no measure on the validation images."""
    known = [f"validation/{name}" for name in names_of_measures(config.ks)]
    if config.select_by not in known:
        test = config.select_by.startswith(("zsl/", "gzsl/"))
        found = "would choose by test images; take one of 'validation/'" if test else "is not measured"
        raise InputError(f"training.select_by: {config.select_by!r} {found}; there are {', '.join(known)}")


class BackboneConfig(Settings):
    """``timm:NAME`` with its pretrained weights, or those in the file ``weights``; ``open_clip:MODEL`` as ``ClipConfig.model``
    says it. Images are squashed to ``image_size`` px before they are changed at random."""

    model: ModelName = "timm:resnet50"
    # of timm: a safetensors file instead of the hub's; of open_clip: the ``pretrained`` tag
    weights: PathText | None = None
    image_size: Side = 256
    batch_size: Count = 64
    device: str = "auto"


class HeadConfig(Settings):
    """Adam at a constant rate; the defaults are DIAGen's classifier's: 50 epochs of 200 batches of 16."""

    steps: Count = 10_000
    batch_size: Count = 16
    learning_rate: Positive = 1e-4
    weight_decay: NonNegative = 0.0  # L2, in the gradient
    validate_every: Count = 200  # steps


class FinetuneConfig(Settings):
    """Adam at constant rates."""

    steps: Count = 1000
    batch_size: Count = 16
    learning_rate: NonNegative = (
        1e-5  # of the backbone; 0: the head alone learns, of images that are changed in every step
    )
    head_learning_rate: Positive = 1e-4
    weight_decay: NonNegative = 0.0  # L2, in the gradient
    mixup: NonNegative = 0.0  # alpha of timm's Mixup
    cutmix: NonNegative = 0.0  # and of CutMix; with both, one or the other for each batch
    label_smoothing: Number = Field(0.0, ge=0, lt=1)
    validate_every: Count = 100  # steps


class FewShotTrainingConfig(Settings):
    """The defaults are DIAGen's. ``validate_on: held_out`` lets labelled photos beyond the shots choose the step that is kept
    and calibrate the filter, as published; ``nothing`` takes the last step and calibrates by cross-fitting, with no more
    labels than the shots have."""

    backbone: BackboneConfig = BackboneConfig()
    augmentation: AugmentConfig = AugmentConfig(crop_scale=0.7, rotation=15)
    views: Count = 20  # random views of each image, drawn once
    head: HeadConfig = HeadConfig()
    filter: HeadConfig = HeadConfig(weight_decay=1e-2)
    validate_on: str = Field("held_out", pattern="^(held_out|nothing)$")
    finetune: FinetuneConfig | None = None  # if given, the backbone learns on from each head; {} for the defaults
