"""The one config of the pocket models: their world, and how long each is trained."""

from pydantic import BaseModel, ConfigDict, Field

from pocket.artwork import OBJECTS, REALITY, TEACHERS


class WorldConfig(BaseModel):
    """Which artwork teaches the models, which is held back as "real", and how many scenes are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teachers: tuple[str, ...] = tuple(f"data/artwork/{artist}.parquet" for artist in TEACHERS)
    reality: tuple[str, ...] = tuple(f"data/artwork/{artist}.parquet" for artist in REALITY)
    objects: tuple[str, ...] = tuple(OBJECTS)
    size: int = Field(32, multiple_of=8)
    scenes: int = 150_000  # of the whole variety: for the autoencoder and CLIP
    calm_scenes: int = 100_000  # unmirrored, in steady poses: for the generator
    judge_scenes: int = 20_000  # of every artwork: for the judge alone
    seed: int = 1


class StageConfig(BaseModel):
    """One model's training: it ends after ``steps``, or after ``seconds`` of wall-clock time if that is earlier."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=1)
    learning_rate: float = Field(gt=0)
    seconds: float | None = Field(None, gt=0)
    seed: int = 0
    start: str | None = None  # a finished model to start from, of the same vocabulary; none: random weights


class JudgeConfig(StageConfig):
    channels: tuple[int, int, int, int] = (32, 64, 96, 192)
    shift: bool = False  # random crops, mirroring and cutout: for photographs
    ema: float = 0.99


class AutoencoderConfig(StageConfig):
    """With ``start``, its encoder is kept and the decoder alone is trained: latents, and generators of them, stay valid."""

    width: int = 32
    blocks: int = 1
    latent_noise: float = 0.05


class ClipTrainingConfig(StageConfig):
    width: int = 24  # of the image tower; its 32-fold is a multiple of 48
    shift: bool = False


class GeneratorTrainingConfig(StageConfig):
    channels: tuple[int, int] = (64, 160)
    layers_per_block: int = 1
    attention: tuple[bool, bool] = (True, True)  # at the full resolution of the latents, and at half of it
    caption_dropout: float = 0.1
    pooled_text: bool = False  # the caption's pooled states also join the time embedding: names act in every block
    styled_every: int = Field(1, ge=1)  # of images that are not plain photos, each so-many-th is trained on
    min_snr: float | None = None  # gamma of min-SNR weighting; none: every step counts the same
    ema: float = 0.9995
    look_every: int | None = Field(None, gt=0)  # steps after which the judge looks at some images: the curve of quality
    compile: bool = False  # torch.compile: minutes before the first step


class MeasureConfig(BaseModel):
    """How the finished set is measured: DDIM steps, guidance scales of the curve, images per object and point."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_inference_steps: int = 12
    guidance_scale: float = 4.0
    guidance_curve: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5)
    per_object: int = 20
    seed: int = 0
