from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.images import decode
from figment.labels import Label, LabelSpace
from figment.planning.generator_config import Origin
from figment.planning.pairs import plan_pairs
from figment.planning.plan import make_plan, write_plan
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.validation import grouping_softmax
from figment.validation.grouping import presence_probabilities
from figment.validation.policies import CalibratedPolicy, CocoPolicy, NusPolicy, Top1Policy, calibrate
from figment.validation.validate import missed_targets, settle_on_pool, validate
from figment.validation.verdicts import REASONS, SCHEMA, shown_labels, yields

POCKET = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, labels, pocket_config, synthesis) -> tuple[Path, Pool]:
    """36 images in several shards: each class alone and beside another."""
    folder = tmp_path_factory.mktemp("pairs")
    write_plan(
        plan_pairs(labels, [0, 1, 2], 12, Origin(pocket_config, model_revision(pocket_config), 0, "pairs")),
        folder / "plan",
    )
    pool = Pool(folder / "images")
    synthesise(folder / "plan", pool, synthesis)
    assert len(pool.shards) > 1
    return folder / "plan", pool


def test_verdicts_of_pairs_are_the_policys_on_the_grouping_softmax_of_the_images(pairs, labels):
    verdicts = validate(*pairs, labels, POCKET, CocoPolicy(min_probability=0.99)).to_pylist()
    scorer = POCKET
    text = scorer.text_features(labels)
    seen = {}
    for batch in pairs[1].read([v["image_id"] for v in verdicts], ["image_id", "image", "labels"]):
        for row in batch.to_pylist():
            image = np.asarray(decode(row["image"]["bytes"], ""))
            logits = scorer.logits(torch.from_numpy(image).permute(2, 0, 1)[None], text).cpu()
            requested = torch.tensor([[name in row["labels"] for name in labels.names]])
            seen[row["image_id"]] = grouping_softmax(logits, requested)[0].tolist()
            assert len(row["labels"]) in (1, 2)
    assert [v["image_id"] for v in verdicts] == sorted(seen)
    assert len(seen) == 36
    for v in verdicts:
        own = dict(zip(labels.names, seen[v["image_id"]], strict=True))
        assert v["probability"] == pytest.approx(min(own[name] for name in v["labels"]), abs=1e-3)
        sure = {name for name, p in own.items() if p > 0.99}
        assert v["accepted"] == (v["reason"] == "accepted") == (set(v["predicted"]) == set(v["labels"]) == sure)
    assert {v["reason"] for v in verdicts} <= set(REASONS)
    assert 0 < sum(v["accepted"] for v in verdicts) < 36


def test_a_target_precision_takes_its_thresholds_from_the_pools_own_images(pairs, labels):
    """Blank ones, which pass anyway not, are no evidence."""
    looked = validate(*pairs, labels, POCKET, CocoPolicy()).to_pylist()
    bar = sorted(v["contrast"] for v in looked)[4]
    target = CalibratedPolicy(target_precision=0.6, min_contrast=bar)
    asked = np.array([[name in v["labels"] for name in labels.names] for v in looked])
    presence = presence_of([v["image_id"] for v in looked], pairs[1], labels, asked)
    clear = np.array([v["contrast"] >= bar for v in looked])
    expected = calibrate(presence[clear], asked[clear], labels, 0.6)
    settled = settle_on_pool(*pairs, labels, POCKET, target)
    assert settled.min_contrast == bar
    for name, level in settled.thresholds.items():
        assert level.model_dump() == pytest.approx(expected[name].model_dump(), abs=1e-4)
    assert len({level.value for level in settled.thresholds.values()}) == 3
    verdicts = validate(*pairs, labels, POCKET, target)
    assert verdicts.equals(validate(*pairs, labels, POCKET, settled))
    assert verdicts["reason"].to_pylist().count("near_uniform") == 4
    shown = presence_of(verdicts["image_id"].to_pylist(), pairs[1], labels, asked)
    for v, own in zip(verdicts.to_pylist(), shown, strict=True):
        of = dict(zip(labels.names, own, strict=True))
        passes = v["contrast"] >= bar and all(of[n] >= settled.thresholds[n].value for n in v["labels"])
        assert v["accepted"] == passes
    assert 0 < sum(verdicts["accepted"].to_pylist()) < len(verdicts)
    assert settle_on_pool(*pairs, labels, POCKET, settled) is settled


