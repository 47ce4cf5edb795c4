"""What a wheel holds: ``figment`` and nothing else at the top level.

The packages ``models``, ``steps`` and ``pipelines`` of the repository become ``figment._models`` and so on, with the imports of
them; the embedded models, the label files and the small configs become ``figment/_resources``.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MOVED = ("models", "steps", "pipelines")
IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(MOVED)})(?=[. ])", re.M)
RESOURCES = (
    ".env", "configs/expectations", "configs/labels", "configs/pocket", "configs/stacks",
    "models/pocket/chat", "models/pocket/clip", "models/pocket/diffusion",
)  # fmt: skip


class WheelHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        self.folder = Path(tempfile.mkdtemp())
        included = build_data["force_include"]
        for package in ("figment", *MOVED):
            target = "figment" if package == "figment" else f"figment/_{package}"
            for file in sorted((root / package).rglob("*")):
                inner = file.relative_to(root / package)
                if (
                    file.is_dir()
                    or "__pycache__" in inner.parts
                    or (package == "models" and inner.parts[0] in ("pocket", "photos"))
                ):
                    continue
                place = self.folder / target / inner
                place.parent.mkdir(parents=True, exist_ok=True)
                if file.suffix == ".py":
                    place.write_text(
                        IMPORT.sub(r"\1\2 figment._\3", file.read_text(encoding="utf-8")), encoding="utf-8"
                    )
                else:
                    shutil.copy(file, place)
                included[str(place)] = f"{target}/{inner.as_posix()}"
        for name in RESOURCES:
            included[str(root / name)] = f"figment/_resources/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self.folder, ignore_errors=True)
