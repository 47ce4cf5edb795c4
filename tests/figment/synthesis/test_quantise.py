"""Weights quantised while they are loaded: nearly the same pixels of less memory, or a sentence on what is missing."""

from importlib.util import find_spec

import pytest
import torch

from figment.errors import InputError
from figment.model_loaders import pipelines
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Generator
from figment.synthesis.pool import Pool
from figment.synthesis.settings import last_config
from figment.synthesis.weights import model_revision


@pytest.mark.parametrize(
    ("quantise", "library"), [("int8", "torchao"), ("bnb8", "bitsandbytes"), ("nf4", "bitsandbytes")]
)
def test_without_its_library_it_is_one_sentence(pocket_config, monkeypatch, quantise, library):
    monkeypatch.setattr(pipelines, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"synthesis\.quantise: {quantise} needs {library}, which is not installed"):
        Generator(pocket_config.model, model_revision(pocket_config), SynthesisConfig(quantise=quantise))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("quantise", ["bnb8", "nf4"])
def test_without_the_gpu_that_diffusers_asks_for_it_is_one_sentence(pocket_config, monkeypatch, quantise):
    monkeypatch.setattr(pipelines, "find_spec", lambda name: name)
    with pytest.raises(InputError, match=rf"synthesis\.quantise: {quantise} needs a GPU, and there is none; take int8"):
        Generator(pocket_config.model, model_revision(pocket_config), SynthesisConfig(quantise=quantise))


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao, of the extra quantise, is not installed")
def test_eight_bits_give_nearly_the_same_pixels(plan, generator, pocket_config):
    rows = plan.to_pylist()[:4]
    small = Generator(
        pocket_config.model, model_revision(pocket_config), SynthesisConfig(quantise="int8", dtype="float32")
    )
    found, expected = (each.render(rows).pixels for each in (small, generator))
    assert 0 < float((found - expected).abs().mean()) < 0.03
    weights = [type(value).__name__ for value in small.denoiser.parameters()]
    assert weights.count("Int8Tensor") > 10


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao, of the extra quantise, is not installed")
def test_a_pool_is_of_one_quantisation(plan, pool, synthesis, tmp_path):
    small = synthesis.model_copy(update={"quantise": "int8"})
    mine = Pool(tmp_path / "images")
    synthesise(plan.slice(0, 2), mine, small)
    assert last_config(mine).quantise == "int8"
    with pytest.raises(InputError, match=r"dtype was float32 int8, now float32"):
        synthesise(plan, mine, synthesis)
