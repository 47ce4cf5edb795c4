"""CLIP features and hashes of images that are there already (imported ones, another CLIP's), by Ray's actors."""

from functools import partial
from pathlib import Path

from figment.clip.scorer import ClipConfig
from figment.progress import Progress
from figment.synthesis.actors import results
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.pool import Pool
from figment.validation.features import FeatureStore, open_features
from figment.validation.hashes import HashStore


def complete_on_ray(features: FeatureStore, config: SynthesisConfig) -> int:
    """Look at the images of all shards without features or hashes. Returns how many shards that were; a shard counts
    once for each."""
    stores = {"features": features, "hashes": HashStore(features.pool)}
    tasks = [(name, shard.file) for name, store in stores.items() for shard in store.lacking()]
    make = partial(Looker, features.pool.folder.resolve(), features.scorer.config)
    with Progress(len(tasks), "images looked at on Ray", "shard", shown=bool(tasks)) as bar:
        for _ in results(make, tasks, config.workers, len(tasks)):
            bar.update()
    return len(tasks)


class Looker:
    """Looks at shards in an actor, which loads CLIP when the first task needs it."""

    def __init__(self, pool: Path, clip: ClipConfig):
        self.pool, self.clip = Pool(pool), clip
        self.stores: dict[str, FeatureStore] = {"hashes": HashStore(self.pool)}

    def __call__(self, task: tuple[str, str]) -> None:
        name, file = task
        if name not in self.stores:
            self.stores[name] = open_features(self.clip, self.pool)
        for _ in self.stores[name].look_at(file):
            pass
