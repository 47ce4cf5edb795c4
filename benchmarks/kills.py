"""What becomes of runs that are killed: the first of a fresh clone, two first ones at once, and later ones.

    python -m benchmarks.kills --first 30 --pairs 10 --later 20 [--config CONFIG] [--prepare-only] [--threads 1]

Each is ``kill -9`` of a whole process group at a moment drawn uniformly from the time that an undisturbed run takes. After the
kill the same command has to end with 0. ``--first``: a fresh clone each. ``--later``: in one clone, into an empty folder, and all
final files have to equal those of the undisturbed run. The config is shrunk: few images, few steps. ``--prepare-only`` kills and
repeats the preparation of a fresh clone alone (data, databases, stack), in which a first run differs from later ones.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = "pipelines.{name}.{name}"
OWN = {"lineage.json", "config.yaml", "registered.txt", "report.html"}  # name the run, its time or its version
FEW = {  # the most that a setting of this name has, wherever the config has it
    "images_per_class": 4, "images_per_pair": 4, "images_per_label": 4, "images": 4, "evaluated_images": 16,
    "per_pair": 2, "per_class": 2, "num_inference_steps": 2, "differentiated_steps": 2, "shard_size": 4, "batch_size": 8,
    "steps": 10, "epochs": 1, "evaluate_every": 5, "validate_every": 5, "views": 2,
}  # fmt: skip
SHRUNK = {"images_per_class": 4, "classes": ["car", "frog", "banana"], "tricks": ["base_class", "random_guidance"]}
SHRUNK |= {"real": {"test_per_class": 10, "train_per_class": 10}, "output": "artifacts/killed"}  # of the bag of tricks


@dataclass
class Tally:
    """Runs of one kind: how many were tried, how many ended well, and what the others said."""

    tried: int = 0
    well: int = 0
    said: list[str] = field(default_factory=list)

    def add(self, well: bool, said: str) -> None:
        self.tried += 1
        self.well += well
        if not well:
            self.said.append(said[-600:])


class Run:
    """The command in a clone, in a process group of its own."""

    def __init__(self, clone: Path, command: list[str], threads: int, log: str = "run.log"):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.log = clone / log
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [".venv/bin/python", "-m", *command],
                cwd=clone,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def end(self) -> bool:
        return self.process.wait() == 0

    def kill_after(self, seconds: float) -> bool:
        """Whether it was still running then."""
        try:
            self.process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return True

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def fresh_clone(folder: Path, config: dict) -> Path:
    clone = Path(tempfile.mkdtemp(dir=folder)) / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    (clone / ".venv").symlink_to((ROOT / ".venv").resolve())
    (clone / "shrunk.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return clone


def shrunk(file: Path) -> dict:
    """The config with few images and steps, and a filter that passes enough of them."""
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    parameters = fewer(config["parameters"])
    if "tricks" in parameters:
        real = parameters["real"] | SHRUNK["real"]
        parameters |= SHRUNK | {"real": real}
    parameters["output"] = SHRUNK["output"]
    if "acceptance" in parameters:
        parameters["acceptance"] |= {"min_probability": 0.0}
        if "require_top1" in parameters["acceptance"]:
            parameters["acceptance"]["require_top1"] = False
    return config


def fewer(settings: dict) -> dict:
    """The settings, each number that ``FEW`` names at most as large as it says."""
    for name, value in settings.items():
        if isinstance(value, dict):
            fewer(value)
        elif name in FEW and isinstance(value, int):
            settings[name] = min(value, FEW[name])
    return settings


def hashes(output: Path) -> dict[str, str]:
    files = (file for file in output.rglob("*") if file.is_file() and file.name not in OWN)
    return {str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs/pocket/bag_of_tricks.yaml")
    parser.add_argument("--pipeline", default="bag_of_tricks")
    for name in ("first", "pairs", "later"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N")
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, config = random.Random(options.seed), shrunk(options.config)
    command = ["figment.ops.run", PIPELINE.format(name=options.pipeline), "-c", "shrunk.yaml"]
    if options.prepare_only:
        command = ["figment.ops.stack"]
    first, pairs, later = Tally(), Tally(), Tally()

    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        undisturbed, start = fresh_clone(folder, config), time.monotonic()
        if options.first or options.later:
            run = Run(undisturbed, command, options.threads)
            if not run.end():
                print(run.said(), file=sys.stderr)
                return 1
        lasts = time.monotonic() - start
        print(f"undisturbed first run: {lasts:.0f} s", flush=True)

        for number in range(options.first):
            clone = fresh_clone(folder, config)
            Run(clone, command, options.threads).kill_after(moment := draw.uniform(0, lasts))
            again = Run(clone, command, options.threads)
            first.add(again.end(), again.said())
            print(f"first {number + 1}: killed after {moment:.1f} s, {first.well} of {first.tried} resumed", flush=True)
            shutil.rmtree(clone.parent)

        for number in range(options.pairs):
            clone = fresh_clone(folder, config)
            both = [Run(clone, command, options.threads, f"run_{i}.log") for i in range(2)]
            for one in both:
                pairs.add(one.end(), one.said())
            print(f"pair {number + 1}: {pairs.well} of {pairs.tried} ended well", flush=True)
            shutil.rmtree(clone.parent)

        output, kills = undisturbed / config["parameters"]["output"], 0
        expected = hashes(output) if output.exists() else {}
        for number in range(options.later):
            shutil.rmtree(output)
            if number == 0:  # the time of a later run
                start = time.monotonic()
                Run(undisturbed, command, options.threads).end()
                lasts = time.monotonic() - start
                shutil.rmtree(output)
            kills += Run(undisturbed, command, options.threads).kill_after(moment := draw.uniform(0, lasts))
            again = Run(undisturbed, command, options.threads)
            ended, found = again.end(), hashes(output)
            differ = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
            later.add(ended and not differ, f"{again.said()}\ndiffer: {differ}")
            print(f"later {number + 1}: killed after {moment:.1f} s, {later.well} of {later.tried} equal", flush=True)

    table = Table(
        title=f"{options.pipeline}, {'preparation' if options.prepare_only else 'whole runs'}, {lasts:.0f} s each"
    )
    for column in ("kind", "tried", "ended well"):
        table.add_column(column)
    kinds = {
        "first run killed, run again": first,
        "two first runs at once": pairs,
        "later run killed, files equal": later,
    }
    for kind, tally in kinds.items():
        if tally.tried:
            table.add_row(kind, str(tally.tried), str(tally.well))
    Console().print(table)
    for tally in kinds.values():
        for said in tally.said:
            print(said, file=sys.stderr)
    return int(any(tally.said for tally in kinds.values()))


if __name__ == "__main__":
    sys.exit(main())
