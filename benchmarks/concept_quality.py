"""What concepts are worth on the pocket models: images by a class's name and by its concept, three seeds.

    python -m benchmarks.concept_quality     # 20 minutes of one core; goes on where it was interrupted

The generator learned its objects from two artists' drawings; the shots, and the held-out photos that measure, are a third
artist's, of ten classes. Every class is painted from noise and, as the few-shot recipe does, from its shots (strength 0.7), with
the same starting noise whatever the prompt. Measured in CLIP's features: the mean cosine to the shots and to held-out photos,
the share of images that are nearest to the mean held-out photo of their class, and the share of held-out photos that a ridge
classifier names which has seen the images alone.

Writes benchmarks/results/concept_quality.csv, a row a run, and concept_quality.json: means and differences to the class name,
paired by seed, with the half of their 95 % intervals (Student's t).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.pocket_shots import POCKET, TEMPLATES, Photos, photos_of
from benchmarks.tables.statistics import mean
from figment.adaptation.config import InversionConfig
from figment.adaptation.textual_inversion import learn_concepts
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.files import write_json
from figment.ops.run import quieten
from figment.planning.row import Row, record_of
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import model_revision

RESULTS = Path(__file__).parent / "results"
CLASSES = ["bird", "car", "cat", "clock", "deer", "dog", "horse", "sheep", "ship", "train"]
IMAGES = 16  # of each class
LEARNING = InversionConfig(steps=100, learning_rate=1e-2, templates=TEMPLATES)
PROMPTS = {
    "class name": None,
    "concept": {},
    "concept, not averaged": {"average": 0.0},
    "concept, three vectors": {"vectors": 3},
    "concept, neutral start": {"initialise": "neutral"},
}
CELLS = [
    (shots, prompt) for shots in (4, 2, 8) for prompt in PROMPTS if shots == 4 or prompt in ("class name", "concept")
]
MEASURES = ["to shots", "to held-out", "nearest to its class", "ridge on images"]
CELL = ["shots", "prompt", "start"]


def main() -> None:
    quieten()
    torch.set_num_threads(1)
    file = RESULTS / "concept_quality.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=[*CELL, "seed", *MEASURES])
    scorer = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip", device="cpu"))
    held_out = features(photos_of("test", 80, 0, CLASSES), scorer)
    for shots, prompt in CELLS:
        for seed in range(3):
            if len(table.query("shots == @shots and prompt == @prompt and seed == @seed")) == 2:
                continue
            photos = photos_of("train", shots, seed, CLASSES)
            for start, images in paint(photos, PROMPTS[prompt], seed):
                made = torch.stack([scorer.image_features(part) for part in images])
                values = measures(made, features(photos, scorer), held_out)
                table.loc[len(table)] = [shots, prompt, start, seed, *values]
            table.round(4).to_csv(file, index=False)
            print(table.tail(2).to_string(header=False), flush=True)
    summary = {"means": summarise(table), "minus class name": summarise(minus_class_name(table))}
    write_json(RESULTS / "concept_quality.json", summary)


def features(photos: Photos, scorer: ClipScorer) -> Tensor:
    """(C, N, D) of N photos of each class."""
    pixels = [torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) for images in photos.values()]
    return torch.stack([scorer.image_features(part) for part in pixels])


def paint(photos: Photos, setting: dict | None, seed: int) -> Iterator[tuple[str, list[Tensor]]]:
    """("noise" or "photo", (N, 3, 32, 32) in [0, 1] of each class)."""
    revision = model_revision(POCKET)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder) / "adapters", Path(folder) / "sources")
        adapter = ""
        if setting is not None:
            config = LEARNING.model_copy(update={"seed": seed, **setting})
            names = {name: name for name in photos}
            adapter = learn_concepts(POCKET, photos, names, config, inputs.adapters).stem
        generator = Generator(POCKET.model, revision, SynthesisConfig(device="cpu"), inputs)

        def row(name: str, i: int, source: str) -> dict:
            said = (
                {"prompt": f"a photo of a <{name}>", "concept": name} if adapter else {"prompt": f"a photo of a {name}"}
            )
            return record_of(
                Row(
                    **said, **POCKET.model_dump(exclude={"revision", "loras"}), revision=revision, labels=(name,),
                    recipe="benchmark", trick="concept", stream=seed, replicate=i, adapter=adapter, initial_image=source,
                    strength=0.7 if source else 1.0, shared_noise=f"{seed} {name} {i}",
                )
            )  # fmt: skip

        for start in ("noise", "photo"):
            made = []
            for name, shots in photos.items():
                sources = [add(generator, shot, Path(folder)) for shot in shots] if start == "photo" else [""]
                rows = [row(name, i, sources[i % len(sources)]) for i in range(IMAGES)]
                made.append(generator.render(rows).pixels)
            yield start, made


def add(generator: Generator, photo: np.ndarray, folder: Path) -> str:
    Image.fromarray(photo).save(folder / "photo.png")
    return generator.sources.add(folder / "photo.png")


def measures(made: Tensor, own: Tensor, held_out: Tensor) -> list[float]:
    """The four numbers, from features (C, N, D) of images, of shots and of held-out photos."""
    labels = torch.arange(len(made))
    centres = F.normalize(held_out.mean(1), dim=1)
    x = F.pad(made.flatten(0, 1), (0, 1), value=1.0)
    y = F.one_hot(labels.repeat_interleave(made.shape[1])).float()
    weights = torch.linalg.solve(x.t() @ x + 0.3 * torch.eye(x.shape[1]), x.t() @ y)
    found = (
        made @ own.transpose(1, 2),
        made @ held_out.transpose(1, 2),
        ((made @ centres.t()).argmax(2) == labels[:, None]).float(),
        ((F.pad(held_out, (0, 1), value=1.0) @ weights).argmax(2) == labels[:, None]).float(),
    )
    return [float(values.mean()) for values in found]


def minus_class_name(table: pd.DataFrame) -> pd.DataFrame:
    """Each run's measures minus those of the class names with the same shots, start and seed."""
    by = table.set_index(["shots", "start", "seed", "prompt"])[MEASURES]
    plain = by.xs("class name", level="prompt")
    return (
        (by - plain.reindex(by.index.droplevel("prompt")).set_axis(by.index))
        .drop("class name", level="prompt")
        .reset_index()
    )


def summarise(table: pd.DataFrame) -> list[dict]:
    """Mean and half of its interval for every cell."""
    cells = []
    for cell, rows in table.groupby(CELL):
        found = {name: mean(rows[name]) for name in MEASURES}
        halves = {name: [round(float(m.value), 4), round(float(m.half), 4)] for name, m in found.items()}
        cells.append(dict(zip(CELL, cell, strict=True)) | halves)
    return cells


if __name__ == "__main__":
    main()
