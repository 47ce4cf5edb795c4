from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F

from figment.clip.scorer import ClipConfig, clip_digest
from figment.datasets.tagged import TaggedImages, read_tagged
from figment.datasets.zero_shot import ZeroShotConfig, write_splits, zero_shot_space
from figment.metrics.multilabel import mean_average_precision, precision_recall_f1_at_k
from figment.planning.plan import make_plan
from figment.prompts.tricks import Prompt
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training import tailored
from figment.training.best_on_test import BEST_ON_TEST, save_best_on_test
from figment.training.config import DualPromptConfig, DualPromptTraining, SemanticConfig
from figment.training.dual_prompt import Scorer
from figment.training.kinds.dual_prompt import DUAL_PROMPT, DualPromptSettings, dual_prompt_preprocessing
from figment.training.kinds.registry import open_model
from figment.training.saved import SavedModel
from figment.training.tailored import accepted_images, clip_scorer, train_tailored, validation_evaluator
from pocket.data_sets import artwork, draw_scenes, write_scenes
from tests.plans import plan_tailored

DATA = ZeroShotConfig(source="parquet", root="data/scenes", labels="configs/labels/pocket_24_8.yaml")
SPACE = zero_shot_space(DATA)
SEEN, UNSEEN = list(SPACE.seen_ids), list(SPACE.unseen_ids)
CLIP = ClipConfig(model="local-dir:models/pocket/clip", templates=("a photo of a {name}",), device="cpu")
CONFIG = DualPromptTraining(
    backbone=CLIP, image_size=32,
    context=4, fusion_scale=None, batches="mixed", epochs=2, batch_size=16, learning_rate=0.05, warmup_rate=0.01, cutout=0,
    randaugment=False, held_out=0.2, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("splits")
    write_scenes(folder / "scenes", SPACE, train=80, test=120, seed=0)
    write_splits(DATA.model_copy(update={"root": str(folder / "scenes")}), SPACE, 32, folder)
    return folder


def drawn(count: int) -> TaggedImages:
    """Scenes of unseen objects."""
    shown = [SPACE.names[i] for i in UNSEEN]
    return TaggedImages(*draw_scenes(artwork(["noto"]), SPACE.names, shown, count, seed=9))


def score(pixels: torch.Tensor) -> torch.Tensor:
    """Some scores of all classes, an image's whatever the images beside it."""
    generator = torch.Generator().manual_seed(0)
    return pixels.double().flatten(1) @ torch.rand(3 * 32 * 32, len(SPACE), generator=generator, dtype=torch.float64)


def test_of_seen_classes_nothing_is_known_in_accepted_images(tmp_path, pocket_config, synthesis):
    prompts = [Prompt("a dog", ("dog",), "t"), Prompt("a dog next to a truck", ("dog", "truck"), "t")]
    plan = make_plan(plan_tailored(prompts, pocket_config, model_revision(pocket_config), 2, 0))
    pool = Pool(tmp_path)
    synthesise(plan, pool, synthesis)
    shown = {row["image_id"]: row["labels"] for row in plan.to_pylist()[:3]}
    made = accepted_images(shown, pool, SPACE, 32)
    assert len(made) == 3
    assert (made.targets[:, SEEN] == -1).all()
    for targets, image_id in zip(made.targets[:, UNSEEN], sorted(shown), strict=True):
        assert {SPACE.names[UNSEEN[i]] for i in targets.nonzero()[:, 0].tolist()} == set(shown[image_id])


def test_the_unseen_classes_are_ranked_alone_and_with_the_others_and_every_image_counts(splits):
    zsl, gzsl = (read_tagged(splits / name) for name in ("zsl", "gzsl"))
    found = tailored.test_evaluator(SPACE, zsl, gzsl)(score)
    shown = (zsl.targets > 0)[:, UNSEEN]
    assert found["zsl/mAP"] == pytest.approx(mean_average_precision(score(zsl.pixels)[:, UNSEEN], shown))
    all_shown = gzsl.targets > 0
    counted = precision_recall_f1_at_k(score(gzsl.pixels), all_shown, 3)
    assert (found["gzsl/P@3"], found["gzsl/R@3"], found["gzsl/F1@3"]) == pytest.approx(tuple(counted))
    assert {name.partition("/")[0] for name in found} == {"zsl", "gzsl"}


def test_a_test_image_of_both_sets_is_scored_once(splits):
    zsl, gzsl = (read_tagged(splits / name) for name in ("zsl", "gzsl"))
    scored = []
    tailored.test_evaluator(SPACE, zsl, gzsl)(lambda pixels: scored.append(len(pixels)) or score(pixels))
    assert scored == [len(gzsl)]


def test_each_class_is_validated_by_the_only_images_of_it_that_there_are(splits):
    real = read_tagged(splits / "validation")
    made = drawn(30)
    found = validation_evaluator(SPACE, real, made)(score)
    seen = mean_average_precision(score(real.pixels)[:, SEEN], real.targets[:, SEEN] > 0)
    unseen = mean_average_precision(score(made.pixels)[:, UNSEEN], made.targets[:, UNSEEN] > 0)
    assert (found["validation_seen/mAP"], found["validation_made/mAP"]) == pytest.approx((seen, unseen))
    assert found["validation/mAP"] == pytest.approx((seen + unseen) / 2)
    without = validation_evaluator(SPACE, real, TaggedImages(made.pixels[:0], made.targets[:0]))(score)
    assert without["validation/mAP"] == pytest.approx(seen)
    assert not any(name.startswith("validation_made") for name in without)


def test_clip_as_it_is_is_open_clips(splits):
    pixels = read_tagged(splits / "zsl").pixels[:3]
    model, _, preprocess = open_clip.create_model_and_transforms(CLIP.model)
    texts = open_clip.get_tokenizer(CLIP.model)([f"a photo of a {name}" for name in SPACE.names])
    resized = F.interpolate(pixels.float() / 255, size=(64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        expected = model.eval()(preprocess.transforms[-1](resized), texts)
    image, text, scale = expected[:3]
    torch.testing.assert_close(clip_scorer(CLIP, SPACE)(pixels), scale * image @ text.T, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("count", [0, 40])
def test_training_chooses_by_held_out_images_and_measures_the_test_images_once(splits, count):
    some = drawn(max(1, count))
    some.targets[:, SEEN] = -1
    made = TaggedImages(some.pixels[:count], some.targets[:count])
    trained, measured = train_tailored(splits, made, SPACE, CONFIG)
    assert [row["epoch"] for row in trained.history] == [1, 2]
    for row in trained.history:
        assert not any(name.startswith(("zsl", "gzsl")) for name in row)
        assert ("validation_made/mAP" in row) == (count > 0)
    validated = [row["validation/mAP"] for row in trained.history]
    assert trained.best_epoch == 1 + validated.index(max(validated))
    zsl, gzsl = (read_tagged(splits / name) for name in ("zsl", "gzsl"))
    assert measured == tailored.test_evaluator(SPACE, zsl, gzsl)(Scorer(trained.model))


def test_the_best_of_each_test_protocol_is_saved_beside_the_honest_one(splits, tmp_path):
    config = CONFIG.model_copy(update={"also_best": ("zsl/mAP", "gzsl/F1@3"), "epochs": 3})
    made = drawn(40)
    made.targets[:, SEEN] = -1
    trained, _ = train_tailored(splits, made, SPACE, config)
    honest, _ = train_tailored(splits, made, SPACE, CONFIG.model_copy(update={"epochs": 3}))
    assert (trained.best_epoch, trained.others.keys()) == (honest.best_epoch, set(config.also_best))
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    settings = DualPromptSettings(clip=CLIP, clip_digest=clip_digest(CLIP), training=config.as_base(DualPromptConfig))
    saved = SavedModel(labels=SPACE, preprocessing=dual_prompt_preprocessing(trained.model, 32), training="Trained.")
    epochs = save_best_on_test(trained, DUAL_PROMPT, trained.model, settings, saved, tmp_path)
    assert all(value.equal(before[name]) for name, value in trained.model.state_dict().items())
    assert all(value.equal(before[name]) for name, value in honest.model.state_dict().items())
    zsl, gzsl = (read_tagged(splits / name) for name in ("zsl", "gzsl"))
    for name, epoch in epochs.items():
        values = [row[name] for row in trained.history]
        assert epoch == 1 + values.index(max(values))
        model = open_model(tmp_path / BEST_ON_TEST / name.replace("/", "_"))
        assert "measures are too high" in model.saved.training
        assert {each.name: each.value for each in model.saved.metrics}[name] == max(values)
        assert tailored.test_evaluator(SPACE, zsl, gzsl)(Scorer(model.network))[name] == pytest.approx(
            max(values), abs=1e-6
        )


@pytest.mark.parametrize("name", ["validation/mAP", "zsl/F1@7", "zsl"])
@pytest.mark.parametrize("kind", [DualPromptConfig, SemanticConfig])
def test_what_is_not_measured_on_the_test_images_chooses_no_epoch(kind, name):
    with pytest.raises(ValueError, match=rf"also_best: '{name}' is not measured on the test images; there are zsl/mAP"):
        kind(also_best=(name,))
