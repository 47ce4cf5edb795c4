"""Learned words in prompts: what they mean, their noise, and that no one else notices."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from figment.errors import InputError
from figment.files import sha256_file
from figment.planning.plan import read_plan, write_plan
from figment.planning.row import Row, record_of, row_of
from figment.synthesis.concepts import add_noise, concepts_in_place, relative_noise
from figment.synthesis.encoding import FRESH
from figment.synthesis.engines import render_plan
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.replay import replay
from figment.synthesis.weights import model_revision
from tests.figment.synthesis.test_executor import assert_same, images


def embeddings_of(generator: Generator, words: str) -> torch.Tensor:
    """(n, D) what the text encoder reads for the tokens of ``words``."""
    ids = generator.pipeline.tokenizer(words, add_special_tokens=False).input_ids
    return generator.pipeline.text_encoder.get_input_embeddings().weight.detach()[ids].clone()


@pytest.fixture(scope="module")
def adapters(generator, tmp_path_factory):
    """A folder with a concepts file: two "learned" words that read what words of the model read, and one of its own."""
    folder = tmp_path_factory.mktemp("run") / "adapters"
    folder.mkdir()
    vectors = {
        "motor": embeddings_of(generator, "car"),
        "green pot": embeddings_of(generator, "potted plant"),
        "own": torch.randn(3, 128, generator=torch.Generator().manual_seed(0)) * 0.07,
    }
    return folder, saved(folder, {f"concept.{name}": value for name, value in vectors.items()})


def saved(folder, tensors) -> str:
    save_file(tensors, folder / "new")
    adapter = sha256_file(folder / "new")
    (folder / "new").rename(folder / f"{adapter}.safetensors")
    return adapter


@pytest.fixture(scope="module")
def own(adapters, pocket_config, synthesis) -> Generator:
    return Generator(pocket_config.model, model_revision(pocket_config), synthesis, Inputs(adapters=adapters[0]))


@pytest.fixture(scope="module")
def row(adapters, plan) -> dict:
    """A plan row that says a concept."""
    first = row_of(plan.to_pylist()[0])
    changes = {"prompt": "a photo of a <own>", "adapter": adapters[1], "concept": "own", "guidance_scale": 3.0}
    return record_of(first.model_copy(update=changes))


def meanings(generator: Generator, rows) -> torch.Tensor:
    return generator.encode(rows, guided=False)["prompt_embeds"]


@pytest.mark.parametrize(
    ("said", "concept", "plain"),
    [
        ("a photo of a <motor>", "motor", "a photo of a car"),
        ("<motor>, at night", "motor", "car, at night"),
        ("a photo of a <green pot> in the snow", "green pot", "a photo of a potted plant in the snow"),
        ("a <green pot> next to a <green pot>!", "green pot", "a potted plant next to a potted plant!"),
    ],
)
def test_a_concept_that_reads_what_words_read_means_what_they_mean(own, row, said, concept, plain):
    learned = meanings(own, [row | {"prompt": said, "concept": concept}])
    assert torch.equal(learned, meanings(own, [row | {"prompt": plain, "concept": "", "adapter": ""}]))


@settings(max_examples=40)
@given(st.text(max_size=5), st.text(max_size=12))
def test_a_concept_is_read_in_its_place_whatever_stands_around(generator, before, after):
    """Any characters: of five, up to twenty tokens, the concept is never cut off."""
    vectors = {"text_encoder": embeddings_of(generator, "dog")}
    prompt = f"{before} <x> {after}"
    with concepts_in_place(generator.pipeline, [prompt], [("x", vectors)]) as texts:
        learned = generator.encode.encode(texts)["prompt_embeds"]
    plain = generator.encode.encode([prompt.replace("<x>", "dog")])["prompt_embeds"]
    assert torch.equal(learned, plain)


def test_rows_without_a_concept_do_not_notice_those_with_one(own, generator, plan, row):
    rows = [r | {"guidance_scale": 3.0} for r in plan.to_pylist()[:3]]
    own.render([*rows, row, row | {"noise": 0.1}])
    assert torch.equal(own.render(rows).pixels, generator.render(rows).pixels)
    assert torch.equal(meanings(own, [*rows, row])[:3], meanings(generator, rows))


def test_concepts_sources_adapters_and_plain_rows_share_a_batch(own, row, tmp_path):
    own.sources.folder = tmp_path
    Image.new("RGB", (40, 30), (250, 20, 20)).save(tmp_path / "red.png")
    image = own.sources.add(tmp_path / "red.png")
    rows = [
        row,
        row | {"prompt": "a photo of a <motor>", "concept": "motor"},
        row | {"concept": "", "prompt": "a frog"},
    ]
    rows = [r | {"initial_image": image, "strength": 0.5} for r in [*rows, row | {"noise": 0.05}]]
    together = own.render(rows).pixels
    assert torch.allclose(together, torch.cat([own.render([r]).pixels for r in rows]), atol=1e-3)
    assert not torch.allclose(together[0], together[1], atol=0.05)
    assert not torch.allclose(together[0], together[3], atol=0.01)
    assert (together.mean((2, 3))[:, 0] > together.mean((2, 3))[:, 2]).all()  # half of the way, the red still shows


def test_fresh_noise_is_the_images_own_and_the_same_in_any_batch(own, row):
    rows = [row | {"noise": 0.02, "seed": seed} for seed in range(2 * FRESH + 3)]
    together = meanings(own, rows)
    assert len({tuple(m.flatten().tolist()) for m in together}) == len(rows)
    assert torch.equal(together[5:6], meanings(own, [rows[5]]))
    assert torch.equal(together[[17, 2]], meanings(own, [rows[17], rows[2]]))


def test_a_shared_draw_is_shared_and_another_word_another_draw(own, row):
    rows = [row | {"noise": 0.02, "seed": seed, "noise_draw": word} for seed, word in enumerate("aab")]
    first, again, other = meanings(own, rows)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first, meanings(own, [rows[0] | {"noise": 0.03}])[0], atol=1e-3)


def test_the_cache_keeps_concepts_and_shared_draws_but_no_fresh_noise(own, row):
    own.encode._meanings.clear()
    rows = [row, row | {"noise": 0.02, "noise_draw": "x"}, *(row | {"noise": 0.02, "seed": seed} for seed in range(20))]
    calls = []
    forward = own.pipeline.text_encoder.forward
    own.pipeline.text_encoder.forward = lambda ids, *a, **k: (calls.append(len(ids)), forward(ids, *a, **k))[1]
    try:
        meanings(own, rows)
        meanings(own, rows[:2])
    finally:
        own.pipeline.text_encoder.forward = forward
    assert [(key.concept, key.draw) for key in own.encode._meanings] in (
        [("own", ""), ("own", "x")],
        [("own", "x"), ("own", "")],
    )
    assert calls == [1, 1, *[FRESH] * math.ceil(20 / FRESH)]


@given(st.integers(1, 4), st.floats(1e-3, 1.0), st.integers(0, 2**62))
def test_noise_has_the_deviation_that_is_asked_for(count, sigma, seed):
    vectors = {"text_encoder": torch.ones(count, 4096), "text_encoder_2": torch.ones(count, 4096)}
    noisy = add_noise(vectors, sigma, seed)
    z = [(noisy[name] - vectors[name]) / sigma for name in vectors]
    assert all(abs(float(v.std()) - 1) < 0.07 and abs(float(v.mean())) < 0.1 for v in z)
    assert not torch.allclose(*z, atol=0.1)  # the encoders' draws are two
    assert torch.equal(noisy["text_encoder"], add_noise(vectors, sigma, seed)["text_encoder"])


def test_relative_noise_is_a_multiple_of_the_concepts_norm(adapters, generator):
    folder, adapter = adapters
    norm = float(embeddings_of(generator, "car").norm())
    assert relative_noise(folder / f"{adapter}.safetensors", "motor", 0.05) == pytest.approx(0.05 * norm)
    with pytest.raises(InputError, match="holds no concept 'train'"):
        relative_noise(folder / f"{adapter}.safetensors", "train", 0.05)
    with pytest.raises(InputError, match="not a concepts file"):
        relative_noise(folder / "nothing.safetensors", "motor", 0.05)


def test_a_file_may_hold_weights_and_concepts(generator, pocket_config, synthesis, row, tmp_path):
    name, weight = next(
        (n, p) for n, p in generator.pipeline.text_encoder.named_parameters() if "final_layer_norm.weight" in n
    )
    both = saved(
        tmp_path, {f"text_encoder.{name}": weight.detach() * 2, "concept.motor": embeddings_of(generator, "car")}
    )
    own = Generator(pocket_config.model, model_revision(pocket_config), synthesis, Inputs(adapters=tmp_path))
    learned, plain, untuned = (
        meanings(own, [row | {"prompt": prompt, "concept": concept, "adapter": adapter}])
        for prompt, concept, adapter in (("a <motor>", "motor", both), ("a car", "", both), ("a car", "", ""))
    )
    assert torch.equal(learned, plain)
    assert not torch.allclose(learned, untuned, atol=0.1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"adapter": ""}, "concept 'own': its row names no adapter"),
        ({"concept": "bus", "prompt": "a <bus>"}, "holds no concept 'bus', its concepts: green pot, motor, own"),
        ({"prompt": "a photo of an own"}, "says <own> nowhere"),
        ({"prompt": "a dog " * 12 + "<own>"}, "<own> stands behind the 24 tokens that the text_encoder reads"),
    ],
)
def test_a_row_whose_concept_cannot_be_said_is_a_sentence(own, row, change, sentence):
    with pytest.raises(InputError, match=sentence):
        own.render([row | change])


@pytest.mark.parametrize("name", ["concept.x", "concept_2.x", "concept.", "x"])
def test_vectors_that_do_not_fit_the_generator_are_named(own, adapters, row, name):
    tensor = torch.zeros(1, 64 if name == "concept.x" else 128)
    adapter = saved(adapters[0], {name: tensor})
    with pytest.raises(InputError, match=r"does not fit the generator"):
        own.render([row | {"adapter": adapter}])


@pytest.fixture(scope="module")
def concept_rows(row) -> list[Row]:
    """Plain, learned, freshly noised and alike noised rows, two images each."""
    kinds = [
        {"concept": "", "adapter": "", "prompt": "a photo of a car"},
        {},
        {"noise": 0.05},
        {"noise": 0.05, "noise_draw": "x"},
    ]
    return [row_of(row | kind | {"replicate": i}) for kind in kinds for i in range(2)]


@pytest.fixture(scope="module")
def rendered(adapters, concept_rows, synthesis):
    folder = adapters[0].parent
    write_plan(concept_rows, folder / "plan.parquet")
    renderers = Renderers(synthesis, Inputs.beside(folder / "plan.parquet"))
    synthesise(folder / "plan.parquet", Pool(folder / "images"), synthesis, renderers=renderers)
    return folder


def test_an_image_of_a_concept_comes_back_from_its_row_alone(rendered, concept_rows):
    for concept_row in concept_rows[2:]:
        again = replay(rendered / "plan.parquet", concept_row.image_id)
        assert again.psnr > 45


@pytest.mark.slow
def test_actors_make_the_same_images_of_concepts(rendered, adapters, synthesis, tmp_path):
    write_plan(plan := read_plan(rendered / "plan.parquet"), tmp_path / "plan.parquet")
    (tmp_path / "adapters").symlink_to(adapters[0])
    config, together = synthesis.model_copy(update={"engine": "ray", "workers": 2}), Pool(tmp_path / "images")
    render_plan(tmp_path / "plan.parquet", together, config, renderers=Renderers(config))
    assert_same(images(Pool(rendered / "images"), plan), images(together, plan))
