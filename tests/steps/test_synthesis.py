"""Every step that renders does it by ``synthesis.workers`` processes, which run here in this one (``shares``)."""

import re
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.clip.scorer import ClipConfig
from figment.errors import InputError
from figment.manifests import FileRef
from figment.ops import tracking
from figment.planning.plan import write_plan
from figment.planning.quotas import QuotaConfig
from figment.prompts.tricks import Prompt, Wording, build_tricks, write_prompts
from figment.synthesis.pool import Pool
from figment.validation.policies import CocoPolicy
from figment.validation.verdicts import AcceptanceConfig
from steps import synthesis as steps
from steps.few_shot.synthesis import make_pictures
from steps.semantic.generating import render_unseen
from steps.synthesis import render_part, synthesise_images
from steps.tailored import synthesis as tailored

CLIP = ClipConfig(model="local-dir:models/pocket/clip")
PASSES = AcceptanceConfig(min_probability=0, require_top1=False, min_contrast=0)


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    """What is logged as metrics; nothing is estimated."""
    numbers = {}
    monkeypatch.setattr(tracking, "log_metrics", lambda stage, values, step=None: numbers.update(values))
    for name in ("log_parameters", "log_dataset"):
        monkeypatch.setattr(tracking, name, lambda *said: None)
    monkeypatch.setattr(steps, "announce", lambda *said: None)
    return numbers


@pytest.fixture
def planned(plan, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    return FileRef.of(tmp_path / "plan.parquet")


def rendered_by_workers(folder) -> int:
    """As their logs say."""
    said = [log.read_text() for log in (folder / "workers").glob("*.log")]
    return sum(int(number) for text in said for number in re.findall(r"(\d+) images rendered", text))


@pytest.mark.parametrize("step", [make_pictures, render_unseen])
def test_few_shot_and_semantic_diversity_render_by_workers(step, planned, synthesis, tmp_path, shares, logged):
    step.entrypoint(planned, synthesis.model_copy(update={"workers": 2}), CLIP)
    assert shares == ["0/2", "1/2"]
    assert rendered_by_workers(tmp_path) == len(Pool(tmp_path / "images")) == 18
    assert (logged["planned"], logged["rendered"]) == (18, 18)


def test_a_part_renders_by_workers(planned, synthesis, tmp_path, shares):
    config = synthesis.model_copy(update={"workers": 2, "shard_size": 3})
    assert render_part.entrypoint(planned, config, CLIP, 1, 2) == 9
    assert shares == ["1/4", "3/4"]
    assert rendered_by_workers(tmp_path) == len(Pool(tmp_path / "images")) == 9


def test_parts_share_the_budget(planned, synthesis, tmp_path):
    """Nine images, shards of three: a part may begin one."""
    config = synthesis.model_copy(update={"shard_size": 3, "max_images": 9})
    for part in (0, 1):
        said = "max_images 9, 4 for each of 2 parts, would be exceeded; 3 images were made. Run again to go on"
        with pytest.raises(InputError, match=said):
            render_part.entrypoint(planned, config, CLIP, part, 2)
    assert len(Pool(tmp_path / "images")) == 6


def test_the_bag_of_tricks_renders_its_top_ups_by_workers_too(
    planned, labels, pocket_config, synthesis, tmp_path, shares, logged
):
    """Three of each of six sets pass; five are wanted."""
    names = ["base_class", "random_guidance"]
    book = write_prompts(labels, build_tricks(names, ["photo"], pocket_config.guidance_scale))
    pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in book]), tmp_path / "prompts.parquet")
    topped_up, _ = synthesise_images.entrypoint(
        labels,
        FileRef.of(tmp_path / "prompts.parquet"),
        planned,
        names,
        ["photo"],
        Wording(),
        pocket_config,
        synthesis.model_copy(update={"workers": 2}),
        CLIP,
        PASSES,
        QuotaConfig(accepted=5, max_attempts=10),
        None,
        0,
    )
    assert shares == ["0/2", "1/2"] * 2
    assert len(pq.read_table(topped_up.path)) == len(Pool(tmp_path / "images")) == 30
    assert (logged["planned"], logged["rendered"]) == (30, 30)


def test_tailored_renders_its_top_ups_by_workers_too(
    labels, pocket_config, synthesis, tmp_path, shares, logged, monkeypatch
):
    monkeypatch.setattr(tailored, "check_plan", lambda *said: None)
    monkeypatch.setattr(tailored, "validate_multilabel", lambda plan, **kind: everything_passes(plan))
    book = [Prompt(f"a photo of a {name}", (name,), "pairs") for name in labels.names]
    pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in book]), tmp_path / "prompts.parquet")
    tailored.synthesise_pairs.entrypoint(
        labels,
        FileRef.of(tmp_path / "prompts.parquet"),
        pocket_config,
        "",
        synthesis.model_copy(update={"workers": 2}),
        CLIP,
        CocoPolicy(policy="coco"),
        5,
        QuotaConfig(accepted=8, max_attempts=10),
        0,
        str(tmp_path),
    )
    assert shares == ["0/2", "1/2"] * 2
    assert len(pq.read_table(tmp_path / "plan.parquet")) == len(Pool(tmp_path / "images")) == 24
    assert (logged["planned"], logged["rendered"]) == (24, 24)


def everything_passes(plan: pa.Table) -> pa.Table:
    verdict = {"accepted": True, "reason": "accepted", "predicted": ""}
    return pa.Table.from_pylist([{"image_id": i} | verdict for i in plan["image_id"].to_pylist()])
