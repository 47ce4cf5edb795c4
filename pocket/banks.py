"""Banks of rendered scenes on disk: drawn once, read by every training stage."""

from pathlib import Path

from pocket.config import WorldConfig
from pocket.world import Scenes, World

HELD_OUT = 2_000  # the first scenes of the wide bank: never trained on


def worlds(config: WorldConfig) -> dict[str, World]:
    """``wide`` and ``calm`` of the teachers' artwork, ``unseen`` of the artist held back, ``all`` for the judge."""
    teachers, unseen, objects = [Path(p) for p in config.teachers], Path(config.unseen), list(config.objects)
    return {
        "wide": World(teachers, objects, config.size),
        "calm": World(teachers, objects, config.size, calm=True),
        "unseen": World([unseen], objects, config.size),
        "all": World([*teachers, unseen], objects, config.size),
    }


def render_banks(config: WorldConfig, folder: Path) -> dict[str, Path]:
    """Draw the banks that ``folder`` lacks: wide, calm and judge."""
    by_name = worlds(config)
    wanted = {
        "wide": (by_name["wide"], config.scenes, config.seed),
        "calm": (by_name["calm"], config.calm_scenes, config.seed + 1),
        "judge": (by_name["all"], config.judge_scenes, config.seed + 2),
    }
    paths = {name: folder / f"{name}.safetensors" for name in wanted}
    for name, (world, count, seed) in wanted.items():
        if not paths[name].exists():
            world.render(count, seed).save(paths[name])
    return paths


def split(scenes: Scenes, held_out: int = HELD_OUT) -> tuple[Scenes, Scenes]:
    """(training part, held-out part)."""
    parts = [slice(held_out, None), slice(0, held_out)]
    train, test = (Scenes(scenes.pixels[p], scenes.objects[p], scenes.domains[p], scenes.captions[p]) for p in parts)
    return train, test
