import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from figment.adaptation.stage import Material
from figment.adaptation.text_encoder import Tuned, Tuner, TuningConfig, tune_text_encoder
from figment.clip.scorer import ClipConfig
from figment.files import sha256_file
from figment.labels import LabelSpace
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import make_plan
from figment.prompts.pair_book import template_prompts
from figment.prompts.pairs import label_pairs
from figment.prompts.tricks import Prompt
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import model_revision
from figment.validation.policies import CalibratedPolicy, CocoPolicy
from tests.figment.synthesis.test_families import flux, saved, stable_diffusion_3, stable_diffusion_xl
from tests.plans import plan_tailored

CLIP = ClipConfig(model="local-dir:models/pocket/clip")
SPACE = LabelSpace.of(["dog", "banana", "truck"])
STRICT = CocoPolicy(min_probability=0.99)  # the base generator does not always reach it in two steps
FAST = TuningConfig(
    steps=4, batch_size=2, learning_rate=3e-3, width=32, height=32, num_inference_steps=2, checkpointing=False,
    held_out=0.3, evaluate_every=2, evaluated_images=12, evaluation_batch=6, device="cpu",
)  # fmt: skip


def material(generator: GeneratorConfig, output: Path, policy=CocoPolicy(), negative_prompt: str = "") -> Material:  # noqa: B008
    return Material(output, SPACE, generator, CLIP, SynthesisConfig(), policy, negative_prompt)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    places = ("", " on the beach", " on grass", " at night")
    return [
        Prompt(prompt.text + place, prompt.labels, "t")
        for prompt in template_prompts(label_pairs(SPACE))
        for place in places
    ]


@pytest.fixture(scope="module")
def tune(prompts, pocket_config):
    def call(folder, config=FAST, **more) -> Tuned:
        return tune_text_encoder(prompts, material(pocket_config, folder, STRICT, "blurry"), config, "key", **more)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def tuned(tune, folder) -> Tuned:
    return tune(folder)


def make_tuner(pocket_config: GeneratorConfig, **changes) -> Tuner:
    return Tuner(material(pocket_config, Path("out")), FAST.model_copy(update=changes))


@pytest.fixture(scope="module")
def own_tuner(pocket_config) -> Tuner:
    return make_tuner(pocket_config, learning_rate=1e-3)


@pytest.fixture
def tuner(own_tuner) -> Tuner:
    """With the base's weights."""
    own_tuner.load(own_tuner.base)
    own_tuner.optimizer.state.clear()
    own_tuner.skipped = 0
    return own_tuner


def test_a_step_moves_the_text_encoder_and_nothing_else(tuner, prompts):
    before = {name: p.clone() for part in tuner.modules() for name, p in part.named_parameters()}
    assert tuner.step([prompt for prompt in prompts if len(prompt.labels) == 2], 0) > 0
    after = {name: p for part in tuner.modules() for name, p in part.named_parameters()}
    learned = {name.partition(".")[2] for name in tuner.parameters}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert moved <= learned
    assert tuner.drift(prompts) > 0
    tuner.load(tuner.base)
    assert tuner.drift(prompts) == 0


def test_weights_that_bfloat16_cannot_tell_apart_change_what_prompts_mean(pocket_config, prompts):
    """The paper's rate moves a weight by 7e-8 a step, and images are made under autocast."""
    tuner = make_tuner(pocket_config, dtype="bfloat16")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        base = tuner.embeddings(prompts)
        moved = {name: weight * 1.001 for name, weight in tuner.base.items()}
        assert all(torch.equal(w.bfloat16(), tuner.base[name].bfloat16()) for name, w in moved.items())
        tuner.load({name: weight for name, weight in moved.items() if "layers" in name and weight.ndim == 2})
        assert not torch.equal(tuner.embeddings(prompts), base)


