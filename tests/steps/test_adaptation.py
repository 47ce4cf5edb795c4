"""Words are learned once, whatever happens to the probe."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from figment.adaptation.concept_learning import Learning
from figment.adaptation.config import InversionConfig, LoraConfig, ProbeConfig
from figment.adaptation.kinds import textual_inversion as kind
from figment.adaptation.lora import LoraLearning, LorasFile
from figment.clip.scorer import ClipConfig
from figment.images import encode
from figment.labels import LabelSpace
from figment.manifests import FileRef, Prepared
from figment.reading import read_artifact
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.sources import Sources
from steps import adaptation
from tests.recipes import recipe_of

SPACE = LabelSpace.of(("apple", "car"))
LEARNING = InversionConfig(steps=2, batch_size=1, templates=("a photo of a {name}",))


@pytest.fixture
def output(tmp_path, monkeypatch) -> Path:
    """A run's folder with one photo a class, 80 x 60; nothing is logged."""
    for name in ("log_metrics", "log_file"):
        monkeypatch.setattr(adaptation.tracking, name, lambda *values: None)
    sources, rows = Sources(tmp_path / "sources"), []
    for number, name in enumerate(SPACE.names):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        rows.append({"label": name, "where": name, "image": sources.keep(encode(pixels, "png"))})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "photos.parquet")
    return tmp_path


def adapt(output: Path, generator, methods: dict, **learning) -> FileRef:
    clip = ClipConfig(model="local-dir:models/pocket/clip", device="cpu")
    known = {
        "generator": generator,
        "clip": clip,
        "synthesis": SynthesisConfig(device="cpu"),
        "adaptation": {"probe": ProbeConfig(images=1), **learning},
    }
    recipe = recipe_of("few_shot", output, methods=methods, **known)
    data = Prepared(photos=FileRef.of(output / "photos.parquet"))
    (file,) = adaptation.adapt_generator.entrypoint(recipe, SPACE, SPACE, data).files
    return file


def learn(output: Path, generator) -> FileRef:
    return adapt(output, generator, {"all": {"images": 1, "concepts": True}}, inversion=LEARNING)


def test_words_are_not_learned_again_after_a_probe_that_was_killed(output, pocket_config, monkeypatch):
    numbers, step, probe = [], Learning.step, kind.probe_concepts
    monkeypatch.setattr(Learning, "step", lambda self, number: (numbers.append(number), step(self, number))[1])

    def killed(*values):
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "probe_concepts", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(output, pocket_config)
    (before,) = (output / "adapters").glob("[!.]*")
    monkeypatch.setattr(kind, "probe_concepts", probe)
    learn(output, pocket_config)
    assert numbers == [0, 1]
    assert {file.name for file in (output / "adapters").iterdir()} == {before.name, f"{before.stem}.probe.json"}


def test_words_are_learned_from_small_images_and_tried_on_one_whole_photo_at_a_time(output, pocket_config, monkeypatch):
    def learn_concepts(generator, photos, *values):
        assert {image.shape for own in photos.values() for image in own} == {(32, 32, 3)}
        return output / "adapters/made.safetensors"

    def probe_concepts(adapter, probing):
        for own in probing.photos.values():
            assert iter(own) is own, "all in memory"
            assert [photo.shape for photo in own] == [(60, 80, 3)]
        return {}

    monkeypatch.setattr(kind, "learn_concepts", learn_concepts)
    monkeypatch.setattr(kind, "probe_concepts", probe_concepts)
    learn(output, pocket_config)


def test_a_photo_teaches_what_its_small_image_does(output, pocket_config):
    sources, rows = Sources(output / "sources"), pq.read_table(output / "photos.parquet").to_pylist()
    whole = {row["label"]: [np.asarray(sources.read(row["image"]))] for row in rows}
    small = {row["label"]: [np.asarray(sources.image(row["image"], 32, 32))] for row in rows}
    one, other = (
        Learning(pocket_config, photos, {name: name for name in SPACE.names}, LEARNING) for photos in (whole, small)
    )
    for name in SPACE.names:
        assert all(map(torch.equal, one.latents[name], other.latents[name]))


def test_loras_are_learned_once_and_the_unusable_are_told(output, pocket_config, monkeypatch, capsys):
    numbers, step = [], LoraLearning.step
    monkeypatch.setattr(
        LoraLearning, "step", lambda self, group, n: (numbers.append((group, n)), step(self, group, n))[1]
    )
    learning = LoraConfig(steps=2, batch_size=1, rank=2, templates=("a photo of a {name}",))

    def learn_loras(retrieval: float) -> LorasFile:
        changes = {"lora": learning, "probe": ProbeConfig(images=1, retrieval=retrieval)}
        made = adapt(output, pocket_config, {"all": {"images": 1, "lora": True}}, **changes)
        return read_artifact(made.open(), LorasFile)

    found = learn_loras(0.0)
    assert sorted(found.loras) == sorted(found.probes) == ["apple", "car"]
    files = {file.stem for file in (output / "adapters").iterdir()}
    assert {adapter.partition("*")[0] for adapter in found.loras.values()} == files
    assert learn_loras(0.0) == found
    assert numbers == [("apple", 0), ("apple", 1), ("car", 0), ("car", 1)]
    strict = learn_loras(1.0)
    told = capsys.readouterr().err
    assert all(
        f"the LoRA learned for {name!r} is not used" in told for name in found.probes.keys() - strict.loras.keys()
    )
