"""Measure the finished set and write what docs/pocket.md quotes."""

from pathlib import Path
from typing import Annotated, Any

from figment.files import write_json
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.validation.clip import ClipConfig, ClipScorer
from pocket.banks import worlds
from pocket.config import MeasureConfig, WorldConfig
from pocket.judge import load_judge
from pocket.measure import (
    Painter,
    draw_curves,
    draw_sheets,
    measure_autoencoder,
    measure_clip,
    measure_generator,
)


@step(experiment_tracker=True)
def measure_pocket(
    judge: FileRef, clip: str, generator: str, world: WorldConfig, measure: MeasureConfig, output: str
) -> Annotated[dict[str, Any], "measures"]:
    """measures.json and the sheets, in ``output``."""
    folder, by_name = Path(output), worlds(world)
    examiner = load_judge(judge.open(), len(world.objects))
    scorer = ClipScorer(ClipConfig(model=f"local-dir:{clip}"))
    painter = Painter(Path(generator), world.size, measure)
    measures = {
        "autoencoder": measure_autoencoder(painter.generator.pipeline.vae, examiner, by_name["wide"], seed=9),
        "clip": measure_clip(scorer, {"training art": by_name["wide"], "unseen art": by_name["unseen"]}, seed=5),
        "generator": measure_generator(painter, examiner, scorer, list(world.objects), measure),
    }
    write_json(folder / "measures.json", measures)
    draw_curves(measures["generator"], folder / "curves.png")
    draw_sheets(painter, list(world.objects), measure, folder)
    for file in sorted(folder.glob("*.png")):
        tracking.log_file(file)
    tracking.log_metrics("pocket", {"pairs_found": measures["generator"]["pairs_found"]})
    return measures
