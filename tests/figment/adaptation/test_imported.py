"""What was adapted elsewhere is measured, tried out and rendered with like our own."""

import torch
from safetensors.torch import load_file

from figment.adaptation.free_prompt import FreePrompt, generate
from figment.adaptation.text_encoder import Tuner, tune_text_encoder
from figment.cli import main
from figment.imports.contract import Options
from figment.imports.registry import import_source
from figment.imports.text_encoder import EMBEDDING, own_prefix
from figment.prompts.pair_book import template_prompts
from figment.prompts.pairs import label_pairs
from figment.prompts.tricks import Prompt
from tests.figment.adaptation.test_text_encoder import FAST, SPACE, STRICT, make_tuner, material

PROMPTS = [
    Prompt(prompt.text + place, prompt.labels, "t")
    for prompt in template_prompts(label_pairs(SPACE))
    for place in ("", " on grass", " at night", " on the beach")
]


def tune(pocket_config, folder, imported):
    config = FAST.model_copy(update={"imported": str(imported)})
    return tune_text_encoder(PROMPTS, material(pocket_config, folder, STRICT), config, "key")


def test_an_imported_encoder_is_measured_and_becomes_the_runs_adapter(pocket_config, tmp_path, capsys):
    own: Tuner = make_tuner(pocket_config)
    ours = f"text_encoder.{own_prefix()}"
    state = {f"text_model.{name.removeprefix(ours)}": value for name, value in own.base.items()}
    for name, changes in (("same", 0.0), ("other", 0.02)):
        changed = {
            n: v + changes * torch.randn(v.shape, generator=torch.Generator().manual_seed(0)) for n, v in state.items()
        }
        torch.save(changed, tmp_path / f"{name}.pth")
        import_source("text-encoder", tmp_path / f"{name}.pth", Options(), tmp_path / name)
    same, other = (tune(pocket_config, tmp_path / "run", tmp_path / name) for name in ("same", "other"))
    assert same.before == same.after == other.before
    assert other.after != other.before
    assert not other.history
    assert load_file(tmp_path / "run/adapters" / f"{other.adapter}.safetensors").keys() == own.base.keys()

    config = tmp_path / "c.yaml"
    config.write_text(
        "parameters:\n  generator: {model: models/pocket/diffusion, width: 32, height: 32, num_inference_steps: 2}\n"
        "  synthesis: {image_format: png}\n"
    )
    images = []
    for adapter in ("same", "other"):
        command = ["generate", "a photo of a dog", "-c", str(config), "--out", str(tmp_path / "made"), "--count", "2"]
        assert main([*command, "--adapter", str(tmp_path / adapter)]) == 0
        images.append(capsys.readouterr().out.splitlines())
    assert len({*images[0], *images[1]}) == 4
    assert main(["generate", "a <dog>", "-c", str(config), "--out", str(tmp_path / "x")]) == 2
    assert "no adapter holds the word 'dog'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_free_prompt_says_an_imported_word(pocket_config, synthesis, tmp_path):
    width = make_tuner(pocket_config).base[f"text_encoder.{own_prefix()}{EMBEDDING}"].shape[1]
    torch.save(
        {"<zebra>": torch.randn(width, generator=torch.Generator().manual_seed(1))}, tmp_path / "learned_embeds.bin"
    )
    import_source("words", tmp_path / "learned_embeds.bin", Options(), tmp_path / "words")
    made = [
        generate(
            FreePrompt("a photo of a <zebra> on a beach", count=2, seed=seed),
            pocket_config,
            synthesis,
            tmp_path / "made",
            tmp_path / "words",
        )
        for seed in (0, 0, 1)
    ]
    assert made[0] == made[1]
    assert len({*made[0], *made[2]}) == 4
    assert all(path.is_file() for path in made[2])
