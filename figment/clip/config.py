"""Which CLIP, and the prompts by which it is asked for a class."""

from string import Formatter

from pydantic import field_validator

from figment.types import Count, ModelName, Settings

ZERO_SHOT_TEMPLATES = ("a photo of a {name}", "an image of a {name}", "{name}")


class ClipConfig(Settings):
    """Any open_clip model: ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME``, or a name such as ViT-B-32 with ``pretrained``.

    ``templates`` say ``{name}``; one that also says ``{other}`` stands for as many prompts as there are other classes: a class
    in company, for pictures that show several.
    """

    model: ModelName
    pretrained: str | None = None
    templates: tuple[str, ...] = ZERO_SHOT_TEMPLATES
    batch_size: Count = 256
    device: str = "auto"

    @field_validator("templates")
    @classmethod
    def _say_the_name(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
            if "name" not in fields or fields - {"name", "other"}:
                raise ValueError(f"{template!r} must say {{name}}, and may say {{other}}, another class")
        return templates
