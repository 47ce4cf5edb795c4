"""Images: render a plan or a share of it, one from a prompt, or one again from its row; where one came from, what one shows."""

import argparse
from functools import partial

from figment.commands.options import read_parameters, setting
from figment.errors import InputError
from figment.files import atomic


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


def generate_images(options: argparse.Namespace) -> None:
    from figment.adaptation.free_prompt import generate
    from figment.planning.generator_config import GeneratorConfig
    from figment.synthesis.config import SynthesisConfig

    parameters = read_parameters(options.config)
    if options.count < 1 or options.seed < 0 or not options.prompt.strip():
        raise InputError("generate: give a prompt, --count of 1 or more and --seed of 0 or more")
    generator = setting(options.config, parameters, "generator", GeneratorConfig)
    synthesis = setting(options.config, parameters, "synthesis", SynthesisConfig)
    for path in generate(
        options.prompt, generator, synthesis, options.out, options.adapter, options.count, options.seed
    ):
        print(path)


def replay_image(options: argparse.Namespace) -> None:
    from figment.planning.lookup import find_plans
    from figment.synthesis.replay import replay

    again = replay(options.plan or find_plans(options.image_id)[0], options.image_id)
    if options.save:
        with atomic(options.save) as partial:
            partial.write_bytes(again.image)
    equality = "the files are equal" if again.equal else f"PSNR {again.psnr:.1f} dB, the files' bytes differ"
    print(f"{again.image_id}\n{again.prompt!r}: {equality}")


def trace_image(options: argparse.Namespace) -> None:
    from figment.ops.stack import use_tracker
    from figment.ops.trace import trace
    from figment.planning.lookup import find_plans

    use_tracker()
    print(trace([options.plan] if options.plan else find_plans(options.image_id), options.image_id))


def predict_images(options: argparse.Namespace) -> None:
    from figment.evaluation.prediction import predict_files
    from figment.evaluation.prediction_files import check_ending, write_predictions
    from figment.image_files import find_files
    from figment.ops.summary import last_model

    if options.out:
        check_ending(options.out)
    files, model = find_files(options.image), options.model or last_model()
    given = (options.tags, options.top_k, options.batch_size, options.rendered, options.device)
    lines = predict_files(model, files, *given)
    if options.out:
        print(f"{options.out}: {write_predictions(lines, options.out)} rows")
    else:
        for line in lines:
            print(line, flush=True)


def ask_images(options: argparse.Namespace) -> None:
    from figment.clip.config import ClipConfig
    from figment.datasets.config import RealConfig
    from figment.evaluation.ask_run import ask_about, take_answers, take_review

    run, file = options.run_folder, options.run_folder / "config.yaml"
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
    if not file.is_file():
        raise InputError(f"{run}: holds no config.yaml; give the folder of a run that has ended")
    parameters = read_parameters(file)
    if options.clusters < 1:
        raise InputError(f"--clusters {options.clusters}: give 1 or more")
    data = options.data or setting(file, parameters.get("data", parameters), "real", RealConfig).unlabelled
    if data is None:
        raise InputError(f"{file}: no real.unlabelled; name a folder or Parquet file of images by --data")
    page = ask_about(run, str(data), setting(file, parameters, "clip", ClipConfig), options.clusters)
    print(f"{page}: open it in a browser; then figment ask {run} --answers FILE")


def print_payload(options: argparse.Namespace) -> None:
    from figment.ops.payload import payload

    print(payload(options.image))


def read_share(share: str) -> tuple[int, int]:
    """(i, n) from ``i/n``."""
    number, _, count = share.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise InputError(f"--shard {share!r}: expected I/N with I from 0 to N - 1, such as 0/4")
    return int(number), int(count)
