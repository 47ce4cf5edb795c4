"""Banks of rendered scenes on disk: drawn once, read by every training stage."""

from pathlib import Path

from pocket.config import WorldConfig
from pocket.world import Scenes, World

HELD_OUT = 2_000  # the first scenes of the wide bank: never trained on


def worlds(config: WorldConfig) -> dict[str, World]:
    """``wide`` and ``calm`` of the teachers' artwork, ``unseen`` of the artists held back, ``all`` for the judge."""
    teachers, reality, objects = list(map(Path, config.teachers)), list(map(Path, config.reality)), list(config.objects)
    return {
        "wide": World(teachers, objects, config.size),
        "calm": World(teachers, objects, config.size, calm=True),
        "unseen": World(reality, objects, config.size),
        "all": World([*teachers, *reality], objects, config.size),
    }


def render_banks(config: WorldConfig, folder: Path, processes: int | None = None) -> dict[str, Path]:
    """Draw the banks that ``folder`` lacks: wide, calm and judge. By ``processes``, or one a core: the scenes are the same."""
    by_name = worlds(config)
    wanted = {
        "wide": (by_name["wide"], config.scenes, config.seed),
        "calm": (by_name["calm"], config.calm_scenes, config.seed + 1),
        "judge": (by_name["all"], config.judge_scenes, config.seed + 2),
    }
    paths = {name: folder / f"{name}.safetensors" for name in wanted}
    for name, (world, count, seed) in wanted.items():
        if not paths[name].exists():
            world.render(count, seed, processes).save(paths[name])
    return paths


def split(scenes: Scenes, held_out: int = HELD_OUT) -> tuple[Scenes, Scenes]:
    """(training part, held-out part)."""
    parts = [slice(held_out, None), slice(0, held_out)]
    train, test = (Scenes(scenes.pixels[p], scenes.objects[p], scenes.domains[p], scenes.captions[p]) for p in parts)
    return train, test