def presence_of(ids: list[str], pool: Pool, labels: LabelSpace, asked: np.ndarray) -> np.ndarray:
    rows = {row["image_id"]: row["image"] for b in pool.read(ids, ["image_id", "image"]) for row in b.to_pylist()}
    pixels = torch.from_numpy(np.stack([np.asarray(decode(rows[i]["bytes"], "")) for i in ids])).permute(0, 3, 1, 2)
    scorer = POCKET
    logits = scorer.logits(pixels, scorer.text_features(labels)).cpu()
    return presence_probabilities(logits, torch.from_numpy(asked)).numpy()


def test_classes_that_no_threshold_holds_to_the_target_are_named(pairs, labels):
    unreachable = settle_on_pool(*pairs, labels, POCKET, CalibratedPolicy(target_precision=0.999))
    verdicts = validate(*pairs, labels, POCKET, unreachable)
    said = missed_targets(unreachable.thresholds, verdicts)
    assert [clause.split()[0] for clause in said] == list(labels.names)
    assert all(" (at " in clause and " between " in clause for clause in said)
    only = verdicts.filter([v["labels"] == [labels.names[0]] for v in verdicts.to_pylist()])
    assert [clause.split()[0] for clause in missed_targets(unreachable.thresholds, only)] == [labels.names[0]]
    assert (
        missed_targets({n: t.model_copy(update={"reached": True}) for n, t in unreachable.thresholds.items()}, verdicts)
        == []
    )


def test_what_passed_is_trained_on_as_what_was_seen():
    rows = [
        {"image_id": "a", "accepted": True, "labels": ["dog", "bus"], "predicted": ["bus", "cup", "dog"]},
        {"image_id": "b", "accepted": False, "labels": ["dog"], "predicted": []},
        {"image_id": "c", "accepted": True, "labels": ["cup"], "predicted": ["cup"]},
    ]
    verdicts = pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in rows[0]]))
    assert shown_labels(verdicts) == {"a": ["bus", "cup", "dog"], "c": ["cup"]}
    assert yields(verdicts, "labels") == {"bus": 1.0, "cup": 1.0, "dog": 0.5}


def test_for_single_labels_it_is_the_zero_shot_softmax(plan, pool, labels):
    several = validate(plan, pool, labels, POCKET, CocoPolicy(min_probability=0))
    single = validate(plan, pool, labels, POCKET, Top1Policy(min_probability=0))
    assert several["image_id"] == single["image_id"]
    for row, verdict in zip(several.to_pylist(), single.to_pylist(), strict=True):
        assert row["labels"] == verdict["labels"]
        assert row["probability"] == pytest.approx(verdict["probability"], abs=1e-5)
        assert row["accepted"] == verdict["accepted"]


def test_only_the_plans_images_are_judged_and_only_those_that_are_there(pairs, labels, pocket_config, tmp_path):
    """So a plan may be validated while it is being rendered, and a pool may hold the images of several plans."""
    other = make_plan(plan_pairs(labels, [0], 14, Origin(pocket_config, model_revision(pocket_config), 0, "pairs")))
    verdicts = validate(other, pairs[1], labels, POCKET, NusPolicy(top_k=1))
    assert len(verdicts) == 12
    assert set(verdicts["image_id"].to_pylist()) < set(other["image_id"].to_pylist())
    nothing = validate(other, Pool(tmp_path / "images"), labels, POCKET, NusPolicy())
    assert nothing.equals(SCHEMA.empty_table())


def test_a_class_that_cannot_be_checked_is_a_sentence(pairs, labels):
    without = LabelSpace(labels=labels.labels[:2])
    sentence = r"image [0-9a-f]{12}: was asked to show 'banana', which is not among the 2 classes to check against"
    with pytest.raises(InputError, match=sentence):
        validate(*pairs, without, POCKET, CocoPolicy())


def test_clip_is_asked_for_its_own_name_of_a_class():
    scorer = POCKET
    plain, renamed = (
        scorer.text_features(LabelSpace(labels=(label, Label(name="car"))))
        for label in (Label(name="frog"), Label(name="frog", prompt_name="frog equipment", clip_name="frog"))
    )
    prompted = scorer.text_features(
        LabelSpace(labels=(Label(name="frog", prompt_name="frog truck"), Label(name="car")))
    )
    assert torch.equal(plain, renamed)
    assert not torch.equal(plain[0], prompted[0])
