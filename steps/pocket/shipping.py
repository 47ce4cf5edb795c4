"""Copy the finished models to where they are embedded from."""

import shutil
from pathlib import Path
from typing import Annotated

from zenml import step

from figment.files import sha256_folder


@step
def ship_pocket(generator: str, clip: str, chat: str, measures: dict, ship_to: str) -> Annotated[str, "pocket_digest"]:
    """``ship_to``/diffusion, clip and chat, replaced as a whole after measuring; returns the hash of the set."""
    root = Path(ship_to)
    for name, source in {"diffusion": generator, "clip": clip, "chat": chat}.items():
        fresh = root / f".{name}.partial"
        shutil.copytree(source, fresh, dirs_exist_ok=True)
        shutil.copy("NOTICE", fresh / "NOTICE")  # whose drawings taught it
        if (root / name).exists():
            (root / name).rename(root / f".{name}.old")
        fresh.rename(root / name)
        shutil.rmtree(root / f".{name}.old", ignore_errors=True)
    return sha256_folder(root)
