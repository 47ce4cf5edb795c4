"""Concepts are learned side by side, each as if alone; interrupted as if not; nothing else of the model changes."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from figment.adaptation import textual_inversion
from figment.adaptation.concept_learning import Learning
from figment.adaptation.config import InversionConfig, ProbeConfig
from figment.adaptation.textual_inversion import Probing, forget_learning, learn_concepts, probe_concepts
from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.files import sha256_file
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.concepts import concepts_in_place
from figment.synthesis.config import SynthesisConfig
from tests.figment.synthesis.test_families import flux

QUICK = InversionConfig(
    steps=4, batch_size=2, learning_rate=0.01, templates=("a photo of a {name}", "an image of a {name}")
)


def checks(colour: tuple[int, int, int], size: int, count: int = 2) -> list[np.ndarray]:
    """Chequered images of one colour and black, their fields of different sizes."""
    y, x = np.mgrid[:size, : size + 4]
    fields = [((x // step + y // step) % 2)[..., None] for step in range(4, 4 + count)]
    return [(field * np.array(colour)).astype(np.uint8) for field in fields]


PHOTOS = {"red one": checks((250, 20, 20), 40), "blue": checks((20, 20, 250), 32, 3)}
NAMES = {"red one": "apple", "blue": "stop sign"}


@pytest.fixture(scope="module")
def learned(pocket_config, tmp_path_factory):
    logged: list = []
    path = learn_concepts(
        pocket_config,
        PHOTOS,
        NAMES,
        QUICK,
        tmp_path_factory.mktemp("adapters"),
        lambda step, m: logged.append((step, m)),
    )
    return path, logged


def test_a_file_of_vectors_named_by_its_hash_says_what_it_was_made_from(learned, pocket_config):
    path, logged = learned
    assert path.stem == sha256_file(path)
    assert [p.name for p in path.parent.glob("[!.]*")] == [path.name]
    tensors = load_file(path)
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "concept.blue": (1, 128),
        "concept.red one": (1, 128),
    }
    with safe_open(path, "pt") as file:
        made = json.loads(file.metadata()["figment"])
    assert made["concepts"] == {"blue": {"word": "stop sign", "skipped": 0}, "red one": {"word": "apple", "skipped": 0}}
    assert made["model"] == pocket_config.model
    assert [step for step, _ in logged] == [1, 2, 3, 4]
    assert all(np.isfinite(metrics["loss"]) and metrics["skipped"] == 0 for _, metrics in logged)


def test_a_concept_is_the_same_whichever_others_are_learned_beside_it(learned, pocket_config, tmp_path):
    together = load_file(learned[0])["concept.blue"]
    few_at_a_time = QUICK.model_copy(update={"max_batch": 1})
    alone = load_file(learn_concepts(pocket_config, {"blue": PHOTOS["blue"]}, NAMES, few_at_a_time, tmp_path))
    assert torch.allclose(alone["concept.blue"], together, atol=2e-4)


def test_an_interrupted_learning_goes_on_to_the_same_file(learned, pocket_config, tmp_path, monkeypatch):
    monkeypatch.setattr(textual_inversion, "Checkpoint", partial(Checkpoint, every_seconds=0.0))
    step = Learning.step

    def stop_at_the_third(self, number):
        if number == 2:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Learning, "step", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        learn_concepts(pocket_config, PHOTOS, NAMES, QUICK, tmp_path)
    (state,) = tmp_path.iterdir()
    numbers = []
    monkeypatch.setattr(Learning, "step", lambda self, number: (numbers.append(number), step(self, number))[1])
    path = learn_concepts(pocket_config, PHOTOS, NAMES, QUICK, tmp_path)
    assert numbers == [2, 3]
    assert path.read_bytes() == learned[0].read_bytes()
    assert learn_concepts(pocket_config, PHOTOS, NAMES, QUICK, tmp_path) == path
    assert numbers == [2, 3], "what is learned is not learned again"
    forget_learning(tmp_path)
    assert not state.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_of_other_photos_has_another_key(pocket_config):
    one, other = (Learning(pocket_config, {"blue": images}, NAMES, QUICK) for images in PHOTOS.values())
    assert one.key != other.key


def test_nothing_but_the_concepts_vectors_is_learned(pocket_config):
    learning = Learning(pocket_config, PHOTOS, NAMES, QUICK)
    modules = learning.pipeline.text_encoder, learning.pipeline.unet, learning.pipeline.vae
    before = [p.clone() for module in modules for p in module.parameters()]
    first = {name: p.detach().clone() for name, p in learning.parameters().items()}
    learning.step(0)
    after = [p for module in modules for p in module.parameters()]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, after, strict=True))
    held = sum(state["exp_avg"].numel() for state in learning.optimizer.state.values())
    assert held == 2 * 128  # of an embedding matrix of 1222 x 128
    assert all(not torch.equal(p, first[name]) for name, p in learning.parameters().items())


def test_concepts_begin_at_their_names_words_or_at_a_neutral_one(pocket_config):
    config = QUICK.model_copy(update={"vectors": 2})
    learning = Learning(pocket_config, PHOTOS, NAMES, config)
    pipeline = learning.pipeline
    for said, name, plain in (("<blue>", "blue", "stop sign"), ("<red one>", "red one", "apple apple")):
        with torch.no_grad(), concepts_in_place(pipeline, [said], [(name, learning.vectors[name])]) as texts:
            meaning = learning.encoder.encode(texts)["prompt_embeds"]
            assert torch.allclose(meaning, learning.encoder.encode([plain])["prompt_embeds"], atol=1e-5)
    neutral = Learning(pocket_config, PHOTOS, NAMES, QUICK.model_copy(update={"initialise": "neutral"}))
    assert torch.equal(*neutral.parameters().values())


def test_learning_from_photos_makes_them_likelier(pocket_config):
    """The loss on draws that were not learned from falls, from a neutral word."""
    config = InversionConfig(
        steps=15, learning_rate=0.03, initialise="neutral", vectors=2, templates=("a photo of a {name}",)
    )
    learning = Learning(pocket_config, PHOTOS, NAMES, config)

    def held_out() -> float:
        draws = [
            (name, *sample)
            for name in PHOTOS
            for i in range(4)
            for sample in zip(*learning.draw(name, 10_000 + i), strict=True)
        ]
        with torch.no_grad():
            return float(learning.loss(*zip(*draws, strict=True)).mean())

    before = held_out()
    for step in range(config.steps):
        learning.step(step)
    assert held_out() < before - 0.004


def test_a_step_whose_loss_is_no_number_is_skipped_for_its_concept_alone(learned, pocket_config, tmp_path, monkeypatch):
    draw = Learning.draw

    def broken(self, name, step):
        drawn = draw(self, name, step)
        return drawn._replace(clean=drawn.clean * float("nan")) if name == "red one" and step == 1 else drawn

    monkeypatch.setattr(Learning, "draw", broken)
    path = learn_concepts(pocket_config, PHOTOS, NAMES, QUICK, tmp_path)
    tensors, whole = load_file(path), load_file(learned[0])
    assert torch.equal(tensors["concept.blue"], whole["concept.blue"])
    assert not torch.equal(tensors["concept.red one"], whole["concept.red one"])
    with safe_open(path, "pt") as file:
        made = json.loads(file.metadata()["figment"])
    assert {name: concept["skipped"] for name, concept in made["concepts"].items()} == {"blue": 0, "red one": 1}


def test_a_concept_that_was_never_learned_is_named(pocket_config, tmp_path, monkeypatch):
    draw = Learning.draw
    monkeypatch.setattr(Learning, "draw", lambda self, *a: (d := draw(self, *a))._replace(noise=d.noise * float("inf")))
    with pytest.raises(InputError, match="concept 'blue': its loss was never a number"):
        learn_concepts(pocket_config, {"blue": PHOTOS["blue"]}, NAMES, QUICK, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_frozen_model_in_half_precision_teaches_vectors_in_full(learned, pocket_config, tmp_path):
    path = learn_concepts(pocket_config, PHOTOS, NAMES, QUICK.model_copy(update={"dtype": "bfloat16"}), tmp_path)
    half, full = load_file(path), load_file(learned[0])
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    first = Learning(pocket_config, PHOTOS, NAMES, QUICK).parameters()
    moved = [torch.cat([(t[name] - first[name].detach()).flatten() for name in sorted(t)]) for t in (half, full)]
    assert float(torch.cosine_similarity(*moved, dim=0)) > 0.8


def test_a_pass_that_memory_has_no_room_for_is_a_sentence(pocket_config, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Learning, "loss", full)
    with pytest.raises(InputError, match=r"inversion\.max_batch: 10 images in one pass do not fit in memory"):
        learn_concepts(pocket_config, PHOTOS, NAMES, QUICK.model_copy(update={"batch_size": 5}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_both_text_encoders_of_xl_learn(xl, tmp_path):
    generator = GeneratorConfig(model=str(xl), width=32, height=32, scheduler="EulerDiscreteScheduler")
    path = learn_concepts(generator, PHOTOS, NAMES, QUICK, tmp_path)
    tensors = load_file(path)
    assert set(tensors) == {f"{kind}.{name}" for kind in ("concept", "concept_2") for name in PHOTOS}
    first = Learning(generator, PHOTOS, NAMES, QUICK).parameters()
    assert all(not torch.allclose(tensors[name], first[name], atol=1e-3) for name in tensors)
    fast = generator.model_copy(update={"num_inference_steps": 2})
    probing = Probing(fast, PHOTOS, clip(), ProbeConfig(images=1), SynthesisConfig())
    probes = probe_concepts(path, probing)
    assert set(probes) == set(PHOTOS)  # such a file renders
    save_file(tensors | {"concept_2.blue": torch.zeros(2, 32)}, tmp_path / "uneven")
    uneven = (tmp_path / "uneven").rename(tmp_path / f"{sha256_file(tmp_path / 'uneven')}.safetensors")
    with pytest.raises(InputError, match="concept 'blue' has more vectors for one text encoder than for another"):
        probe_concepts(uneven, probing)


def test_models_that_take_no_learned_words_are_named(tmp_path):
    flux().save_pretrained(tmp_path / "flux")
    with pytest.raises(InputError, match=r"FluxPipeline cannot learn from photos here; choose a Stable Diffusion 1\.x"):
        Learning(GeneratorConfig(model=str(tmp_path / "flux")), PHOTOS, NAMES, QUICK)


@pytest.mark.parametrize(
    ("photos", "sentence"),
    [
        ({}, "no class has photos"),
        ({"blue": []}, "concept 'blue': has no photos"),
        ({"green": PHOTOS["blue"]}, "concept 'green': has no prompt name"),
        ({"a>b": PHOTOS["blue"]}, "'a>b': prompts say it in angle brackets"),
        ({"blue": [np.zeros((4, 4), np.uint8)]}, r"photo 0 is uint8 \(4, 4\); expected uint8 \(height, width, 3\)"),
        ({"blue": [PHOTOS["blue"][0], np.zeros((4, 4, 3))]}, "photo 1 is float64"),
    ],
)
def test_photos_that_are_none_are_a_sentence(pocket_config, tmp_path, photos, sentence):
    with pytest.raises(InputError, match=sentence):
        learn_concepts(pocket_config, photos, NAMES | {"a>b": "x"}, QUICK, tmp_path)


def test_a_template_says_the_name_once():
    with pytest.raises(ValidationError, match=r"must say \{name\} once"):
        InversionConfig(templates=("a photo",))


def clip() -> ClipScorer:
    return ClipScorer(ClipConfig(model="local-dir:models/pocket/clip"))


def test_the_probe_tells_a_good_concept_from_a_lost_one(generator, pocket_config, tmp_path):
    """A car that reads what "car" reads, and a frog that reads it too."""
    ids = generator.pipeline.tokenizer("car", add_special_tokens=False).input_ids
    vectors = generator.pipeline.text_encoder.get_input_embeddings().weight.detach()[ids]
    save_file({"concept.car": vectors.clone(), "concept.frog": vectors.clone()}, tmp_path / "new")
    adapter = (tmp_path / "new").rename(tmp_path / f"{sha256_file(tmp_path / 'new')}.safetensors")
    row = {"negative_prompt": "", "adapter": "", "concept": "", "initial_image": "", "guidance_scale": 4.0,
           "num_inference_steps": 12, "scheduler": "DDIMScheduler", "width": 32, "height": 32}  # fmt: skip
    rows = [row | {"prompt": f"a photo of a {word}", "seed": i} for word in ("car", "frog") for i in range(3)]
    shots = generator.render(rows).pixels.mul(255).byte().permute(0, 2, 3, 1).cpu().numpy()
    photos = {"car": list(shots[:3]), "frog": [np.pad(image, ((0, 0), (2, 2), (0, 0))) for image in shots[3:]]}
    config = pocket_config.model_copy(update={"num_inference_steps": 12})
    probes = probe_concepts(
        adapter, Probing(config, photos, clip(), ProbeConfig(images=4), SynthesisConfig(batch_size=3))
    )
    assert (probes["car"].usable, probes["car"].reason) == (True, "4 of 4 images are nearest to its own photos")
    assert not probes["frog"].usable
    assert probes["frog"].reason == (
        "0 of 4 images are nearest to its own photos, 4 to those of 'car'; learn it longer, from its name, or from other "
        "photos"
    )
    assert probes["car"].similarity > probes["frog"].similarity
    table = json.loads(adapter.with_suffix(".probe.json").read_text())
    assert table == {name: probe.model_dump() for name, probe in probes.items()}
