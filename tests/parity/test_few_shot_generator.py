"""DIAGen's generator side: golden values of its embedding noise and of one image, and where Figment differs on purpose."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

from figment.adaptation.concept_learning import Learning
from figment.adaptation.config import InversionConfig
from figment.errors import InputError
from figment.files import sha256_file
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import Row, record_of, row_of
from figment.synthesis.concepts import add_noise, noise_seed
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import model_revision

SIGMAS = (0.005, 0.01, 0.025)  # of the script that adds noise, by default


@pytest.fixture(scope="module")
def inputs(generator, tmp_path_factory) -> tuple[Inputs, str, str]:
    """Two files of concepts of the same names, "car" and "carrot", that read different words."""
    inputs = Inputs(*(tmp_path_factory.mktemp("run") / name for name in ("adapters", "sources")))
    embeddings = generator.pipeline.text_encoder.get_input_embeddings().weight.detach()
    hashes = []
    for words in ({"car": "car", "carrot": "carrot"}, {"car": "frog", "carrot": "carrot"}):
        ids = {
            name: generator.pipeline.tokenizer(word, add_special_tokens=False).input_ids for name, word in words.items()
        }
        inputs.adapters.mkdir(exist_ok=True)
        save_file({f"concept.{name}": embeddings[i].clone() for name, i in ids.items()}, inputs.adapters / "new")
        hashes.append(sha256_file(inputs.adapters / "new"))
        (inputs.adapters / "new").rename(inputs.adapters / f"{hashes[-1]}.safetensors")
    return inputs, *hashes


@pytest.fixture(scope="module")
def own(inputs, pocket_config, synthesis) -> Generator:
    return Generator(pocket_config.model, model_revision(pocket_config), synthesis, inputs[0])


@pytest.fixture
def row(plan, inputs) -> dict:
    changes = {"prompt": "a photo of a <car>", "concept": "car", "adapter": inputs[1], "guidance_scale": 3.0}
    return record_of(row_of(plan.to_pylist()[0]).model_copy(update=changes))


def meaning(generator: Generator, row: dict) -> torch.Tensor:
    return generator.encode([row], guided=False)["prompt_embeds"][0]


@pytest.mark.parametrize(("sigma", "norm"), zip(SIGMAS, (0.139, 0.277, 0.693), strict=True))
def test_p11_noise_of_a_zero_vector_has_the_papers_deviation_and_norm(sigma, norm):
    seed = noise_seed("adapter", "car", sigma, "paper", 0)
    noise = add_noise({"text_encoder": torch.zeros(1, 768)}, sigma, seed)["text_encoder"]
    assert float(noise.std()) == pytest.approx(sigma, rel=0.06)
    assert float(noise.norm()) == pytest.approx(norm, rel=0.06)


def test_p11_a_class_has_four_pseudo_words_the_clean_one_unchanged(own, row, generator):
    noisy = [row | {"noise": sigma, "noise_draw": "paper"} for sigma in SIGMAS]
    words = [meaning(own, r) for r in (row, *noisy)]
    plain = meaning(generator, row | {"prompt": "a photo of a car", "concept": "", "adapter": ""})
    assert torch.equal(words[0], plain)
    assert all(not torch.equal(a, b) for a, b in pairwise(words))
    distances = [float((word - plain).norm()) for word in words]
    assert distances == sorted(distances)


def test_p11_differs_the_word_false_is_no_noise(row):
    """B10: there ``--augment-embeddings False`` adds noise, since the word is not empty."""
    with pytest.raises(ValidationError, match="noise"):
        Row(**(row_of(row).model_dump() | {"noise": "False"}))


def test_p11_differs_draws_are_seeded_and_no_two_classes_share_one():
    """B11: there every run draws others."""
    seeds = {noise_seed("adapter", name, sigma, "paper", 0) for name in ("car", "carrot") for sigma in SIGMAS}
    assert len(seeds) == 6
    assert seeds == {noise_seed("adapter", name, sigma, "paper", 1) for name in ("car", "carrot") for sigma in SIGMAS}


def test_b3_differs_a_row_reads_the_concepts_of_its_own_run(own, row, inputs):
    """There all later runs of a process read the first one's tokens."""
    other = row | {"adapter": inputs[2]}
    together = own.encode([row, other], guided=False)["prompt_embeds"]
    assert not torch.allclose(*together, atol=0.1)
    assert torch.equal(together[1], meaning(own, other | {"concept": "", "prompt": "a photo of a frog", "adapter": ""}))


def test_b9_differs_a_concept_is_found_by_its_whole_name(own, row):
    """There the tokens of 'car' are also those of '<carrot...>'."""
    plain = row | {"concept": "", "adapter": ""}
    assert torch.equal(meaning(own, row), meaning(own, plain | {"prompt": "a photo of a car"}))
    with pytest.raises(InputError, match="says <car> nowhere"):
        own.render([row | {"prompt": "a photo of a <carrot>"}])


