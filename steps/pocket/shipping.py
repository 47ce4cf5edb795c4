"""Copy the finished models to where they are embedded from."""

import shutil
from pathlib import Path
from typing import Annotated

from safetensors.torch import load_file, save_file

from figment.files import sha256_folder
from figment.manifests import FileRef
from figment.ops.steps import step


@step
def ship_pocket(
    generator: str, clip: str, chat: str, judge: FileRef, measures: dict, ship_to: str
) -> Annotated[str, "pocket_digest"]:
    """``ship_to``/diffusion, clip, chat and judge, replaced as a whole after measuring; returns the hash of the set."""
    root, examiner = Path(ship_to), Path(ship_to) / ".judge"
    shutil.rmtree(examiner, ignore_errors=True)
    examiner.mkdir(parents=True)
    weights = {
        name: value.half() if value.is_floating_point() else value for name, value in load_file(judge.open()).items()
    }
    save_file(weights, examiner / "judge.safetensors")
    for name, source in {"diffusion": generator, "clip": clip, "chat": chat, "judge": examiner}.items():
        fresh, old = root / f".{name}.partial", root / f".{name}.old"
        shutil.rmtree(fresh, ignore_errors=True)  # what a kill left of an earlier try
        shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(source, fresh)
        shutil.copy("NOTICE", fresh / "NOTICE")  # whose drawings taught it
        if (root / name).exists():
            (root / name).rename(old)
        fresh.rename(root / name)
        shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(examiner)
    return sha256_folder(root)
