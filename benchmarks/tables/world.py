"""What every cell of the tables shares: the pocket world's classes, models and images, each made once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import torch
import yaml
from torch import Tensor

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.labelled import LabelledImages, read_labelled
from figment.evaluation.features import clip_features
from figment.labels import LabelSpace
from figment.planning.bag_of_tricks import Shares, most_of
from figment.planning.from_prompts import plan_prompts
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.plan import make_plan
from figment.prompts.tricks import build_tricks, write_prompts
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.lists import open_training_list, training_list
from figment.validation.features import FeatureStore
from figment.validation.policies import Top1Policy
from figment.validation.validate import validate
from pocket.artwork import TEACHERS
from pocket.data_sets import artwork
from pocket.world import DOMAINS
from pocket.world import World as Scenery

CONFIG = Path("configs/pocket/bag_of_tricks.yaml")
FOLDER = Path("artifacts/tables")
PER_CLASS = 30  # images of a class in a set of size one
KEEP_ALL = Top1Policy(min_probability=0, require_top1=False, min_contrast=0)  # the paper filters nothing


@dataclass(frozen=True)
class Rendered:
    """Everything made of one seed: images with their ids, and their CLIP features (N, D), in the ids' order."""

    ids: dict[str, int]
    verdicts: pa.Table
    images: LabelledImages
    features: Tensor

    def of(self, shares: Shares) -> tuple[list[str], LabelledImages, Tensor]:
        """Ids, images and features of a set (images of every class by trick)."""
        ids = training_list(self.verdicts, shares)["image_id"].to_pylist()
        rows = torch.tensor([self.ids[i] for i in ids])
        return ids, self.images.subset(rows), self.features[rows]


class World:
    """One config's world."""

    def __init__(self, config: Path = CONFIG, folder: Path = FOLDER, changes: Mapping[str, dict] | None = None):
        """``changes`` replaces single keys of the config's sections."""
        self.parameters = yaml.safe_load(config.read_text())["parameters"]
        for section, values in (changes or {}).items():
            self.parameters[section] = self.parameters[section] | values
        self.folder = folder
        self.generator = GeneratorConfig(**self.parameters["generator"])
        self.synthesis = SynthesisConfig(**self.parameters["synthesis"])
        self.space = LabelSpace.load(Path(self.parameters["labels"])).choose(self.parameters["classes"])
        self.size = self.parameters["training"]["image_size"]
        self.pool = Pool(folder / "images")

    @cached_property
    def scorer(self) -> ClipScorer:
        return ClipScorer(ClipConfig(**self.parameters["clip"]))

    def real(self, split: str, per_class: int | None = None) -> LabelledImages:
        return read_labelled(Path(self.parameters["real"]["path"]), split, self.space, self.size, per_class, "bilinear")

    @cached_property
    def test(self) -> LabelledImages:
        return self.real("test")

    @cached_property
    def train(self) -> LabelledImages:
        return self.real("train")

    @cached_property
    def train_features(self) -> Tensor:
        return clip_features(self.train, self.scorer)

    def perfect(self, per_class: int, seed: int) -> LabelledImages:
        """What a perfect generator would paint: renders of the teachers' drawings, a quarter of them in the domains (each as
        often), the others photos, as in the combined set."""
        world = Scenery(artwork(list(TEACHERS)), list(self.space.names), self.size)
        generator = torch.Generator().manual_seed(seed)
        styled = per_class // 4
        domains = ["photo"] * (per_class - styled) + [DOMAINS[i % len(DOMAINS)] for i in range(styled)]
        ids = torch.arange(len(self.space))
        drawn = [world.sample(len(ids), generator, objects=ids, domain=domain, pairs=0).pixels for domain in domains]
        pixels = (torch.cat(drawn) * 255).round().byte()
        return LabelledImages(pixels, ids.repeat(per_class))

    def rendered(
        self, tricks: Sequence[str], sets: dict[str, Shares], seed: int, policy: Top1Policy = KEEP_ALL
    ) -> Rendered:
        """All that ``sets`` draw from, rendered now unless it was before, and what of it passes."""
        chosen = build_tricks(tricks, self.parameters["domains"], self.generator.guidance_scale)
        book = write_prompts(self.space, chosen)
        plan = make_plan(
            plan_prompts(
                book,
                Origin(self.generator, model_revision(self.generator), seed, "bag_of_tricks"),
                most_of(sets),
                chosen,
            )
        )
        store = FeatureStore(self.pool, self.scorer)
        synthesise(plan, self.pool, self.synthesis, observer=store)
        verdicts = validate(plan, self.pool, self.space, self.scorer, policy)
        everything = training_list(verdicts, tricks)
        streamed = open_training_list(everything, self.pool, self.space, self.size, f"seed {seed}")
        found = store.by_id(plan["image_id"].to_pylist())
        ids = everything["image_id"].to_pylist()
        return Rendered(
            ids={image_id: row for row, image_id in enumerate(ids)},
            verdicts=verdicts,
            images=replace(streamed, workers=0).load(),
            features=torch.stack([found[i] for i in ids]).float(),
        )
