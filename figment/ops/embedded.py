"""The embedded models, where a config names them and they are not there: an installed Figment brings them along."""

from pathlib import Path
from typing import Any

from figment.errors import InputError
from figment.files import check_writable
from figment.ops.environment import RESOURCES
from figment.ops.finished import strings
from figment.types import PREFIX

POCKET = Path("models/pocket")


def link_embedded(parameters: Any) -> None:
    """Link ``models/pocket`` of the working directory to Figment's own if a config names a folder in it that is not there: an
    image's id holds the path of its generator, so it is the same in a clone and elsewhere."""
    named = [Path(PREFIX.sub("", text, count=1)) for text in strings(parameters)]
    missing = [path for path in named if path.is_relative_to(POCKET) and not path.exists()]
    if not missing or POCKET.exists() or not (RESOURCES / missing[0]).exists():
        return
    check_writable(POCKET, str(POCKET))
    try:
        POCKET.parent.mkdir(exist_ok=True)
        POCKET.symlink_to(RESOURCES / POCKET, target_is_directory=True)
    except OSError as error:
        raise InputError(
            f"{POCKET}: cannot be linked to {RESOURCES / POCKET} ({error.strerror}); copy that folder"
        ) from error
    print(f"{POCKET}: linked to the embedded models in {RESOURCES}")