def test_the_loss_falls_where_it_is_followed(tuner, prompts):
    """The same images again and again: what the gradient says is what lowers the loss."""
    losses = [tuner.step(prompts, 7) for _ in range(5)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_target_precision_is_one_bar_for_all_checkpoints_that_of_the_base(tuner, prompts, monkeypatch):
    monkeypatch.setattr(tuner, "policy", CalibratedPolicy(target_precision=0.5))
    tuner.settle(prompts)
    base = tuner.policy
    assert set(base.thresholds) == set(SPACE.names)
    assert 0 <= tuner.quality(prompts, "choose").acceptance <= 1
    tuner.step(prompts, 7)
    tuner.settle(prompts)
    assert tuner.policy is base
    monkeypatch.setattr(tuner, "policy", CalibratedPolicy(target_precision=0.5))
    tuner.settle(prompts)
    assert tuner.policy == base


def test_a_step_depends_on_its_number_alone(tuner, prompts):
    first = tuner.step(prompts, 7)
    tuner.load(tuner.base)
    assert tuner.step(prompts, 8) != first
    tuner.load(tuner.base)
    assert tuner.step(prompts, 7) == first


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(tuner, prompts, monkeypatch):
    monkeypatch.setattr(tuner, "text", tuner.text * float("nan"))
    loss = tuner.step(prompts, 0)
    assert loss != loss  # not a number
    assert tuner.skipped == 1
    assert all(torch.equal(tuner.weights()[name], value) for name, value in tuner.base.items())


def test_a_tuning_whose_every_step_is_skipped_ends_with_the_base_and_can_be_written(tune, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "figment.adaptation.text_encoder.AsymmetricLoss", lambda *_, eps: lambda v, _: v.log().sum() * 1e39
    )
    tuned = tune(tmp_path, FAST.model_copy(update={"steps": 1, "evaluated_images": 1}))
    assert (tuned.skipped, tuned.kept_step, tuned.adapter) == (1, 0, "")
    assert Tuned.model_validate_json(json.dumps(tuned.model_dump(mode="json"), allow_nan=False)) == tuned


def test_in_mixed_precision_the_text_encoder_learns_in_float32(pocket_config, prompts):
    """And takes nearly the same step, checkpointed or not."""
    steps = {}
    for dtype, checkpointing in (("float32", False), ("bfloat16", False), ("bfloat16", True)):
        tuner = make_tuner(pocket_config, dtype=dtype, checkpointing=checkpointing)
        losses = [tuner.step(prompts, 1), tuner.step(prompts, 1)]
        assert losses[1] < losses[0]
        assert {p.dtype for p in tuner.parameters.values()} == {torch.float32}
        assert {p.dtype for p in tuner.denoiser.parameters()} == {getattr(torch, dtype)}
        moved = [(tuner.weights()[name] - base).flatten() for name, base in tuner.base.items()]
        steps[dtype, checkpointing] = torch.cat(moved)
    exact, mixed, again = steps.values()
    assert torch.cosine_similarity(exact, mixed, 0) > 0.5  # Adam's first steps are signs: a small slope may turn
    assert torch.equal(mixed, again)


@pytest.mark.parametrize("family", [stable_diffusion_xl, stable_diffusion_3, flux])
def test_all_text_encoders_of_other_families_learn(family, prompts, tmp_path):
    torch.manual_seed(0)
    pipeline = family()
    generator = saved(pipeline, tmp_path / "model")
    config = GeneratorConfig(
        model=str(tmp_path / "model"), width=32, height=32, scheduler=type(pipeline.scheduler).__name__
    )
    tuner = make_tuner(config, evaluated_images=2)
    tuner.step(prompts, 0)
    encoders = {name for name in generator.pipeline.components if name.startswith("text_encoder")}
    moved = {name.partition(".")[0] for name, p in tuner.parameters.items() if not torch.equal(p, tuner.base[name])}
    assert moved == encoders
    assert tuner.drift(prompts) > 0
    assert 0 <= tuner.quality(prompts, "choose").acceptance <= 1


def test_fewer_images_than_prompts_still_judge_all_classes(own_tuner, pocket_config, prompts, monkeypatch):
    monkeypatch.setattr(own_tuner, "config", FAST.model_copy(update={"evaluated_images": 6}))
    assert set(own_tuner.quality(prompts, "choose").by_label) == set(SPACE.names)


def test_the_best_step_is_kept_and_measured_by_prompts_that_did_not_choose_it(tuned):
    assert [row["step"] for row in tuned.history] == [0, 2, 4]
    assert all(row["drift"] > 0 for row in tuned.history[1:])
    assert all(row["loss"] > 0 for row in tuned.history[1:])
    assert tuned.kept_step == max(tuned.history, key=lambda row: (row["acceptance"], -row["step"]))["step"] > 0
    assert tuned.skipped == 0
    assert set(tuned.after.by_label) == set(SPACE.names)
    assert tuned.after != tuned.before


def test_the_kept_encoder_is_an_adapter_that_plans_refer_to(tuned, folder, prompts, pocket_config, synthesis):
    (file,) = (folder / "adapters").glob("*.safetensors")
    assert file.stem == sha256_file(file) == tuned.adapter
    plan = make_plan(plan_tailored(prompts[:2], pocket_config, "r", 2, 0, tuned.adapter)).to_pylist()
    adapted = Generator(
        pocket_config.model, model_revision(pocket_config), synthesis, Inputs(adapters=folder / "adapters")
    )
    plain = [{**row, "adapter": ""} for row in plan]
    assert (adapted.render(plan).pixels - adapted.render(plain).pixels).abs().max() > 0.01
    parameters = dict(adapted.pipeline.text_encoder.named_parameters())
    assert set(load_file(file)) == {f"text_encoder.{name}" for name in parameters}


def test_an_interrupted_tuning_ends_with_the_same_weights(tuned, tune, tmp_path):
    class Stop(Exception):
        pass

    def stop(step: int, metrics: dict) -> None:
        if step == 4:
            raise Stop

    with pytest.raises(Stop):
        tune(tmp_path, log=stop)
    assert tune(tmp_path) == tuned  # of which the adapter's hash is a part


def test_a_generator_that_no_step_improves_is_kept_as_it_is(tune, tmp_path):
    tuned = tune(tmp_path, FAST.model_copy(update={"steps": 1, "learning_rate": 1e-12, "evaluated_images": 2}))
    assert (tuned.adapter, tuned.kept_step) == ("", 0)
    assert tuned.before == tuned.after
    assert not (tmp_path / "adapters").exists()
