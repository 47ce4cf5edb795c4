"""What the user may choose about a classifier's training."""

from typing import Literal

from pydantic import Field, model_validator

from figment.types import Count, ModelName, Natural, NonNegative, Number, Positive, Resize, Seed, Settings, Share, Side


class AugmentConfig(Settings):
    """How pictures are changed at random while they are learnt from (figment.training.augment)."""

    crop_scale: Number = Field(0.08, gt=0, le=1)  # smallest area of a random resized crop; 1: no such crop
    shift: Natural = 0  # random crop of the picture padded by so many px
    rotation: Number = Field(0.0, ge=0, le=180)  # degrees either way
    color_jitter: Share = 0.0
    flip: bool = True


class TrainingConfig(AugmentConfig):
    """Any timm model, from random weights. The defaults are the paper's recipe (sec. 4.1): AdamW 2e-4, cosine to zero,
    200 epochs, batch 128, weight decay 0.9 on CIFAR, 0.3 on EuroSAT, 0.1 for MobileNetV3 anywhere."""

    model: ModelName = "resnet50"
    # What the first layers throw away of the resolution, for pictures of 32-64 px: half and small keep twice and four
    # times as many pixels a side (a ResNet's pooling and first stride, a transformer's patch).
    stem: Literal["native", "half", "small"] = "native"
    image_size: Side = 32
    resize: Resize = (
        "bilinear"  # of pictures that have another size; the paper: bilinear on CIFAR, no antialias on EuroSAT
    )
    # The px of the real pictures, if they are smaller than image_size: larger ones are brought to it first, so that the
    # generated show no detail that the real lack.
    native_size: Side | None = None

    epochs: Count = 200
    steps: Count | None = None  # if given, replaces epochs: every set then gets the same number of updates
    batch_size: Count = Field(128, gt=1)
    learning_rate: Positive = 2e-4
    # cosine: to zero, after every epoch as the paper has it (after every step if ``steps`` is given);
    # one_cycle: up linearly over the first quarter of the steps, then down the cosine
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    weight_decay: NonNegative = 0.9
    dropout: Number = Field(0.0, ge=0, lt=1)  # before the last layer; torchvision's MobileNetV3 has 0.2
    drop_path: Number = Field(0.0, ge=0, lt=1)  # stochastic depth; torchvision's ConvNeXt-S has 0.4
    label_smoothing: Number = Field(0.0, ge=0, lt=1)
    ema_decay: Number | None = Field(None, gt=0, lt=1)  # if given, the moving average of the weights is what is kept

    holdout: Number = Field(0.0, ge=0, lt=1)  # share of every class that is not trained on but validated on
    keep: Literal["last", "best"] = "last"  # which epoch's weights: the last, or the best on the held-out share

    # On one machine, one a GPU: batch_size is that of all together, so that their number changes the time and not the result
    processes: Count = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 autocast on a GPU, fp32 elsewhere
    seed: Seed = 0
    device: str = "auto"

    @model_validator(mode="after")
    def _best_needs_a_holdout(self) -> "TrainingConfig":
        if self.keep == "best" and not self.holdout:
            raise ValueError("keep: best needs pictures to choose by; set holdout, for example to 0.1")
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

    context: Count = 64  # learnt vectors before a class's name
    fusion_scale: Positive | None = 1e-4  # of the new branches' scales at the start; None: no branches
    batches: Literal["alternating", "mixed"] = (
        "alternating"  # real and generated pictures in turn, an epoch each, or together
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
    loss_scale: Positive = 0.01  # the loss is a sum over pictures and classes
    cutout: Share = 0.5
    randaugment: bool = True
    held_out: Number = Field(0.1, gt=0, lt=1)  # share of the generated pictures that helps to choose the epoch
    seed: Seed = 0
    device: str = "auto"
