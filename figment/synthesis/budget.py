"""How much may be rendered: a bound on images and on hours, kept at the ends of shards."""

from time import perf_counter

from figment.errors import InputError
from figment.synthesis.config import SynthesisConfig


class Budget:
    """``max_images`` and ``max_hours`` of a config, counted from now on. Pass one to all calls that share it."""

    def __init__(self, config: SynthesisConfig):
        self.max_images, self.max_hours = config.max_images, config.max_hours
        self.start = perf_counter()
        self.admitted = self.done = 0

    def refuses(self, more: int) -> str:
        """Why ``more`` images must not be begun, or nothing; then they count as admitted."""
        if self.max_images is not None and self.admitted + more > self.max_images:
            if not self.admitted:
                raise InputError(
                    f"synthesis.max_images: {self.max_images} is less than one shard of {more} images; "
                    "raise it, or lower shard_size"
                )
            return f"max_images {self.max_images} would be exceeded"
        hours = (perf_counter() - self.start) / 3600
        expected = hours * (self.admitted + more) / self.done if self.done else hours
        if self.max_hours is not None and expected > self.max_hours:
            return f"max_hours {self.max_hours:g} would be exceeded"
        self.admitted += more
        return ""

    def left(self, config: SynthesisConfig, processes: int) -> SynthesisConfig:
        """``config`` with what is left for each of so many processes."""
        images = None if self.max_images is None else max(1, (self.max_images - self.admitted) // processes)
        hours = None if self.max_hours is None else max(1e-9, self.max_hours - (perf_counter() - self.start) / 3600)
        return config.model_copy(update={"max_images": images, "max_hours": hours})
