"""The workshop, whole, at a size that takes seconds: every stage of both worlds trains once and is skipped afterwards."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from PIL import Image

from figment.errors import InputError
from pocket import make
from pocket.photos import FILTERS, PhotosConfig, photo_bank, read_photos

STAGE = {"steps": 2, "batch_size": 4, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        rows = []
        for i in range(count):
            buffer = io.BytesIO()
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
            rows.append({"img": {"bytes": buffer.getvalue(), "path": None}, "label": i % 10})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return folder


@pytest.fixture
def recipe(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("pocket.loop.REFRESHING_BATCHES", 1)
    monkeypatch.setattr(make, "GATE", 1.0)
    values = {
        "world": {"source": str(photos), "copies": 1},
        "judge": {**STAGE, "channels": [8, 8, 8, 8], "shift": True},
        "autoencoder": STAGE,
        "clip": {**STAGE, "shift": True},
        "generator": {**STAGE, "channels": [32, 32], "min_snr": 5},
        "measure": {"num_inference_steps": 1, "per_object": 2, "guidance_curve": [2.0]},
        "work": str(tmp_path / "work"),
        "ship_to": str(tmp_path / "models"),
    }
    file = tmp_path / "photos.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_every_stage_of_the_photographs_trains_once(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make", str(recipe), "--device", "cpu"])
    make.main()
    workshop = make.Workshop(make.load_recipe(recipe, []), "cpu")
    pipeline = StableDiffusionPipeline.from_pretrained(workshop.finished("generator"), torch_dtype=torch.float32)
    assert pipeline("a photo of a cat", num_inference_steps=2, output_type="np").images.shape == (1, 32, 32, 3)
    measures = json.loads((workshop.finished("measure") / "measures.json").read_text())
    assert set(measures["generator"]["objects"]) == set(workshop.objects)
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"diffusion", "clip", "judge"}
    lines = (workshop.folder / "log.jsonl").read_text()
    make.main()
    assert (workshop.folder / "log.jsonl").read_text() == lines


def test_a_blurred_autoencoder_stops_before_the_generator(recipe, monkeypatch):
    monkeypatch.setattr(make, "top1", lambda logits, labels: {0: 0.9}.get(calls.append(0) or len(calls) - 1, 0.5))
    calls: list[int] = []
    monkeypatch.setattr(make, "GATE", 0.05)
    workshop = make.Workshop(make.load_recipe(recipe, []), "cpu")
    for stage in ("judge", "autoencoder"):
        workshop.run(stage)
    calls.clear()
    with pytest.raises(InputError, match=r"names 50\.0% of reconstructions, 90\.0% of the images"):
        workshop.run("generator")
    assert not workshop.finished("generator").exists()


def test_a_bank_of_photos_has_every_domain_and_a_caption_that_names_the_class(photos):
    pixels, labels = read_photos(photos, "train")
    bank = photo_bank(pixels, labels, PhotosConfig(source=str(photos), copies=2))
    assert len(bank.captions) == len(bank.pixels) == 40 * (2 + len(FILTERS))
    assert bank.pixels.dtype == torch.uint8
    assert torch.equal(bank.pixels[40:80], pixels.flip(3))
    frogs = [c for c, o in zip(bank.captions, bank.objects, strict=True) if o[6]]
    assert all("frog" in caption for caption in frogs)


def test_no_photos_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"no train\*\.parquet"):
        read_photos(tmp_path, "train")
