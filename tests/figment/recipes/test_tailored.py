"""The tailored recipe's report: what passed, what tuning changed, the measures beside CLIP's own, and the verdict."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.adaptation.text_encoder import Quality, Tuned
from figment.clip.scorer import ClipConfig
from figment.evaluation.report import Images, render
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.planning.plan import make_plan, write_plan
from figment.prompts.tricks import Prompt
from figment.recipes import tailored
from figment.recipes.made import Made
from figment.recipes.tailored import verdict_of
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.histories import ComparedEpochs
from figment.validation.verdicts import SCHEMA
from tests.plans import plan_tailored
from tests.recipes import recipe_of

SPACE = LabelSpace.of(["dog", "truck"])
BOOK = [
    Prompt("a dog <script>alert('x')</script>", ("dog",), "language_model"),
    Prompt("a dog & a truck", ("dog", "truck"), "language_model"),
]
MEASURES = {f"{p}/{m}": 0.25 for p in ("zsl", "gzsl") for m in ("mAP", "P@3", "R@3", "F1@3", "P@5", "R@5", "F1@5")}
HISTORY = {
    "kept": 2,
    "made": 3,
    "test": MEASURES | {"zsl/mAP": 0.6173},
    "clip": MEASURES | {"zsl/mAP": 0.4321},
    "gains": {"zsl": [0.1852, 0.12, 0.25], "gzsl": [-0.01, -0.03, 0.02]},
    "epochs": [
        {"epoch": 1, "loss": 0.9, "validation/mAP": 0.3, "validation_seen/mAP": 0.3},
        {"epoch": 2, "loss": 0.5, "validation/mAP": 0.71, "validation_seen/mAP": 0.72, "validation_made/mAP": 0.7},
    ],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, pocket_config, synthesis) -> Made:
    """Two images a set; of dog and truck the first is rejected."""
    folder = tmp_path_factory.mktemp("out")
    plan = make_plan(plan_tailored(BOOK, pocket_config, model_revision(pocket_config), 2, 0))
    pool = Pool(folder / "images")
    synthesise(plan, pool, synthesis)
    rejected = next(row["image_id"] for row in plan.to_pylist() if len(row["labels"]) == 2)
    verdicts = [
        {
            "image_id": row["image_id"],
            "accepted": row["image_id"] != rejected,
            "reason": "missing_label" if row["image_id"] == rejected else "accepted",
            "labels": row["labels"],
            "predicted": ["truck"] if row["image_id"] == rejected else row["labels"],
            "trick": row["trick"],
            "probability": 0.9,
            "contrast": 0.3,
        }
        for row in plan.to_pylist()
    ]
    write_plan(plan, folder / "plan.parquet")
    pq.write_table(pa.Table.from_pylist(verdicts, schema=SCHEMA), folder / "verdicts.parquet")
    (folder / "classifier").mkdir()
    (folder / "classifier" / "model.safetensors").write_bytes(b"x")
    write_json(folder / "classifier" / "history.json", HISTORY)
    files = [FileRef.of(folder / name) for name in ("plan.parquet", "verdicts.parquet")]
    weights = FileRef.of(folder / "classifier/model.safetensors")
    classifiers = Classifiers(items=(ClassifierRef(name="dual_prompt", images=3, weights=weights),))
    return Made(folder, [SPACE, FileRef.of(pool.manifest_file), *files, classifiers])


def quality_of(acceptance: float) -> Quality:
    return Quality(acceptance=acceptance, by_label={"dog": acceptance}, probability=0.5, clip_score=acceptance / 2)


def tuned(**changes) -> Tuned:
    history = [
        {"step": s, "acceptance": a, "probability": 0.5, "clip_score": 0.2, "drift": 0.1}
        for s, a in ((0, 0.5), (25, 0.6))
    ]
    values = {
        "adapter": "ab" * 32, "kept_step": 25, "before": quality_of(0.512), "after": quality_of(0.634),
        "history": history, "skipped": 0,
    }  # fmt: skip
    return Tuned(**(values | changes))


@pytest.fixture
def report(made, tmp_path, pocket_config):
    def of(tuning: Tuned | None = None):
        items = list(made.items)
        if tuning:
            write_json(tmp_path / "tuning.json", tuning.model_dump())
            items.append(FileRef.of(tmp_path / "tuning.json"))
        clip = ClipConfig(model="local-dir:models/pocket/clip")
        recipe = recipe_of("tailored", made.folder, generator=pocket_config, clip=clip)
        return tailored.report(recipe, Made(made.folder, items))

    return of


def page(report) -> str:
    return render(report).replace("\n", "")


def test_the_sections_in_their_order(report):
    assert [section.heading for section in report(tuned()).sections] == [
        "Measures of epoch 2, the one that validates best (%)",
        "Images",
        "Validation",
        "Adaptation: the text encoder",
        "Training",
    ]
    assert "Adaptation: the text encoder" not in [section.heading for section in report().sections]


def test_the_verdict_is_beside_clip_as_it_is_under_both_protocols():
    assert [
        (one.text.partition(" (95")[0], one.outcome) for one in verdict_of(ComparedEpochs.model_validate(HISTORY))
    ] == [
        ("The trained classifier: 61.7 % mAP on unseen classes alone (ZSL).", ""),
        ("It is 18.5 points of mAP over CLIP as it is", "better"),
        ("The trained classifier: 25.0 % mAP on all classes together (GZSL).", ""),
        ("It is 1.0 points of mAP under CLIP as it is", "undecided"),
    ]


def test_what_a_language_model_wrote_is_escaped_and_nothing_is_fetched(report):
    html = page(report(tuned()))
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html
    assert "a dog &amp; a truck" in html
    assert "<script" not in html
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", html)


def test_the_measures_are_beside_clips_own(report):
    html = page(report())
    assert "<td>61.7</td>" in html
    assert "<td>43.2</td>" in html
    assert html.count("<td>CLIP as it is</td>") == html.count("<td>trained</td>") == 2
    kept = "<td>2</td><td>0.5000</td><td>0.7100</td><td>0.7200</td><td>0.7000</td></tr>"
    assert f'<tr class="marked">{kept}' in html


def test_the_filter_says_what_passed_and_why_not(report):
    html = page(report())
    assert "4 images were asked for: 3 accepted, 1 missing label." in html
    assert "<td>dog</td><td>75.0 %</td>" in html
    assert "missing label, sees truck" in html


def test_before_and_after_tuning(report):
    html = page(report(tuned()))
    assert "51.2 % of images passed before and 63.4 % after; CLIP score 0.256 before and 0.317 after." in html
    assert "<td>dog</td><td>51.2 %</td><td>63.4 %</td>" in html
    assert "Step 25 was kept." in html
    assert '<tr class="marked"><td>25</td><td>0.600</td>' in html
    assert "skipped" not in html
    nothing = page(report(tuned(adapter="", kept_step=0, skipped=7)))
    assert "No step was better than the base." in nothing
    assert "7 steps were skipped: their gradient was not finite." in nothing


def test_the_numbers_for_metrics_json(report):
    found = report(tuned()).metrics
    assert (found["zsl/mAP"], found["clip_zsl/mAP"], found["validation/passed"]) == (0.6173, 0.4321, 0.75)
    assert (found["adaptation/before"], found["adaptation/after"]) == (0.512, 0.634)


def test_images_show_accepted_ones_first(report):
    (sheet,) = (block for block in report().sections[1].blocks if isinstance(block, Images))
    assert [name for name, _ in sheet.groups] == ["dog", "dog and truck"]
    assert [one.kind for one in sheet.groups[1][1][0]] == ["", "rejected"]
    assert len({one.uri for _, rows in sheet.groups for row in rows for one in row}) == 4
