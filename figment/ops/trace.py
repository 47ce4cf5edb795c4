"""The chain from an image to the models that learned from it, and from a model back to the words it was made of.

Reads what lies under artifacts/ and the registry, nothing else; every chain ends with the command that goes it again.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion

from figment.errors import InputError
from figment.evaluation import provenance
from figment.files import sha256_file
from figment.ops import registry
from figment.ops.environment import CLONE
from figment.ops.lineage import CONFIG, NO_GIT, UNTRACKED
from figment.ops.lineage_file import LINEAGE, Lineage
from figment.planning.adapters import adapter_parts
from figment.planning.lookup import planned_row
from figment.reading import read_artifact
from figment.synthesis.pool import Pool, Shard

WIDTH = 12  # of the first column
Line = tuple[str, str]


def trace(plans: Sequence[Path], image_id: str) -> str:
    """What made an image; run by run, since several may have planned it, what asked for it and what was said of it; and which
    models learned from it. Raises InputError if ``image_id``, the beginning of an id, is that of several images of ``plans``."""
    rows = [planned_row(plan, image_id) for plan in plans]
    if len({row["image_id"] for row in rows}) > 1:
        where = ", ".join(map(str, plans))
        raise InputError(
            f"{image_id!r} begins the ids of several images in {where}; give more of the one that is meant"
        )
    row, output = rows[0], plans[0].parent
    image_id = row["image_id"]
    runs = dict.fromkeys(plan.parent for plan in plans)
    learners = {folder for root in (*runs, provenance.ARTIFACTS) for folder in provenance.learners(image_id, root)}
    trained = [line for folder in sorted(learners) for line in _model_lines(folder)]
    lines: list[Line] = [
        ("image", image_id),
        ("prompt", f"{row['prompt']!r}, asked to show {' and '.join(row['labels'])}"),
        *_author(row, output),
        ("planned", f"{row['recipe']}, trick {row['trick']}, replicate {row['replicate']}, seed {row['seed']}"),
        ("generator", f"{row['model']} @ {row['revision']}"),
        ("", _settings(row)),
        ("adapter", _adapter(row, output)),
        *([("from photo", _photo(row))] if row["initial_image"] else []),
        *(line for run in runs for line in _in_run(image_id, run, [plan for plan in plans if plan.parent == run])),
        *(trained or [("trained", "no model under artifacts/ learned from it")]),
        ("again", f"{_checkout(read_lineage(output))}figment replay {image_id[:16]} --plan {plans[0]}"),
    ]
    return table(lines)


def _photo(row: dict) -> str:
    within = f", within mask {row['mask']}" if row["mask"] else ""
    return f"{row['initial_image']}, strength {row['strength']:g}{within}"


def why(model: str) -> str:
    """What a model was made of: a folder, or one of the registry."""
    version: ModelVersion | None
    if Path(model).is_dir():
        weights: Path | None = provenance.weights_in(Path(model))
        version = next(iter(registry.versions_with(sha256_file(weights))), None)  # type: ignore[arg-type]
        lineage = read_lineage(provenance.output_of(Path(model)))
    else:
        version = registry.find_version(model)
        weights = provenance.find_weights(version.tags.get(registry.WEIGHTS, ""), version.tags.get(registry.FOLDER))
        lineage = _logged_lineage(version)
    folder = weights.parent if weights else None
    lines: list[Line] = [
        ("model", _name(version) if version else f"{folder}, not registered"),
        ("weights", f"{weights}, sha256 {sha256_file(weights)}" if weights else _gone(version)),
        *(_measured(version) if version else []),
        *(_recipe_lines(folder) if folder else []),
        *_run_lines(lineage),
        ("again", _again(lineage, folder)),
    ]
    return table(lines)


def table(lines: Iterable[Line]) -> str:
    """Two columns; what has several lines is indented."""
    indented = "\n" + " " * WIDTH
    return "\n".join(f"{name:{WIDTH}}{_harmless(text).replace(chr(10), indented)}".rstrip() for name, text in lines)


def _harmless(text: str) -> str:
    """The text without what a terminal would obey: a model may have written it."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def read_lineage(output: Path) -> Lineage | None:
    """The lineage that the last run left in its output folder."""
    file = output / LINEAGE
    return read_artifact(file, Lineage) if file.is_file() else None


def _in_run(image_id: str, output: Path, plans: Sequence[Path]) -> list[Line]:
    """An image in one run: its plans, its shard, what was said of it, and who ran it."""
    shard = _shard_with(image_id, Pool(output / "images"))
    return [
        ("plan", "\n".join(map(str, plans))),
        ("shard", f"{output / 'images' / shard.file}, sha256 {shard.sha256}" if shard else "not rendered yet"),
        *((file.stem, _verdict(said)) for file, said in provenance.verdicts_on(image_id, output).items()),
        *_run_lines(read_lineage(output)),
    ]


def _shard_with(image_id: str, pool: Pool) -> Shard | None:
    near = (shard for shard in pool.shards.values() if shard.first <= image_id <= shard.last)
    return next((shard for shard in near if image_id in pool.ids_of(shard.file).to_pylist()), None)


def _author(row: Mapping[str, Any], output: Path) -> list[Line]:
    """Who wrote the prompt."""
    answer = provenance.answer_behind(row, output)
    if isinstance(answer, str):
        return [("written by", "the grammar of its trick" if answer == "template" else answer)]
    return [
        ("written by", f"{answer.model}, in {answer.file}"),
        ("asked", answer.question.strip()),
        ("answered", answer.text.strip()),
    ]


