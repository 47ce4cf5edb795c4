"""How much may be rendered: a bound on images and on hours, kept at the ends of shards."""

import math
from time import perf_counter

from figment.errors import InputError
from figment.synthesis.config import SynthesisConfig


class Budget:
    """``max_images`` and ``max_hours`` of a config, counted from now on. Pass one to all calls that share it; of ``parts`` steps
    that know nothing of each other each has an equal share."""

    def __init__(self, config: SynthesisConfig, parts: int = 1):
        self.max_images = None if config.max_images is None else config.max_images // parts
        self.max_hours = None if config.max_hours is None else config.max_hours / parts
        self.start = perf_counter()
        self.admitted = self.done = 0
        self.other_hours = 0.0  # of processes beside this one
        self.config, self.parts = config, parts

    def refuses(self, more: int) -> str:
        """Why ``more`` images must not be begun, or nothing; then they count as admitted."""
        if self.max_images is not None and self.admitted + more > self.max_images:
            said = self.shared(f"{self.config.max_images}", f"{self.max_images}")
            if not self.admitted:
                raise InputError(
                    f"synthesis.max_images: {said} is less than one shard of {more} images; raise it, or lower shard_size"
                )
            return f"max_images {said} would be exceeded"
        hours = self.hours()
        pace = (hours + self.other_hours) / self.done if self.done else 0.0  # of one process, in hours an image
        if self.max_hours is not None and hours + (self.admitted - self.done + more) * pace > self.max_hours:
            return f"max_hours {self.shared(f'{self.config.max_hours:g}', f'{self.max_hours:g}')} would be exceeded"
        self.admitted += more
        return ""

    def shared(self, whole: str, share: str) -> str:
        """What the config says, and what of it this part has."""
        return f"{whole}, {share} for each of {self.parts} parts," if self.parts > 1 else whole

    def hours(self) -> float:
        """Hours since the start."""
        return (perf_counter() - self.start) / 3600

    def shards_left(self, size: int) -> float:
        """How many shards of ``size`` images may still be begun; infinite if images are not bounded."""
        return math.inf if self.max_images is None else (self.max_images - self.admitted) // size

    def left(self, config: SynthesisConfig, processes: int) -> SynthesisConfig:
        """``config`` for one of so many processes side by side: an equal share of the images left, and the hours left."""
        images = None if self.max_images is None else (self.max_images - self.admitted) // processes
        hours = None if self.max_hours is None else max(1e-9, self.max_hours - self.hours())
        return config.model_copy(update={"max_images": images, "max_hours": hours, "workers": 1})

    def add(self, images: int, hours: float, processes: int) -> None:
        """Count ``images`` that so many processes side by side have made in so many hours."""
        self.admitted += images
        self.done += images
        self.other_hours += hours * (processes - 1)
