"""Images: render a plan or a share of it, one from a prompt, or one again from its row; where one came from, what one shows."""

import argparse
from functools import partial
from pathlib import Path

from figment.commands.command import argument, command, config_option
from figment.commands.options import read_parameters, setting
from figment.errors import InputError
from figment.files import atomic

IMAGE_ID = argument("image_id", help="or its beginning")


@command(
    "render",
    "render a plan, or every n-th shard of it, into images/ beside it",
    argument("plan", type=Path, help="plan.parquet"),
    config_option(": how to render"),
    argument("--shard", default="0/1", metavar="I/N", help="the I-th of N shares of the work, from 0"),
)
def render_plan(options: argparse.Namespace) -> None:
    from figment.clip.scorer import ClipConfig
    from figment.synthesis.config import SynthesisConfig
    from figment.synthesis.engines import render_plan as render
    from figment.synthesis.generator import Inputs
    from figment.synthesis.pool import Pool
    from figment.synthesis.renderers import Renderers
    from figment.validation.features import open_features

    parameters = read_parameters(options.config)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    if not options.plan.is_file():
        raise InputError(f"{options.plan}: there is no such plan; 'figment estimate' writes one")
    pool = Pool(options.plan.parent / "images")
    clip = setting(options.config, parameters, "clip", ClipConfig) if parameters.get("clip") else None
    report = render(
        options.plan,
        pool,
        synthesis,
        part=read_share(options.shard),
        observe=clip and partial(open_features, clip),
        renderers=Renderers(synthesis, Inputs.beside(options.plan)),
        observer=clip and open_features(clip, pool),
    )
    print(f"{report.rendered:,} images rendered, {report.images_per_second:.1f} images/s {report.stopped}".strip())


@command(
    "generate",
    "render images of a prompt of your own, which may say a learned word",
    argument("prompt", metavar="PROMPT", help="such as 'a photo of a <bus> on a beach'"),
    config_option(": generator, synthesis"),
    argument("--adapter", type=Path, metavar="PLACE", help="what holds the word: a file, a run's folder, an import's"),
    argument("--out", type=Path, default=Path("artifacts/generated"), metavar="DIR"),
    argument("--count", type=int, default=1, metavar="N"),
    argument("--seed", type=int, default=0),
)
def generate_images(options: argparse.Namespace) -> None:
    from figment.adaptation.free_prompt import FreePrompt, generate
    from figment.planning.generator_config import GeneratorConfig
    from figment.synthesis.config import SynthesisConfig

    parameters = read_parameters(options.config)
    if options.count < 1 or options.seed < 0 or not options.prompt.strip():
        raise InputError("generate: give a prompt, --count of 1 or more and --seed of 0 or more")
    generator = setting(options.config, parameters, "generator", GeneratorConfig)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    prompt = FreePrompt(options.prompt, count=options.count, seed=options.seed)
    for path in generate(prompt, generator, synthesis, options.out, options.adapter):
        print(path)


@command(
    "replay",
    "render one image again from its plan and compare it with the pool's",
    IMAGE_ID,
    argument("--plan", type=Path, help="plan.parquet; by default the one under artifacts/ that holds the id"),
    argument("--save", type=Path, help="write the image there"),
)
def replay_image(options: argparse.Namespace) -> None:
    from figment.planning.lookup import find_plans
    from figment.synthesis.replay import replay

    again = replay(options.plan or find_plans(options.image_id)[0], options.image_id)
    if options.save:
        with atomic(options.save) as partial:
            partial.write_bytes(again.image)
    equality = "the files are equal" if again.equal else f"PSNR {again.psnr:.1f} dB, the files' bytes differ"
    print(f"{again.image_id}\n{again.prompt!r}: {equality}")


@command(
    "trace",
    "say where an image came from, and which models learned from it",
    IMAGE_ID,
    argument("--plan", type=Path, help="plan.parquet; by default all under artifacts/ that hold the id"),
)
def trace_image(options: argparse.Namespace) -> None:
    from figment.ops.stack import use_tracker
    from figment.ops.trace import trace
    from figment.planning.lookup import find_plans

    use_tracker()
    print(trace([options.plan] if options.plan else find_plans(options.image_id), options.image_id))