def _settings(row: Mapping[str, Any]) -> str:
    steps, scale = f"{row['num_inference_steps']} steps", f"guidance {row['guidance_scale']:g}"
    return f"{row['scheduler']}, {steps}, {scale}, {row['width']} x {row['height']} px"


def _adapter(row: Mapping[str, Any], output: Path) -> str:
    if not row["adapter"]:
        return "none"
    files = []
    for name, weight in adapter_parts(row["adapter"]):
        file = output / "adapters" / f"{name}.safetensors"
        gone = "" if file.is_file() else " (gone)"
        files.append(f"{file}{gone}" + ("" if weight is None else f", a LoRA of weight {weight:g}"))
    concept = f", concept {row['concept']!r} with noise {row['noise']:g}" if row["concept"] else ""
    return "; ".join(files) + concept


def _verdict(said: Mapping[str, Any]) -> str:
    """``accepted: predicted frog, probability 0.93, contrast 0.21``."""
    hidden = ("image_id", "accepted", "reason", "labels", "trick")
    numbers = (f"{name} {_short(value)}" for name, value in said.items() if name not in hidden)
    return f"{said['reason']}: {', '.join(numbers)}"


def _short(value: Any) -> str:
    """A value in few words: of a list the first ones."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value[:8]))}{', ...' if len(value) > 8 else ''}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _model_lines(folder: Path) -> list[Line]:
    """A model that learned from the image, and the versions of it that are registered."""
    try:
        weights = provenance.weights_in(folder)
    except InputError:
        return [("trained", f"{folder} (not finished)")]
    names = [_name(version) for version in registry.versions_with(sha256_file(weights))]
    return [("trained", f"{folder}{': ' if names else ''}{'; '.join(names)}")]


def _name(version: ModelVersion) -> str:
    aliases = ", ".join(registry.aliases_of(version))
    return f"{version.name} version {version.version}" + (f" ({aliases})" if aliases else "")


def _gone(version: ModelVersion | None) -> str:
    sha256 = version.tags.get(registry.WEIGHTS, "unknown") if version else "unknown"
    return f"sha256 {sha256}; no longer under artifacts/, but in the registry"


def _measured(version: ModelVersion) -> list[Line]:
    return [("measured", version.tags["measured"])] if "measured" in version.tags else []


def _recipe_lines(folder: Path) -> list[Line]:
    recipe = provenance.recipe_of(folder)
    if recipe is None:
        return [("trained on", f"real images only (no {provenance.TRAINING_LIST} in {folder})")]
    counts = {
        name: ", ".join(f"{n} {key}" for key, n in c.items())
        for name, c in vars(recipe).items()
        if isinstance(c, Mapping)
    }
    return [
        ("trained on", f"{recipe.images} images: {counts['by_class']}"),
        ("tricks", counts["by_trick"]),
        ("generator", counts["generators"]),
        ("", ", ".join(f"{name} {value}" for name, value in recipe.settings.items())),
        ("prompts", f"{recipe.prompts} different ones"),
        ("judged", f"{counts['judged']}, in the whole run"),
    ]


def _run_lines(lineage: Lineage | None) -> list[Line]:
    if lineage is None:
        return [("run", f"no {LINEAGE} here: the run did not finish, or this clone did not get that file")]
    changed = " with uncommitted changes" if lineage.git_dirty else ""
    return [
        ("run", f"ZenML {lineage.zenml_run}, MLflow {lineage.mlflow_run}"),
        ("code", "in no git repository" if lineage.git_sha == NO_GIT else f"git {lineage.git_sha}{changed}"),
        ("real images", "\n".join(f"{name}, {found}" for name, found in lineage.real.items()) or "the run names none"),
        ("DVC", "\n".join(f"{md5}  {name}" for name, md5 in lineage.outputs.items())),
    ]


def _logged_lineage(version: ModelVersion) -> Lineage | None:
    """The lineage of the run that registered a version, from MLflow."""
    try:
        return Lineage.model_validate(mlflow.artifacts.load_dict(f"runs:/{version.run_id}/{LINEAGE}"))
    except mlflow.MlflowException:
        return None


def _checkout(lineage: Lineage | None) -> str:
    """The commands that bring the code and data back, where git and DVC keep them."""
    if lineage is None or lineage.git_sha == NO_GIT:
        return ""
    return f"git checkout {lineage.git_sha[:12]} && {'' if lineage.data_md5 == UNTRACKED else 'dvc pull data.dvc && '}"


def _again(lineage: Lineage | None, folder: Path | None) -> str:
    if lineage is None:
        return f"not known without {LINEAGE}: fetch that file, or run the pipeline to the end once"
    output = provenance.output_of(folder) if folder else None
    last = read_lineage(output) if output else None
    command = f"zenml pipeline run {lineage.pipeline} -c" if CLONE else "figment run"
    if output and last and last.mlflow_run == lineage.mlflow_run:
        return f"{_checkout(lineage)}{command} {output / CONFIG}"
    fetch = f"mlflow artifacts download -r {lineage.mlflow_run} -a {CONFIG} -d . && "
    return f"{_checkout(lineage)}{fetch}{command} {CONFIG}"
