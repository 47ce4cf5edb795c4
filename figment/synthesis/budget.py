"""How much may be rendered: a bound on images and on hours, kept at the ends of shards."""

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
        pace = hours / self.done if self.done else 0.0  # in hours an image
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
