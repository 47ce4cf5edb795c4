import re

import pyarrow as pa
import pytest

from figment.adaptation.text_encoder import Quality, Tuned
from figment.evaluation.tailored_report import pick_examples, render_tailored_report
from figment.labels import LabelSpace
from figment.planning.plan import make_plan
from figment.planning.tailored import plan_tailored
from figment.prompts.tricks import Prompt
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.validation.policies import SCHEMA

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
    "epochs": [
        {"epoch": 1, "loss": 0.9, "validation/mAP": 0.3, "validation_seen/mAP": 0.3},
        {"epoch": 2, "loss": 0.5, "validation/mAP": 0.71, "validation_seen/mAP": 0.72, "validation_made/mAP": 0.7},
    ],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, pocket_config, synthesis) -> tuple[pa.Table, pa.Table, Pool]:
    """Two pictures a set; of dog and truck the first is rejected."""
    plan = make_plan(plan_tailored(BOOK, pocket_config, model_revision(pocket_config), 2, 0))
    pool = Pool(tmp_path_factory.mktemp("images"))
    synthesise(plan, pool, synthesis)
    rejected = next(row["image_id"] for row in plan.to_pylist() if len(row["labels"]) == 2)
    verdicts = [
        {
            "image_id": row["image_id"],
            "accepted": row["image_id"] != rejected,
            "reason": "missing_label" if row["image_id"] == rejected else "accepted",
            "labels": row["labels"],
            "predicted": ["truck"] if row["image_id"] == rejected else row["labels"],
            "probabilities": [0.9, 0.9],
            "contrast": 0.3,
        }
        for row in plan.to_pylist()
    ]
    return plan, pa.Table.from_pylist(verdicts, schema=SCHEMA), pool


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


def render(made, tuned=None) -> str:
    plan, verdicts, pool = made
    return render_tailored_report(SPACE, plan, verdicts, pool, HISTORY, tuned, {"plan": "4 images"})


def test_what_a_language_model_wrote_is_escaped_and_nothing_is_fetched(made):
    html = render(made, tuned())
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html
    assert "a dog &amp; a truck" in html
    assert "<script" not in html
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", html)


def test_the_measures_stand_beside_clips_own(made):
    html = render(made)
    assert "Measures of epoch 2" in html
    assert "<td>61.7</td>" in html
    assert "<td>43.2</td>" in html
    assert html.count("<td>CLIP as it is</td>") == html.count("<td>trained</td>") == 2
    assert '<tr class="kept"><td>2</td><td>0.5000</td><td>0.710</td><td>0.720</td><td>0.700</td></tr>' in html


def test_the_filter_says_what_passed_and_why_not(made):
    html = render(made)
    assert "4 pictures were asked for: 3 accepted, 1 missing label." in html
    assert "<tr><td>dog</td><td>75.0 %</td></tr>" in html
    assert "missing label, sees truck" in html


def test_before_and_after_tuning(made):
    assert "text encoder" not in render(made)
    html = render(made, tuned())
    assert "51.2 % of pictures passed before and\n63.4 % after" in html
    assert "CLIP score 0.256 before and\n0.317 after" in html
    assert "<tr><td>dog</td><td>51.2 %</td><td>63.4 %</td></tr>" in html
    assert "Step 25 was kept." in html
    assert '<tr class="kept"><td>25</td><td>0.600</td>' in html
    assert "skipped" not in html
    nothing = render(made, tuned(adapter="", kept_step=0, skipped=7))
    assert "No step was better than the base." in nothing
    assert "7 steps were skipped: their gradient was not finite." in nothing


def test_examples_show_accepted_pictures_first(made):
    examples = pick_examples(*made)
    assert list(examples) == ["dog", "dog and truck"]
    assert [example.reason for example in examples["dog and truck"]] == ["accepted", "missing_label"]
    assert all(one.uri.startswith("data:image/png;base64,") for rows in examples.values() for one in rows)
    assert len({one.uri for rows in examples.values() for one in rows}) == 4
