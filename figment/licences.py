"""Under what terms a model came: what lies beside its weights, or where its terms are to be read."""

import re
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

TEXTS = ("NOTICE", "NOTICE.txt", "LICENSE", "LICENSE.txt", "LICENSE.md")
LINES = 20  # of a licence's text


def licence_of(model: str, revision: str | None = None) -> str:
    """Of a model's folder (``local-dir:`` or a path) or hub id: the ``license:`` of its card, else the first lines of its
    NOTICE or LICENSE, else where to look. Asks no network."""
    name = model.removeprefix("local-dir:").removeprefix("hf-hub:")
    folder = Path(name)
    if folder.is_dir():
        card, texts = folder / "README.md", [folder / text for text in TEXTS]
    else:
        card = _cached(name, "README.md", revision)
        texts = [_cached(name, text, revision) for text in TEXTS]
    if card.is_file() and (declared := re.search(r"(?m)^license: *(\S.*)$", card.read_text(encoding="utf-8"))):
        return declared[1].strip()
    for text in texts:
        if text.is_file():
            return "\n".join(text.read_text(encoding="utf-8").splitlines()[:LINES])
    if folder.is_dir():
        return f"not stated in {folder}"
    return f"not stored here; see https://huggingface.co/{name}" if "/" in name else "not stored here"


def clip_licence(model: str, pretrained: str | None) -> str:
    """The same of an open_clip model; a name with ``pretrained`` weights is looked up in open_clip's own table."""
    if ":" in model or not pretrained:
        return licence_of(model)
    import open_clip  # which loads torch

    source = open_clip.get_pretrained_cfg(model, pretrained) or {}
    return licence_of(str(source.get("hf_hub") or model).rstrip("/"))


def _cached(repository: str, file: str, revision: str | None) -> Path:
    found = try_to_load_from_cache(repository, file, revision=revision) if repository.count("/") == 1 else None
    return Path(found) if isinstance(found, str) else Path("/nonexistent")
