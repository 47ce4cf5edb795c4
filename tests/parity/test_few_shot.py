"""Golden values of "DIAGen" and of its published code."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.stats import chi2_contingency
from torch import nn

from figment.datasets import coco_largest
from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import draw_shots, read_splits
from figment.images import to_tensor
from figment.labels import Label, LabelSpace
from figment.metrics.accuracy import calibration_error, macro_accuracy
from figment.ops.environment import ROOT
from figment.planning.few_shot import Shot, Words, plan_few_shot
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.methods import Method
from figment.planning.sample_weights import Use, confidence_weight, use_of
from figment.prompts.chat import ChatConfig
from figment.prompts.contexts import (
    ContextConfig,
    compose_contexts,
    make_contexts,
    parse_contexts,
    parse_words,
    read_contexts,
)
from figment.training.backbone import Backbone
from figment.training.config import HeadConfig
from figment.training.filter_head import CalibratedHead
from figment.training.head import FeatureSet, HeadTraining, logits_of, train_head
from figment.training.sampling import sampling_law

CONFIG = yaml.safe_load((ROOT / "configs/paper/few_shot_custom_coco.yaml").read_text())
METHODS = {name: Method(**fields) for name, fields in CONFIG["parameters"]["methods"].items()}
ORIGIN = Origin(GeneratorConfig(model="some/model", scheduler="DDIMScheduler"), "main", 0, "few_shot")
CUSTOM_COCO = LabelSpace.load(ROOT / "configs/labels/custom_coco.yaml")
HELD_OUT = (27, 12, 20, 41, 10, 12, 34, 15, 20, 9, 18, 20, 11, 27, 17, 13, 21, 41, 10, 9, 31, 7, 9)
DRAWN = {
    0: ([4, 33, 30, 2, 3, 21, 26, 20], [17, 11, 7, 4, 2, 3, 18, 16], [24, 20, 5, 14, 16, 7, 25, 18]),
    1: ([6, 0, 9, 7, 34, 3, 23, 16], [5, 6, 11, 15, 8, 16, 19, 17], [5, 11, 17, 24, 14, 13, 16, 8]),
    2: ([26, 7, 27, 3, 24, 6, 25, 14], [14, 3, 18, 6, 1, 2, 10, 9], [20, 26, 14, 23, 17, 2, 18, 4]),
}  # fmt: skip


def custom_coco(folder, **options) -> FewShotDataConfig:
    return FewShotDataConfig(source="folders", root=str(folder), train="train-val", **options)


@pytest.mark.parametrize("shots", [2, 4, 8])
def test_p1_splits_of_custom_coco(custom_coco_folder, shots):
    splits = read_splits(custom_coco(custom_coco_folder), CUSTOM_COCO, shots, seed=0)
    assert torch.bincount(splits.shots.labels).tolist() == [shots] * 23
    assert len(splits.shots) == {2: 46, 4: 92, 8: 184}[shots]
    assert tuple(torch.bincount(splits.held_out.labels).tolist()) == HELD_OUT
    assert len(splits.held_out) == 434
    assert len(splits.tests["test"]) == 366


def test_p1_shots_are_nested_and_never_validate(custom_coco_folder):
    found = {k: read_splits(custom_coco(custom_coco_folder), CUSTOM_COCO, k, seed=1) for k in (2, 4, 8)}
    places = {k: {tuple(place) for place in splits.shots.places.tolist()} for k, splits in found.items()}
    assert places[2] < places[4] < places[8]
    held_out = {tuple(place) for place in found[8].held_out.places.tolist()}
    assert not held_out & places[8]
    assert found[2].held_out.places.equal(found[8].held_out.places)


@pytest.mark.parametrize("seed", DRAWN)
def test_p2_the_permutation_law(seed):
    labels = torch.arange(3).repeat_interleave(torch.tensor([35, 20, 28]))
    chosen, left = draw_shots(labels, ["bench", "bicycle", "book"], 8, 8, seed)
    firsts = torch.tensor([0, 35, 55])
    assert (chosen.view(3, 8) - firsts[:, None]).tolist() == list(map(list, DRAWN[seed]))
    assert len(left) == 35 + 20 + 28 - 24


def test_p25_coco_is_labelled_by_its_largest_annotation_crowds_included(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3)]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 17, "area": 5.0, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "area": 9.0, "iscrowd": 1},
        {"id": 3, "image_id": 3, "category_id": 17, "area": 4, "iscrowd": 0},
        {"id": 4, "image_id": 3, "category_id": 1, "area": 4, "iscrowd": 0},
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    for i in (1, 3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.jpg")
    (chunk,) = coco_largest.chunks(file, tmp_path)
    assert [path.name for path in chunk.files] == ["1.jpg", "3.jpg"]  # 2 has no annotation
    assert list(chunk.names) == ["person", "cat"]  # of equals the first


def test_p10_a_quoted_semicolon_belongs_to_the_prompt_unlike_the_published_code(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text('class_name;class_idx;prompt\nbench;1;"a photo of a {name}; at night"\n')
    assert read_contexts(path, LabelSpace.of(["bench"])) == {"bench": ["a photo of a {name}; at night"]}


@pytest.mark.parametrize("answer", ["[INST] x [/INST] ['a','b']", "['a','b'] and ['c']", "['a',\n'b']"])
def test_p12_the_first_list_of_an_answer(answer):
    assert parse_words(answer, Label(name="bench"), 3) == ["a", "b"]


def test_p13_the_class_name_goes_whatever_its_case_and_nothing_empty_stays_unlike_the_published_code():
    words = parse_words("['sunny Bench park','wooden_bench','bench']", Label(name="bench"), 3)
    assert words == ["sunny park", "wooden"]


def test_p14_enumerations_of_just_so_many_items_unlike_the_published_code():
    bench = Label(name="bench")
    assert parse_words("beach, street, park", bench, 3) == ["beach", "street", "park"]
    assert parse_words("1. beach\n2. street\n3. park", bench, 3) == ["beach", "street", "park"]
    assert parse_words("1. beach\n2. street\n3. park\n4. zoo", bench, 3) == [
        "beach",
        "street",
        "park",
    ]  # all four there


def test_p15_a_plural_becomes_the_name_too_unlike_the_published_code():
    answer = (
        '1. "a photo of a red car"\n2. a photo of a Car on a road\n3. a photo of cars at night\n'
        "4. a photo of a huge car in a tunnel\n5. a photo of a truck\n6) a photo of a car in snow"
    )
    assert parse_contexts(answer, [Label(name="car")], 6).prompts == [
        "a photo of a red {name}",
        "a photo of a {name} on a road",
        "a photo of {name} at night",
        "a photo of a huge {name} in a tunnel",
        "a photo of a {name} in snow",
    ]


def test_p17_the_first_adjective_with_the_first_setting():
    contexts = compose_contexts(["red", "old", "tall"], ["road", "city"], 4)
    assert contexts == [
        "a photo of a red {name} in a road",
        "a photo of a old {name} in a city",
        "a photo of a tall {name}",  # the published code drops the adjective too
        "a photo of a {name}",
    ]
    assert compose_contexts(["red"], [], 1) == ["a photo of a red {name}"]  # where it leaves {setting} standing


def test_p18_a_class_with_too_few_prompts_is_asked_again_and_kept_unlike_in_the_published_code(tmp_path):
    space = LabelSpace.of(["dog", "car"])
    found = []
    for rounds in (1, 3):
        chat = ChatConfig(model=str(ROOT / "models/pocket/chat"), device="cpu")
        config = ContextConfig(per_class=40, rounds=rounds, style="context", chat=chat)
        found.append(make_contexts(space, config, tmp_path))
        assert len(list(tmp_path.rglob("*.json"))) == 2 * rounds  # as many different answers for each class
    for name in space.names:
        assert 0 < len(found[0][name]) < len(found[1][name]) < 40


def test_p8_prompts_and_noises_are_drawn_independently_unlike_in_the_published_code():
    """There the k-th image of a class has prompt k mod 10 and noise k mod 4: 20 of 40 pairs, however many images."""
    assert len({(k % 10, k % 4) for k in range(8 * 10)}) == 20
    label, contexts = Label(name="cup"), {"cup": [f"a {{name}}, {i}" for i in range(10)]}
    method, words = METHODS["all"].model_copy(update={"images": 40}), Words("f" * 64, {"cup": 1.0})
    shots = [Shot(f"{i:064}", label) for i in range(8)]
    rows = list(plan_few_shot(shots, method, contexts, words, ORIGIN))
    assert len({(row.prompt, row.noise) for row in rows}) == 40
    table = np.zeros((10, 4))
    for row in rows:
        table[int(row.prompt.rpartition(" ")[2]), (0.0, *method.noise).index(row.noise)] += 1
    assert chi2_contingency(table).pvalue > 0.01


def test_p27_stacked_strengths_come_a_quarter_each():
    method = METHODS["stacked"].model_copy(update={"images": 10_000})
    shots = [Shot("a" * 64, Label(name="cup"))]
    rows = plan_few_shot(shots, method, {}, Words(), ORIGIN)
    counts = Counter(row.strength for row in rows)
    assert sorted(counts) == [0.25, 0.5, 0.75, 1.0]
    for count in counts.values():
        assert count / 10_000 == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("logits", "weight"), [([2.0, 0, 0], 1), ([0.0, 0, 0], 2 / 3)])
def test_p3_p4_the_weight_of_a_image(logits, weight):
    head = nn.Linear(3, 3)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
        head.bias.zero_()
    filter_head = CalibratedHead(head, temperature=1.0, error_before=0, error_after=0)
    probability = filter_head.probabilities(torch.tensor(logits).expand(1, 5, 3))[0, 0]
    assert float(confidence_weight(probability)) == pytest.approx(weight, abs=1e-6)


def test_p7_what_a_training_item_is():
    sources, weights = torch.zeros(3, dtype=torch.long), torch.tensor([1, 1, 0.5])
    law = sampling_law(torch.zeros(1, dtype=torch.long), sources, use_of(weights, sources, 1, 0.7, "per_photo"))
    assert law.tolist() == pytest.approx([0.30, 0.28, 0.28, 0.14])
    drawn = torch.multinomial(law, 20_000, replacement=True, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn) / 20_000
    assert shares.tolist() == pytest.approx([0.30, 0.28, 0.28, 0.14], abs=0.01)


def test_p19_the_filters_head_has_as_many_parameters_and_nothing_of_the_trunk_is_copied():
    """25,567,279 there: the trunk, the unused layer of 1000 classes, two scalars, and this."""
    images = FeatureSet(torch.randn(10, 1, 2048, generator=torch.Generator().manual_seed(0)), torch.arange(5).repeat(2))
    head = train_head(images, torch.full((10,), 0.1), HeadTraining(5, HeadConfig(steps=1), 0)).head
    assert sum(parameter.numel() for parameter in head.parameters()) == 10_245


def test_p20_frozen_is_frozen_and_the_best_checkpoint_is_a_copy_unlike_in_the_published_code():
    """Batch norms are in tests/figment/training/test_backbone.py; here what was best does not move with later steps."""
    generator = torch.Generator().manual_seed(0)
    images = FeatureSet(torch.randn(6, 1, 8, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2]))
    wrong = FeatureSet(images.features, (images.labels + 1) % 3)
    config = HeadConfig(steps=40, learning_rate=0.05, validate_every=1)
    found = train_head(images, torch.full((6,), 1 / 6), HeadTraining(3, config, 0, wrong))
    scores = [metrics["validation_accuracy"] for _, metrics in found.history]
    assert scores[-1] < max(scores)
    assert macro_accuracy(logits_of(found.head, wrong.features[:, 0]), wrong.labels) == max(scores)


def test_p22_expected_calibration_error():
    probabilities = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    assert calibration_error(probabilities.log(), torch.tensor([0, 1, 1, 0])) == pytest.approx(0.3)


def test_p23_classes_are_drawn_alike_and_an_empty_one_disturbs_nobody():
    nothing = torch.zeros(0, dtype=torch.long)
    alone = Use(torch.zeros(6, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    law = sampling_law(torch.tensor([0, 0, 2, 2, 2, 2]), nothing, alone)
    assert (2 * law).tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


@pytest.mark.parametrize("size", [(300, 200), (64, 640), (256, 256)])
def test_p24_test_images_are_squashed_to_the_square_and_scaled_to_plus_minus_one(size):
    half = torch.full((3, 1, 1), 0.5)
    backbone = Backbone(nn.Identity(), half, half)  # other networks bring their own statistics, unlike there
    for colour, value in ((255, 1.0), (0, -1.0)):
        pixels = to_tensor(Image.new("RGB", size, (colour,) * 3), 256, "squash")
        assert pixels.shape == (3, 256, 256)
        assert backbone.prepare(pixels[None]).unique().tolist() == [value]
    halves = Image.new("RGB", (400, 100))
    halves.paste((255, 0, 0), (0, 0, 200, 100))
    assert to_tensor(halves, 256, "squash")[0, 128, :120].min() == 255  # whole, not cropped
