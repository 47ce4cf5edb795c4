"""LoRAs are learned one after the other, each as if alone; interrupted as if not; what is written is a LoRA of diffusers."""

from functools import partial

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from figment.adaptation import lora as module
from figment.adaptation.config import LoraConfig, ProbeConfig
from figment.adaptation.lora import LoraLearning, learn_loras, probe_loras
from figment.adaptation.textual_inversion import Probing, forget_learning
from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.synthesis.config import SynthesisConfig
from tests.figment.adaptation.test_textual_inversion import NAMES, PHOTOS
from tests.figment.synthesis.test_families import flux

QUICK = LoraConfig(
    steps=3, batch_size=2, learning_rate=1e-3, rank=2, templates=("a photo of a {name}", "an image of a {name}")
)


@pytest.fixture(scope="module")
def learned(pocket_config, tmp_path_factory):
    folder, logged = tmp_path_factory.mktemp("adapters"), []
    return (
        learn_loras(pocket_config, PHOTOS, NAMES, QUICK, folder, lambda step, m: logged.append((step, m))),
        folder,
        logged,
    )


def test_each_class_has_a_lora_that_diffusers_loads(learned, pocket_config):
    loras, folder, logged = learned
    assert sorted(loras) == sorted(PHOTOS)
    assert len(set(loras.values())) == 2
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6]
    stock = StableDiffusionPipeline.from_pretrained(pocket_config.model, safety_checker=None)
    for adapter in loras.values():
        name, _, weight = adapter.partition("*")
        assert weight == "1.0"
        tensors = load_file(folder / f"{name}.safetensors")
        assert all(key.startswith("unet.") for key in tensors)
        assert any(tensor.abs().sum() > 0 for key, tensor in tensors.items() if "lora_B" in key)
        stock.load_lora_weights(folder, weight_name=f"{name}.safetensors", adapter_name=name[:8])
    assert len(stock.get_list_adapters()["unet"]) == 2


def test_a_lora_is_the_same_whichever_others_are_learned_and_wherever_it_was_interrupted(
    learned, pocket_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "Checkpoint", partial(Checkpoint, every_seconds=0.0))
    step, numbers = LoraLearning.step, []

    def stop_at_the_second(self, group, number):
        if number == 1:
            raise KeyboardInterrupt
        return step(self, group, number)

    only = {"red one": PHOTOS["red one"]}
    monkeypatch.setattr(LoraLearning, "step", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        learn_loras(pocket_config, only, NAMES, QUICK, tmp_path)
    monkeypatch.setattr(LoraLearning, "step", lambda self, g, n: (numbers.append(n), step(self, g, n))[1])
    assert learn_loras(pocket_config, only, NAMES, QUICK, tmp_path)["red one"] == learned[0]["red one"]
    assert numbers == [1, 2]
    learn_loras(pocket_config, only, NAMES, QUICK, tmp_path)
    assert numbers == [1, 2], "what is learned is not learned again"
    forget_learning(tmp_path)
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


def test_one_for_all_classes_with_the_text_encoder(pocket_config, tmp_path):
    config = QUICK.model_copy(update={"per": "all", "text_encoder": True, "weight": 0.5})
    loras = learn_loras(pocket_config, PHOTOS, NAMES, config, tmp_path)
    (adapter,) = set(loras.values())
    name, _, weight = adapter.partition("*")
    assert weight == "0.5"
    assert {key.partition(".")[0] for key in load_file(tmp_path / f"{name}.safetensors")} == {"unet", "text_encoder"}


def test_learning_from_photos_makes_them_likelier_and_leaves_the_model_alone(pocket_config):
    config = QUICK.model_copy(update={"learning_rate": 3e-3, "rank": 8})
    learning = LoraLearning(pocket_config, PHOTOS, NAMES, config)
    before = {n: p.clone() for n, p in learning.pipeline.unet.named_parameters()}

    def held_out() -> float:
        with torch.no_grad():
            shown = [learning.show("blue", learning.said["blue"], 1000 + i) for i in range(4)]
            return float(
                torch.stack([learning.errors(*d[:3], learning.meaning(d.prompts)).mean() for d in shown]).mean()
            )

    learning.begin("blue")
    first = held_out()
    for number in range(12):
        learning.step("blue", number)
    assert held_out() < 0.95 * first
    learning.end()
    after = {n.replace(".base_layer", ""): p for n, p in learning.pipeline.unet.named_parameters() if ".lora_" not in n}
    assert all(torch.equal(p, after[n]) for n, p in before.items())


def test_what_the_probe_says_decides_which_are_used(learned, pocket_config):
    loras, folder, _ = learned
    scorer = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip", device="cpu"))
    synthesis = SynthesisConfig(device="cpu", batch_size=3)
    for share, usable in ((0.0, 2), (1.0, None)):
        config = ProbeConfig(images=2, retrieval=share)
        found = probe_loras(loras, NAMES, folder, Probing(pocket_config, PHOTOS, scorer, config, synthesis))
        assert sorted(found.probes) == sorted(PHOTOS)
        assert {n for n, probe in found.probes.items() if probe.usable} == set(found.loras)
        assert usable in (None, len(found.loras))


def test_a_model_that_cannot_learn_is_a_sentence(pocket_config, tmp_path):
    folder = tmp_path / "flux"
    flux().save_pretrained(folder)
    config = pocket_config.model_copy(update={"model": str(folder), "scheduler": None})
    with pytest.raises(InputError, match="FluxPipeline cannot learn from photos here"):
        learn_loras(config, PHOTOS, NAMES, QUICK, tmp_path)
    with pytest.raises(InputError, match="no class has photos"):
        learn_loras(pocket_config, {}, NAMES, QUICK, tmp_path)
