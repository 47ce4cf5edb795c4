"""Draw the pocket world."""

from pathlib import Path
from typing import Annotated

from zenml import step

from figment.files import digest, write_text
from figment.pocket.artwork import SPRITE_SIZE
from figment.pocket.banks import render_banks
from figment.pocket.config import WorldConfig


@step
def render_world(world: WorldConfig, work: str) -> Annotated[str, "bank_folder"]:
    """The folder of the banks, named after the world's settings: another world is another folder."""
    identity = digest({**world.model_dump(mode="json"), "sprite": SPRITE_SIZE})[:12]
    folder = Path(work) / f"world-{identity}"
    render_banks(world, folder)
    write_text(folder / "world.json", world.model_dump_json(indent=2))
    return folder.as_posix()
