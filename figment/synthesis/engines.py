"""Who renders a plan: this process, or Ray's actors (``synthesis.engine``). Shards, ids and files are the same."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from figment.progress import Progress
from figment.synthesis.actors import results
from figment.synthesis.budget import Budget
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import Observer, Run, SynthesisReport, synthesise
from figment.synthesis.generator import Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.reuse import take_images

Observe = Callable[[Pool], Observer]


def render_plan(
    plan: Path, pool: Pool, config: SynthesisConfig, *, observe: Observe | None = None, **options: Any
) -> SynthesisReport:
    """``synthesise`` by the engine that ``config`` names. ``observe`` makes, in each of Ray's actors, what looks at their images;
    ``options`` are those of ``synthesise``."""
    take_images(plan, pool, config)
    if config.engine == "local":
        return synthesise(plan, pool, config, **options)
    options["observer"] = None  # which looks at the images of this process
    return synthesise(plan, pool, config, engine=partial(RayRun, plan=plan, observe=observe), **options)


class RayRun(Run):
    """A run whose shards are rendered by Ray's actors; this process counts them and keeps the budget."""

    def __init__(self, *arguments: Any, plan: Path, observe: Observe | None):
        super().__init__(*arguments)
        self.make = partial(ShardRenderer, self.pool.folder.resolve(), plan.resolve(), self.config, observe)

    def render_all(self, shards: Iterator[pa.Table], planned: int, todo: int) -> None:
        self.renderers.unload()  # their memory is the actors'
        self.start = perf_counter()
        most = -(-todo // self.config.shard_size)
        with Progress(planned, "synthesis on Ray", "img", planned - todo) as bar:
            for made in results(self.make, self.affordable(shards), self.config.workers, most):
                self.done += made
                self.budget.done += made
                bar.update(made)
                self.report(bar)


class ShardRenderer:
    """Renders shards in an actor, which loads the generator once."""

    def __init__(self, pool: Path, plan: Path, config: SynthesisConfig, observe: Observe | None):
        self.pool, self.config = Pool(pool), config.model_copy(update={"max_images": None, "max_hours": None})
        self.renderers = Renderers(config, Inputs.beside(plan))
        self.observer = observe(self.pool) if observe else None

    def __call__(self, rows: pa.Table) -> int:
        """How many images were made: all of ``rows``."""
        run = Run(
            self.pool, self.config, self.renderers, self.observer, Budget(self.config), lambda numbers, done: None
        )
        run.render_all(iter([rows]), len(rows), len(rows))
        return run.done
