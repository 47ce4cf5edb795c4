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
        fresh, old = root / f".{name}.partial", root / f".{name}.old"
        shutil.rmtree(fresh, ignore_errors=True)  # what a kill left of an earlier try
        shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(source, fresh)
        shutil.copy("NOTICE", fresh / "NOTICE")  # whose drawings taught it
        if (root / name).exists():
            (root / name).rename(old)
        fresh.rename(root / name)
        shutil.rmtree(old, ignore_errors=True)
    return sha256_folder(root)
