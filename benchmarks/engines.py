"""One plan rendered by this process and by Ray's actors: images/s side by side, and what a late node and a killed actor change.

    python -m benchmarks.engines [--images 10000] [--shard 500]

Both engines have all processors. Then a cluster of one processor renders the plan again: a second node joins after a fifth of the
shards, and an actor is killed (SIGKILL) after two fifths. The pools have to be equal, file by file. Writes
benchmarks/results/engines.json.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.synthesis import RESULTS, machine, pocket_plan
from figment.devices import cores
from figment.files import write_json
from figment.ops.run import quieten
from figment.planning.plan import write_plan
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.engines import render_plan
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers

Digests = dict[str, str]


def render(plan: Path, pool: Path, config: SynthesisConfig) -> tuple[float, Digests]:
    """Seconds, start-up included, and the digest of each file of the pool."""
    start, rendered = time.perf_counter(), Pool(pool)
    render_plan(plan, rendered, config, renderers=Renderers(config))
    return time.perf_counter() - start, {name: shard.sha256 for name, shard in rendered.shards.items()}


def disturbed(plan: Path, pool: Path, config: SynthesisConfig, shards: int) -> tuple[float, Digests]:
    """``render`` on a cluster of which a node joins late and an actor is killed."""
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=nodes.address, log_to_driver=False, logging_level="error")

    def disturb() -> None:
        for share, act in ((0.2, lambda: nodes.add_node(num_cpus=1)), (0.4, kill_an_actor)):
            while len(list(pool.glob("*.parquet"))) < share * shards:
                time.sleep(0.1)
            act()

    threading.Thread(target=disturb, daemon=True).start()
    try:
        return render(plan, pool, config)
    finally:
        ray.shutdown()
        nodes.shutdown()


def kill_an_actor() -> None:
    actors = (p for p in Path("/proc").glob("[0-9]*") if (p / "cmdline").read_bytes().startswith(b"ray::Actor.do"))
    os.kill(int(next(actors).name), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--shard", type=int, default=500)
    options = parser.parse_args()
    quieten()
    common = {"shard_size": options.shard, "batch_size": 64, "image_format": "png"}
    local, on_ray = SynthesisConfig(**common), SynthesisConfig(engine="ray", workers=cores(), **common)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_plan(pocket_plan(options.images), plan := folder / "plan.parquet")
        alone, files = render(plan, folder / "local/images", local)
        together, of_actors = render(plan, folder / "ray/images", on_ray)
        _, after_all = disturbed(plan, folder / "disturbed/images", on_ray, len(files))
    measured = {
        "images": options.images,
        "images/s, this process": options.images / alone,
        "images/s, Ray": options.images / together,
        "time on Ray / time of this process": together / alone,
        "files equal": of_actors == files,
        "files equal after a late node and a killed actor": after_all == files,
    }
    write_json(RESULTS / "engines.json", {"machine": machine(), **measured})
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