@pytest.fixture
def from_photo(own, row, inputs, tmp_path) -> dict:
    """A row that starts from a photo which is not of the plan's size, with the README's strength and steps."""
    Image.effect_noise((50, 40), 90).convert("RGB").save(tmp_path / "photo.png")
    image = own.sources.add(tmp_path / "photo.png")
    return row | {"initial_image": image, "strength": 0.7, "num_inference_steps": 50}


def test_p26_differs_a_image_has_the_rows_size_whatever_its_sources(own, from_photo):
    """There it is scaled back to the source's size and decoded at that size for every training draw (C2)."""
    assert own.render([from_photo]).pixels.shape == (1, 3, 32, 32)


def test_p26_differs_a_placeholder_keeps_its_spaces(own, row, inputs):
    """There they become underscores, which the names of everyday words then lack."""
    embeddings = own.pipeline.text_encoder.get_input_embeddings().weight.detach()
    save_file({"concept.wine glass": embeddings[:2].clone()}, inputs[0].adapters / "new")
    adapter = sha256_file(inputs[0].adapters / "new")
    (inputs[0].adapters / "new").rename(inputs[0].adapters / f"{adapter}.safetensors")
    changes = {"adapter": adapter, "concept": "wine glass", "prompt": "a photo of a <wine glass>"}
    assert meaning(own, row | changes).shape == meaning(own, row).shape
    with pytest.raises(InputError, match="says <wine glass> nowhere"):
        own.render([row | changes | {"prompt": "a photo of a <wine_glass>"}])


def test_strength_07_of_50_steps_is_35(own, from_photo, monkeypatch):
    """Sec. 5.1: int(50 * 0.7) steps are run."""
    calls = []
    forward = own.denoiser.forward
    monkeypatch.setattr(own.denoiser, "forward", lambda x, *a, **k: (calls.append(len(x)), forward(x, *a, **k))[1])
    own.render([from_photo])
    assert calls == [2] * 35  # with and without the prompt


def test_the_learning_objective_is_the_papers(xl):
    """Sec. 2: mean squared error between eps and UNet(z_t, t, text), z a sample of the VAE's latents times its factor, which is
    0.18215 in the paper's model."""
    config = InversionConfig(steps=1, batch_size=3, flip=0.0, templates=("a photo of a {name}",))
    photo = np.asarray(Image.effect_noise((32, 32), 90).convert("RGB"))
    generator = GeneratorConfig(model=str(xl), width=32, height=32)
    learning = Learning(generator, {"car": [photo]}, {"car": "car"}, config)
    pipeline = learning.pipeline
    with torch.no_grad():
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        latents = pipeline.vae.encode(pixels).latent_dist
        mean, deviation = (part[0, 0] for part in learning.latents["car"])
        factor = pipeline.vae.config.scaling_factor
        assert torch.allclose(mean, factor * latents.mean[0], atol=1e-5)
        assert torch.allclose(deviation, factor * latents.std[0], atol=1e-5)
        draw = learning.draw("car", 0)
        mine = learning.loss(["car"] * 3, *draw)
        alphas = torch.cumprod(1 - torch.linspace(0.0001**0.5, 0.02**0.5, 1000) ** 2, 0)[draw.times].view(-1, 1, 1, 1)
        noisy = alphas.sqrt() * draw.clean + (1 - alphas).sqrt() * draw.noise
        embeds, _, pooled, _ = pipeline.encode_prompt("a photo of a car", do_classifier_free_guidance=False)
        sizes = torch.tensor([[32, 32, 0, 0, 32, 32]] * 3)
        theirs = [
            F.mse_loss(
                pipeline.unet(
                    noisy[i : i + 1], draw.times[i], encoder_hidden_states=embeds,
                    added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes[:1]},
                ).sample[0],
                draw.noise[i],
            )
            for i in range(3)
        ]  # fmt: skip
    assert torch.allclose(mine, torch.stack(theirs), rtol=1e-3)


def test_the_papers_settings_are_the_defaults():
    """Sec. 2: 1000 steps of 4 images, an effective rate of 5e-4 * 4, half of the photos mirrored, one vector."""
    config = InversionConfig()
    assert (config.steps, config.batch_size, config.learning_rate) == (1000, 4, 5e-4 * 4)
    assert (config.flip, config.vectors) == (0.5, 1)


def test_differs_only_the_new_vectors_have_an_optimiser(pocket_config):
    """C1: there the whole matrix has gradients and moments, and all other rows are copied back after every step."""
    photos = {"car": [np.zeros((32, 32, 3), np.uint8)]}
    learning = Learning(pocket_config, photos, {"car": "car"}, InversionConfig(steps=1, batch_size=1))
    learning.step(0)
    held = [state["exp_avg"].shape for state in learning.optimizer.state.values()]
    assert held == [(1, 128)]
    assert learning.pipeline.text_encoder.get_input_embeddings().weight.grad is None
