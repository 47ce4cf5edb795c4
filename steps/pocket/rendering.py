"""Draw the pocket world."""

from pathlib import Path
from typing import Annotated

from figment.files import digest, sha256_file, write_text
from figment.ops.steps import step
from pocket.banks import render_banks
from pocket.config import WorldConfig


@step
def render_world(world: WorldConfig, work: str) -> Annotated[str, "bank_folder"]:
    """The folder of the banks, named after the world's settings and artwork: another world is another folder."""
    art = [sha256_file(Path(path)) for path in (*world.teachers, *world.reality)]
    identity = digest({**world.model_dump(mode="json"), "art": art})[:12]
    folder = Path(work) / f"world-{identity}"
    render_banks(world, folder)
    write_text(folder / "world.json", world.model_dump_json(indent=2))
    return folder.as_posix()
