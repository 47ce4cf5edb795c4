"""LoRAs as diffusers, peft and kohya write them give what the stock call gives; rows without one keep their id and pixels."""

import json
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from figment.adaptation.adapters import save_adapter
from figment.model_loaders.lora import place_lora
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import Row, record_of
from figment.synthesis import loras as module
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import check_generator, model_revision

TARGETS = {"unet": ["to_q", "to_out.0"], "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]}
KOHYA = {"unet": "lora_unet", "text_encoder": "lora_te"}
STRENGTH = 0.3


def stock_pipeline(config) -> StableDiffusionPipeline:
    stock = StableDiffusionPipeline.from_pretrained(config.model, safety_checker=None, torch_dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    return stock


def save_lora(
    config, folder: Path, seed: int, rank: int = 4, alpha: int = 2, parts=("unet", "text_encoder")
) -> SimpleNamespace:
    """A random LoRA in the three formats: files of diffusers and kohya, a folder of peft."""
    stock, layers, kohya = stock_pipeline(config), {}, {}
    random = torch.Generator().manual_seed(seed)
    for part in parts:
        network = getattr(stock, part)
        network.add_adapter(
            peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS[part]), adapter_name="made"
        )
        for name, parameter in network.named_parameters():
            if ".lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=random) * STRENGTH
        found = peft.get_peft_model_state_dict(network, adapter_name="made")
        layers[part] = found
        own = folder / "peft" / part
        own.mkdir(parents=True)
        save_file(
            {f"base_model.model.{n}": t.contiguous() for n, t in found.items()}, own / "adapter_model.safetensors"
        )
        settings = {"r": rank, "lora_alpha": alpha, "target_modules": TARGETS[part], "peft_type": "LORA"}
        (own / "adapter_config.json").write_text(
            json.dumps(settings | {"base_model_name_or_path": "x", "revision": None})
        )
        for name, tensor in found.items():
            module_name, side = name.rsplit(".lora_", 1)
            prefix = "text_model." if part == "text_encoder" and not module_name.startswith("text_model.") else ""
            key = f"{KOHYA[part]}_{(prefix + module_name).replace('.', '_')}"
            kohya[f"{key}.lora_{'down' if side.startswith('A') else 'up'}.weight"] = tensor.contiguous()
            kohya[f"{key}.alpha"] = torch.tensor(float(alpha))
    scales = {
        f"{part}_lora_adapter_metadata": {"r": rank, "lora_alpha": alpha, "target_modules": TARGETS[part]}
        for part in parts
    }
    stock.save_lora_weights(folder, **{f"{part}_lora_layers": found for part, found in layers.items()}, **scales)
    save_file(kohya, folder / "kohya.safetensors")
    diffusers = folder / "pytorch_lora_weights.safetensors"
    return SimpleNamespace(diffusers=diffusers, kohya=folder / "kohya.safetensors", peft=folder / "peft")


@pytest.fixture(scope="module")
def made(pocket_config, tmp_path_factory):
    """Two LoRAs."""
    return [save_lora(pocket_config, tmp_path_factory.mktemp("lora"), seed, rank=4 + seed) for seed in range(2)]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "adapters"


def rows_for(config: GeneratorConfig, count: int = 1, adapter: str = "", **more) -> list[dict]:
    columns = config.columns(model_revision(config), adapter)
    return [
        record_of(
            Row(
                prompt="a photo of a car",
                labels=("car",),
                recipe="r",
                trick="t",
                stream=0,
                replicate=i,
                **columns,
                **more,
            )
        )
        for i in range(count)
    ]


def with_loras(config: GeneratorConfig, *loras: tuple[Path, float]) -> GeneratorConfig:
    return GeneratorConfig(
        **config.model_dump(exclude={"loras"}), loras=[{"file": str(f), "weight": w} for f, w in loras]
    )


def generator_on(config: GeneratorConfig, folder: Path) -> Generator:
    for lora in config.loras:
        place_lora(Path(lora.file), folder, "lora")
    return Generator(config.model, model_revision(config), SynthesisConfig(batch_size=8, device="cpu"), Inputs(folder))


def called(stock, row: dict) -> torch.Tensor:
    images = stock(
        row["prompt"], guidance_scale=row["guidance_scale"], num_inference_steps=row["num_inference_steps"],
        generator=torch.Generator().manual_seed(row["seed"]), height=32, width=32, output_type="np",
    ).images  # fmt: skip
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_the_three_formats_give_what_the_stock_call_gives(pocket_config, made, folder):
    stock = stock_pipeline(pocket_config)
    stock.load_lora_weights(made[0].diffusers.parent, weight_name=made[0].diffusers.name, adapter_name="own")
    stock.set_adapters("own", 0.7)
    row = rows_for(pocket_config)[0]
    expected = called(stock, row)
    for name, file in vars(made[0]).items():
        config = with_loras(pocket_config, (file, 0.7))
        check_generator(config)
        (own,) = rows_for(config)
        assert own["image_id"] != row["image_id"]
        assert len(own["adapter"]) == 64 + len("*0.7")
        pixels = generator_on(config, folder).render([own | {"seed": row["seed"]}]).pixels
        assert float((pixels - expected).abs().max()) < (2e-6 if name == "diffusers" else 1e-5), name


def test_several_are_added_each_with_its_weight(pocket_config, made, folder):
    stock = stock_pipeline(pocket_config)
    for i, lora in enumerate(made):
        stock.load_lora_weights(lora.diffusers.parent, weight_name=lora.diffusers.name, adapter_name=f"l{i}")
    stock.set_adapters(["l0", "l1"], [0.5, -0.8])
    config = with_loras(pocket_config, (made[0].diffusers, 0.5), (made[1].diffusers, -0.8))
    (row,) = rows_for(config)
    assert torch.allclose(generator_on(config, folder).render([row]).pixels, called(stock, row), atol=2e-6)


def test_rows_without_a_lora_and_with_others_share_a_generator(pocket_config, made, folder, generator, monkeypatch):
    """Also where fewer fit on the device than rows name."""
    monkeypatch.setattr(module, "MAX_LORAS", 1)
    plain = rows_for(pocket_config, 2)
    configs = [with_loras(pocket_config, (lora.diffusers, 1.0)) for lora in made]
    rows = [rows_for(configs[0])[0], plain[0], rows_for(configs[1])[0], plain[1], rows_for(configs[0], 2)[1]]
    shared = generator_on(with_loras(pocket_config, *((lora.diffusers, 1.0) for lora in made)), folder)
    together = shared.render(rows).pixels
    assert len(shared.encode.loras._loaded) == 1
    assert torch.allclose(together[[1, 3]], generator.render(plain).pixels, atol=1e-4)
    for i, config in ((0, configs[0]), (2, configs[1]), (4, configs[0])):
        alone = generator_on(config, folder).render([rows[i]]).pixels
        assert torch.allclose(together[i : i + 1], alone, atol=1e-4)


def test_beside_a_tuned_text_encoder_it_is_added_to_the_tuned_weights(pocket_config, made, folder):
    weights = load_file(Path(pocket_config.model) / "text_encoder" / "model.safetensors")
    name = next(n for n in weights if n.endswith("layers.0.self_attn.q_proj.weight"))
    shifted = weights[name].float() + 0.1
    stock = stock_pipeline(pocket_config)
    known = dict(stock.text_encoder.named_parameters())
    own = next(n for n in known if n.endswith("layers.0.self_attn.q_proj.weight"))
    tuned = save_adapter({f"text_encoder.{own}": shifted}, folder, {})
    known[own].data = shifted
    stock.load_lora_weights(made[0].diffusers.parent, weight_name=made[0].diffusers.name)
    config = with_loras(pocket_config, (made[0].diffusers, 1.0))
    (row,) = rows_for(config, adapter=tuned)
    assert row["adapter"].startswith(f"{tuned}+")
    loaded = generator_on(config, folder)
    loaded.render(rows_for(config))  # the LoRA is around the layers before the tuned weights are read
    assert torch.allclose(loaded.render([row]).pixels, called(stock, row), atol=2e-6)


def test_lanes_that_want_different_loras_take_turns(pocket_config, made, folder):
    from concurrent.futures import ThreadPoolExecutor

    configs = [pocket_config, *(with_loras(pocket_config, (lora.diffusers, 1.0)) for lora in made)]
    shared = generator_on(with_loras(pocket_config, *((lora.diffusers, 1.0) for lora in made)), folder)
    rows = [rows_for(config, 3) for config in configs]
    expected = {row["image_id"]: shared.render([row]).pixels for own in rows for row in own}
    lanes = [shared.lane() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            (row, pool.submit(lanes[i].render, [row]))
            for j in range(3)
            for i, own in enumerate(rows)
            for row in [own[j]]
        ]
        for row, job in jobs:
            assert torch.equal(job.result(timeout=60).pixels, expected[row["image_id"]])
