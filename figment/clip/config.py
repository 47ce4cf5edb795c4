"""Which CLIP, and the prompts by which it is asked for a class."""

from string import Formatter
from typing import Literal, Self

from pydantic import field_validator, model_validator

from figment.types import Count, ModelName, PathText, Settings

ZERO_SHOT_TEMPLATES = ("a photo of a {name}", "an image of a {name}", "{name}")


class ClipConfig(Settings):
    """Any open_clip model: ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME``, or a name such as ViT-B-32 with ``pretrained``. A folder
    or hub model may also be a CLIP or SigLIP of transformers.

    ``templates`` say ``{name}``; one that also says ``{other}`` stands for as many prompts as there are other classes: a class
    in company, for images that show several.
    """

    model: ModelName
    pretrained: str | None = None
    templates: tuple[str, ...] = ZERO_SHOT_TEMPLATES
    batch_size: Count = 256
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the network; features are float32

    @field_validator("templates")
    @classmethod
    def _say_the_name(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
            if "name" not in fields or fields - {"name", "other"}:
                raise ValueError(f"{template!r} must say {{name}}, and may say {{other}}, another class")
        return templates


DEFAULT_CLIP = ClipConfig(model="ViT-B-32", pretrained="openai")


class LabelVectorConfig(Settings):
    """A word-vector file if ``file`` is given, else the text tower of ``clip``. ``columns`` is a text file with the name of
    each vector, one a line, for a pickle that does not say and has no classes.pickle beside it."""

    file: PathText | None = None
    columns: PathText | None = None
    clip: ClipConfig | None = None

    @model_validator(mode="after")
    def _from_somewhere(self) -> Self:
        if self.file is None and self.clip is None:
            raise ValueError("neither file nor clip is given; name a word-vector file, or a CLIP model by clip.model")
        return self

    @property
    def source(self) -> str:
        """The file, or what CLIP's model is called."""
        return self.file or (self.clip.model if self.clip else "")
