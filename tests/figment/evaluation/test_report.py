import re

import pytest
import torch
from PIL import Image

from figment.evaluation.diversity import diversity_ledger
from figment.evaluation.report import contact_sheet, pick_thumbnails, render_report
from figment.evaluation.results import Result, Results
from figment.validation.clip import ClipConfig, ClipScorer
from figment.validation.validate import validate
from figment.validation.verdicts import AcceptanceConfig, reasons, yields


@pytest.fixture(scope="module")
def verdicts(plan, pool, labels):
    scorer = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip"))
    return validate(plan, pool, labels, scorer, AcceptanceConfig(min_probability=0.5))


@pytest.fixture(scope="module")
def thumbnails(plan, verdicts, pool):
    return pick_thumbnails(plan, verdicts, pool, accepted=2, rejected=2)


def results(labels):
    row = Result(name="base_class", images=18, top1=0.5, low=0.4, high=0.6, gap_closed=0.25)
    return Results(
        labels=labels.names, test_images=10, rows=(row,), confusion=((5, 0, 0),) * 3, confusion_of="base_class"
    )


def page(labels, thumbnails, verdicts, title="T") -> str:
    by = {name: yields(verdicts, name) for name in ("trick", "label")}
    histories = {"base_class": [(1, {"loss": 2.0}), (2, {"loss": 1.0})]}
    return render_report(
        title, results(labels), thumbnails, reasons(verdicts), by, histories, {"plan": "<x>"}, ["a notice"]
    )


def test_thumbnails_are_few_and_spread_over_the_tricks(thumbnails, verdicts):
    by_class = {}
    for thumbnail in thumbnails:
        by_class.setdefault((thumbnail.label, thumbnail.reason == "accepted"), []).append(thumbnail.trick)
    assert all(len(tricks) <= 2 for tricks in by_class.values())
    assert any(len(set(tricks)) == 2 for tricks in by_class.values())


def test_the_page_is_self_contained_and_shows_the_numbers(labels, thumbnails, verdicts):
    html = page(labels, thumbnails, verdicts)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "50.0 %" in html
    assert "40.0 – 60.0" in html
    assert html.count("<img") == len(thumbnails)
    assert "<svg" in html


def test_what_models_and_users_wrote_is_escaped(labels, thumbnails, verdicts):
    html = page(labels, thumbnails, verdicts, title="<script>alert(1)</script>")
    assert "<script>" not in html
    assert "&lt;x&gt;" in html


def test_a_contact_sheet_has_a_row_a_class(labels, thumbnails):
    assert contact_sheet(thumbnails, labels.names, columns=4, cell=16).size == (96 + 4 * 20, 3 * 32)


def test_diversity_and_the_map_are_shown_where_there_are_any(labels, thumbnails, verdicts):
    assert "Diversity" not in page(labels, thumbnails, verdicts)
    dice = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(60, 8, generator=dice), dim=1)
    ledger = diversity_ledger(features, torch.arange(60) % 3, features, torch.arange(60) % 3, labels.names)
    found = results(labels).model_copy(update={"diversity": {"base_class": ledger}})
    html = render_report("T", found, [], {}, {}, {"a": [(1, {"loss": 1.0})]}, {}, [], Image.new("RGB", (4, 4)))
    assert f"<td>{ledger.vendi:.2f}</td>" in html
    assert "at 20 pictures of a class" in html
    assert 'src="data:image/png;base64,' in html