@command(
    "predict",
    "classify or tag images, folders of them or Parquet files: a line of JSON a class or tag",
    argument("image", type=Path, nargs="+", metavar="IMAGE"),
    argument(
        "--model", type=Path, metavar="FOLDER", help="a trained model; by default that of the last run in artifacts/"
    ),
    argument("--top-k", type=int, metavar="K", help="lines an image; by default 10 tags, 1 class"),
    argument("--tags", type=Path, metavar="FILE", help="only these tags, one a line, new ones too"),
    argument("--rendered", type=Path, metavar="FOLDER", help="write each image with its tags beside there"),
    argument("--out", type=Path, metavar="FILE", help="write a table: .csv, .parquet or .jsonl"),
    argument("--batch-size", type=int, default=32, metavar="N"),
    argument("--device", default="auto"),
)
def predict_images(options: argparse.Namespace) -> None:
    from figment.image_files import find_files

    files = find_files(options.image)  # before what takes seconds to import

    from figment.evaluation.prediction import Asked, predict_files
    from figment.evaluation.prediction_files import check_ending, write_predictions
    from figment.ops.summary import last_model

    if options.out:
        check_ending(options.out)
    model = options.model or last_model()
    asked = Asked(options.tags, options.top_k, options.batch_size, options.rendered, options.device)
    lines = predict_files(model, files, asked)
    if options.out:
        print(f"{options.out}: {write_predictions(lines, options.out)} rows")
    else:
        for line in lines:
            print(line, flush=True)


@command(
    "ask",
    "a page of images that a run is in doubt about; its answers are shots for the next run",
    argument("run_folder", type=Path, metavar="RUN", help="its folder, such as artifacts/bag_of_tricks"),
    argument("--data", type=Path, metavar="PATH", help="images without labels; by default real.unlabelled"),
    argument("--clusters", type=int, default=30, metavar="N", help="groups of like images to be named"),
    argument(
        "--answers", type=Path, metavar="FILE", help="what the page saved, or the run's review.html: for the next run"
    ),
)
def ask_images(options: argparse.Namespace) -> None:
    run, file = options.run_folder, options.run_folder / "config.yaml"
    if not options.answers and not file.is_file():
        raise InputError(f"{run}: holds no config.yaml; give the folder of a run that has ended")
    if options.clusters < 1:
        raise InputError(f"--clusters {options.clusters}: give 1 or more")

    from figment.clip.config import ClipConfig
    from figment.datasets.config import RealConfig
    from figment.evaluation.ask_run import ask_about, take_answers, take_review

    if options.answers and options.answers.suffix == ".csv":
        path, decided = take_review(run, options.answers)
        kept = sum(decided.values())
        print(f"{path}: {kept} images to keep, {len(decided) - kept} to drop; the next run of its config applies them")
        return
    if options.answers:
        path, given, shots = take_answers(run, options.answers)
        classes = len(set(shots["label"].to_pylist()))
        print(f"{path}: {len(shots)} images of {classes} classes for {given.clicks} clicks; real.shots: {path}")
        return
    parameters = read_parameters(file)
    data = options.data or setting(file, parameters.get("data", parameters), "real", RealConfig).unlabelled
    if data is None:
        raise InputError(f"{file}: no real.unlabelled; name a folder or Parquet file of images by --data")
    page = ask_about(run, str(data), setting(file, parameters, "clip", ClipConfig), options.clusters)
    print(f"{page}: open it in a browser; then figment ask {run} --answers FILE")


@command(
    "payload",
    "images as the JSON that `mlflow models serve` takes",
    argument("image", type=Path, nargs="+", metavar="IMAGE", help="an image, a folder or a Parquet file"),
)
def print_payload(options: argparse.Namespace) -> None:
    from figment.ops.payload import payload

    print(payload(options.image))


def read_share(share: str) -> tuple[int, int]:
    """(i, n) from ``i/n``."""
    number, _, count = share.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise InputError(f"--shard {share!r}: expected I/N with I from 0 to N - 1, such as 0/4")
    return int(number), int(count)
