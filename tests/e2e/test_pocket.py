"""The pocket pipeline, whole, at a size that takes a minute: every stage trains, is measured and shipped."""

import json
from pathlib import Path

import pytest
import yaml

from figment.ops.run import main

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fewer_renders(monkeypatch):
    monkeypatch.setattr("pocket.measure.RENDERS", 48)
    monkeypatch.setattr("pocket.loop.REFRESHING_BATCHES", 2)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pocket")
    config = yaml.safe_load(Path("configs/pocket/pocket.yaml").read_text())
    parameters = config["parameters"]
    parameters["world"].update(objects=["car", "frog", "banana"], scenes=2300, calm_scenes=300, judge_scenes=300)
    parameters["judge"].update(steps=12, batch_size=16)
    parameters["autoencoder"].update(steps=10, batch_size=16)
    parameters["clip"].update(steps=6, batch_size=16)
    parameters["generator"].update(steps=6, batch_size=16)
    parameters["chat"].update(steps=3, batch_size=4)
    parameters["measure"].update(num_inference_steps=2, per_object=2, guidance_curve=[1.0, 4.0])
    parameters.update({name: str(folder / name) for name in ("work", "output", "ship_to")})
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_blurred_autoencoder_stops_the_pipeline_at_its_gate(config, capfd, monkeypatch):
    monkeypatch.setattr("steps.pocket.autoencoder.measure_autoencoder", lambda *a, **k: {"photo": GATE_MISSED})
    assert main(["pipelines.pocket.pocket", "-c", str(config)]) == 2
    assert "autoencoder gate: the judge names 50.0% of reconstructed photos, 90.0%" in capfd.readouterr().err


GATE_MISSED = {"render": 0.9, "reconstruction": 0.5}


def test_it_trains_measures_and_ships_and_goes_on_from_its_checkpoints(config, monkeypatch):
    monkeypatch.setattr("steps.pocket.autoencoder.TOLERANCE", 1.0)  # ten steps cannot pass the gate
    parameters = yaml.safe_load(config.read_text())["parameters"]
    checkpoints = list(Path(parameters["work"]).rglob("autoencoder/checkpoint.safetensors"))
    assert len(checkpoints) == 1  # the stopped run's
    before = checkpoints[0].read_bytes()
    assert main(["pipelines.pocket.pocket", "-c", str(config)]) == 0
    assert checkpoints[0].read_bytes() == before

    shipped = Path(parameters["ship_to"])
    assert {path.name for path in shipped.iterdir()} == {"diffusion", "clip", "chat", "judge"}
    assert json.loads((shipped / "diffusion" / "vocabulary.json").read_text()) == ["banana", "car", "frog"]
    measures = json.loads((Path(parameters["output"]) / "measures.json").read_text())
    assert [point["guidance"] for point in measures["generator"]["guidance"]] == [1.0, 4.0]
    assert set(measures["clip"]) == {"training art", "unseen art"}
    assert len(list(Path(parameters["output"]).glob("*.png"))) == 4
