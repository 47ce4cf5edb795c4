"""Adapters change what prompts mean; the cache forgets what was not used for long."""

import pytest
import torch
from safetensors.torch import save_file

from figment.adaptation.adapters import save_adapter
from figment.errors import InputError
from figment.files import sha256_file
from figment.synthesis import encoding
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import model_revision


@pytest.fixture
def tuned(pocket_config, synthesis, tmp_path):
    """A generator with one adapter: a text encoder whose final norm was changed."""
    base = Generator(pocket_config.model, model_revision(pocket_config), synthesis)
    parameters = base.pipeline.text_encoder.named_parameters()
    name, weight = next((n, p) for n, p in parameters if "final_layer_norm.weight" in n)
    save_file({f"text_encoder.{name}": weight.detach() * 1.5}, tmp_path / "new")
    adapter = sha256_file(tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / f"{adapter}.safetensors")
    inputs = Inputs(adapters=tmp_path)
    return Generator(pocket_config.model, model_revision(pocket_config), synthesis, inputs), adapter, tmp_path


def test_rows_with_and_without_an_adapter_share_a_batch(tuned, generator, plan):
    """The adapted rows differ, the others are as if there were no adapters: it is swapped out again."""
    own, adapter, _ = tuned
    row = plan.to_pylist()[0] | {"guidance_scale": 3.0}
    rows = [row, row | {"adapter": adapter}, row]
    plain, adapted, again = own.render(rows).pixels
    assert torch.allclose(plain, again, atol=1e-3)
    assert torch.allclose(plain, generator.render([row]).pixels[0], atol=1e-3)
    assert not torch.allclose(plain, adapted, atol=0.02)


def test_a_tuned_weight_keeps_its_float32_up_to_the_embedding(pocket_config, synthesis, plan, tmp_path):
    """Weights that bfloat16 rounds back to the base's: the generator runs in it, the tuned text encoder does not."""
    revision = model_revision(pocket_config)
    half = Generator(
        pocket_config.model, revision, synthesis.model_copy(update={"dtype": "bfloat16"}), Inputs(tmp_path)
    )
    encoder = half.pipeline.text_encoder
    base = {f"text_encoder.{name}": p.detach().clone() for name, p in encoder.named_parameters()}
    tuned = {name: p.float() * 1.001 if "layers" in name else p.float() for name, p in base.items()}
    assert all(torch.equal(tuned[name].bfloat16(), p) for name, p in base.items())
    adapter = save_adapter(tuned, tmp_path, {})

    row = plan.to_pylist()[0]
    plain, adapted = half.encode([row, row | {"adapter": adapter}], guided=False)["prompt_embeds"]
    assert plain.dtype == adapted.dtype == torch.bfloat16
    assert encoder.dtype == torch.bfloat16  # as before
    exact = Generator(pocket_config.model, revision, synthesis, Inputs(tmp_path))
    (expected,) = exact.encode([row | {"adapter": adapter}], guided=False)["prompt_embeds"]
    assert torch.equal(adapted, expected.bfloat16())
    assert not torch.equal(adapted, plain)
    half.render([row | {"adapter": adapter}])


def test_an_adapter_is_read_once(tuned, plan, monkeypatch):
    own, adapter, _ = tuned
    reads = []
    monkeypatch.setattr(encoding, "read_adapter", lambda *a: (reads.append(a), encoding.NO_ADAPTER)[1])
    rows = [row | {"adapter": adapter} for row in plan.to_pylist()]
    own.encode(rows[:3], guided=True)
    own.encode(rows, guided=True)
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [("gone", "does not exist"), ("changed", "not what its name says"), ("other", "does not fit")],
)
def test_an_adapter_that_cannot_be_used_is_named(tuned, plan, damage, sentence):
    own, adapter, folder = tuned
    file = folder / f"{adapter}.safetensors"
    if damage == "gone":
        file.unlink()
    elif damage == "changed":
        file.write_bytes(file.read_bytes() + b" ")
    else:
        save_file({"text_encoder.nothing.like.this": torch.zeros(1)}, file)
        adapter = sha256_file(file)
        file.rename(folder / f"{adapter}.safetensors")
    with pytest.raises(InputError, match=rf"adapter .*{adapter[:8]}.*{sentence}"):
        own.render([plan.to_pylist()[0] | {"adapter": adapter}])


def test_the_least_recently_used_embeddings_are_forgotten(pocket_config, synthesis, plan, monkeypatch):
    own = Generator(pocket_config.model, model_revision(pocket_config), synthesis)
    row = plan.to_pylist()[0]
    size = own.encode([row], guided=False)["prompt_embeds"].nbytes
    monkeypatch.setattr(encoding, "MAX_BYTES", 3 * size)
    for i in range(6):
        own.encode([row | {"prompt": f"a {i}"}], guided=False)
    assert [text for _, text, *_ in own.encode._meanings] == ["a 3", "a 4", "a 5"]
    batch = own.encode([row | {"prompt": f"b {i}"} for i in range(5)], guided=False)
    assert len(batch["prompt_embeds"]) == 5  # a batch larger than the cache still works
