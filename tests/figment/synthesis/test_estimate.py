import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from figment.planning.plan import make_plan, union
from figment.planning.row import row_of
from figment.synthesis import estimate as module
from figment.synthesis.estimate import estimate, flops_per_image, peak_flops
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.sources import Sources


def test_an_estimate_says_what_there_is_to_do_and_what_it_takes(plan, synthesis, tmp_path):
    config = synthesis.model_copy(update={"price_per_hour": 3.6})
    said = estimate(plan, Pool(tmp_path), config, Renderers(config))
    assert (said.planned, said.todo) == (18, 18)
    assert said.counts == {
        (label, trick): 3 for label in ("car", "frog", "banana") for trick in ("base_class", "random_guidance")
    }
    assert said.hours * 3600 * said.images_per_second == pytest.approx(18)
    assert abs(said.cost - said.hours * 3.6) < 1e-9
    assert 0 < said.utilisation < 10  # of two rates measured one after the other, on a machine that may be busy
    assert 18 * 500 < said.gigabytes * 1e9 < 18 * 5000
    assert set(said.metrics()) >= {"estimate/hours", "estimate/mfu", "estimate/cost"}
    assert len(said.table().columns) == 3


def test_actors_share_the_work_of_gpus(plan, synthesis, tmp_path, monkeypatch):
    """18 images at 10 s each on two GPUs, by actors that each take the next shard. A CPU's actors share its cores."""
    monkeypatch.setattr(module, "calibrate", lambda renderers, batches, config: (70.0, [100] * 7))
    monkeypatch.setattr(module, "flops_per_image", lambda generator, row: 1.0)
    monkeypatch.setattr(module, "peak_flops", lambda device, dtype: 1.0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = synthesis.model_copy(update={"engine": "ray", "workers": 2, "price_per_hour": 8.0})
    for device, images in (("cuda", 9), ("cpu", 18)):
        renderers = SimpleNamespace(
            load=lambda *weights, at=device: SimpleNamespace(device=torch.device(at)), lanes=lambda: 1
        )
        said = estimate(plan, Pool(tmp_path), config, renderers)
        assert said.hours * 3600 == pytest.approx(images * 10)
        assert said.cost == pytest.approx(said.hours * 8)


def test_nothing_to_do_is_not_estimated(plan, pool, synthesis):
    assert estimate(plan, Pool(pool.folder), synthesis, Renderers(synthesis)) is None


def test_the_calibration_batches_are_not_rendered_again(plan, pool, synthesis, tmp_path, monkeypatch):
    renderers = Renderers(synthesis)
    estimate(plan, Pool(tmp_path), synthesis, renderers)
    rendered = []
    render = Generator.render
    monkeypatch.setattr(
        Generator, "render", lambda self, rows, n: (rendered.append(len(rows)), render(self, rows, n))[1]
    )
    assert synthesise(plan, Pool(tmp_path), synthesis, renderers=renderers).rendered == 18
    assert sum(rendered) == 18 - 7 * renderers.lanes()
    assert {s.file for s in Pool(tmp_path).shards.values()} == {s.file for s in pool.shards.values()}


def test_kinds_of_rows_are_timed_apart(plan, synthesis, tmp_path):
    """Ten times the steps take about ten times as long, and images made from others are no obstacle."""
    rows = [row_of(record) for record in plan.to_pylist()]
    long = make_plan(row.model_copy(update={"num_inference_steps": 40}) for row in rows)
    both = union(plan, long)
    said = [estimate(p, Pool(tmp_path), synthesis, Renderers(synthesis)) for p in (plan, both)]
    assert said[1].todo == 36
    assert said[1].hours > 4 * said[0].hours


def test_images_that_start_from_others_are_estimated(plan, synthesis, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    inputs = Inputs(sources=tmp_path / "sources")
    source = Sources(inputs.sources).add(tmp_path / "red.png")
    change = {"initial_image": source, "strength": 0.25}
    changed = make_plan(row_of(record).model_copy(update=change) for record in plan.to_pylist())
    said = estimate(changed, Pool(tmp_path / "images"), synthesis, Renderers(synthesis, inputs))
    assert said.todo == 18


def test_operations_are_counted_to_the_last_step(generator, plan):
    row = plan.to_pylist()[0] | {"guidance_scale": 1.0}
    steps = {n: flops_per_image(generator, row | {"num_inference_steps": n}) for n in (4, 8)}
    unet = (steps[8] - steps[4]) / 4
    guided = flops_per_image(generator, row | {"guidance_scale": 4.0, "num_inference_steps": 4})
    assert unet > 1e8  # a quarter of a GFLOP for a network of 6 M parameters on 8 x 8 latents
    assert abs(guided - steps[4] - 4 * unet) < 0.02 * guided


def test_the_peak_is_that_of_a_computer():
    assert 1e9 < peak_flops(torch.device("cpu"), torch.float32) < 1e14


def test_a_truncated_shard_is_set_aside_and_counts_as_missing(plan, pool, synthesis, tmp_path, caplog):
    shutil.copytree(pool.folder, tmp_path / "images")
    victim = sorted((tmp_path / "images").glob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:100])
    damaged = Pool(tmp_path / "images")
    lost = damaged.shards[victim.name].rows
    assert estimate(plan, damaged, synthesis, Renderers(synthesis)).todo == lost
    assert "set aside" in caplog.text
    assert not victim.exists()
