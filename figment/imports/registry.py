"""``figment import KIND SOURCE``: what was made elsewhere, checked, with its digest and origin, in a folder that configs name."""

from pathlib import Path

from figment import store
from figment.errors import InputError
from figment.files import atomic_folder, write_json
from figment.imports import coco, folder, generator, nus_wide, parquet, prompts, sdl, text_encoder, weights, words
from figment.imports.contract import RECORD, Importer, Options, Record
from figment.reading import printable

IMPORTERS: dict[str, Importer] = {
    "folder": folder.IMPORTER,
    "parquet": parquet.IMPORTER,
    "coco": coco.IMPORTER,
    "nus": nus_wide.IMPORTER,
    "prompts": prompts.IMPORTER,
    "weights": weights.IMPORTER,
    "text-encoder": text_encoder.IMPORTER,
    "words": words.IMPORTER,
    "sdl": sdl.IMPORTER,
    "generator": generator.IMPORTER,
}
FOLDER = Path("artifacts/imported")  # below which they lie unless a place is given


def import_source(kind: str, source: Path, options: Options, out: Path | None = None) -> str:
    """Bring ``source`` into ``out``, whole or not at all; a sentence on what there is and how a config names it.

    Raises InputError for an unknown kind, an option that the kind does not take or lacks, a source that is not there or not what
    the kind reads, and a place that is taken."""
    if kind not in IMPORTERS:
        raise InputError(f"import {kind!r}: is not a kind; take one of {', '.join(IMPORTERS)}")
    importer = IMPORTERS[kind]
    given = {name for name, value in vars(options).items() if value}
    if strange := sorted(given - importer.takes):
        taken = ", ".join(f"--{name}" for name in sorted(importer.takes)) or "no option"
        raise InputError(f"import {kind}: --{strange[0]} is not for it; it takes {taken}")
    if lacking := sorted(importer.needs - given):
        raise InputError(f"import {kind}: --{lacking[0]} is missing; it says what the source does not")
    if not source.exists():
        raise InputError(f"{printable(source)}: no such file or folder; give {importer.source}")
    name = options.name or (out or source).resolve().name.partition(".")[0]
    place = out or FOLDER / name
    with atomic_folder(place) as partial:
        found = importer.read(source, partial, Options(**{**vars(options), "name": name}))
        record = Record(
            kind=kind,
            makes=importer.makes,
            name=name,
            source=printable(source),
            sha256=found.sha256,
            counts=found.counts,
            notes=found.notes,
            file=found.file,
        )
        write_json(partial / RECORD, record.model_dump())
    for path in sorted(place.rglob("*")) if store.url() else ():
        if path.is_file():
            store.push(path)
    counts = ", ".join(f"{count:,} {what}" for what, count in found.counts.items())
    where = printable(place / found.file) if found.file else printable(place)
    return "\n".join([f"{where}: {counts}", *found.notes, found.use.format(where)])
