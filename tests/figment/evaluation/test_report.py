import html as escaping
import os
import re
import shutil
import subprocess

import pytest
import torch
from PIL import Image

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.evaluation.errors import Neighbour, WorstError
from figment.evaluation.report import (
    contact_sheet,
    costs,
    pick_thumbnails,
    render_report,
    what_was_asked,
    what_was_chosen,
)
from figment.evaluation.results import Result, Results
from figment.metrics.diversity import diversity_ledger
from figment.training.config import TrainingConfig
from figment.validation.review import read_review
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


def page(labels, thumbnails, verdicts, title="T", **more) -> str:
    by = {name: yields(verdicts, name) for name in ("trick", "label")}
    histories = {"base_class": [(1, {"loss": 2.0}), (2, {"loss": 1.0})]}
    return render_report(
        title,
        results(labels),
        thumbnails,
        reasons(verdicts),
        by,
        histories,
        {"plan": "<x>"},
        {"a model": "a notice"},
        **more,
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
    assert html.count("<script>") == 1, "its own"
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;x&gt;" in html


def test_a_contact_sheet_has_a_row_a_class(labels, thumbnails):
    assert contact_sheet(thumbnails, labels.names, columns=4, cell=16).size == (96 + 4 * 20, 3 * 32)


def test_diversity_and_the_map_are_shown_where_there_are_any(labels, thumbnails, verdicts):
    assert "Diversity" not in page(labels, thumbnails, verdicts)
    dice = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(60, 8, generator=dice), dim=1)
    ledger = diversity_ledger(features, torch.arange(60) % 3, features, torch.arange(60) % 3, labels.names)
    found = results(labels).model_copy(update={"diversity": {"base_class": ledger}})
    html = render_report("T", found, [], {}, {}, {"a": [(1, {"loss": 1.0})]}, {}, {}, Image.new("RGB", (4, 4)))
    assert f"<td>{ledger.vendi:.2f}</td>" in html
    assert "at 20 pictures of a class" in html
    assert 'src="data:image/png;base64,' in html


@pytest.fixture(scope="module")
def whole_page(plan, labels, thumbnails, verdicts) -> str:
    """With every section, and something hostile in each text that a model or a user wrote."""
    hostile = "<img src=x onerror=alert(1)>"
    pixel = thumbnails[0].uri
    neighbour = Neighbour(image_id="a" * 64, label=hostile, trick="base_class", similarity=0.5, uri=pixel)
    error = WorstError(
        where=hostile, truth="car", predicted="frog", probability=0.9, uri=pixel, neighbours=(neighbour,) * 4
    )
    asked = what_was_asked(plan)
    chosen = what_was_chosen(hostile, ClipConfig(model="c"), AcceptanceConfig(), hostile, TrainingConfig())
    return render_report(
        "T",
        results(labels),
        thumbnails,
        reasons(verdicts),
        {name: yields(verdicts, name) for name in ("trick", "label")},
        {"base_class": [(1, {"loss": 2.0}), (2, {"loss": 1.0, "validation_top1": 0.5})]},
        {"images": "0" * 64, "command": "figment why " + "artifacts/" * 30},
        {hostile: hostile, "CLIP": hostile},
        asked=asked,
        settings=chosen,
        errors=[error] * 3,
        gates={"plan": 9},
        costs=costs({"synthesis/rendered": 1280.0, "synthesis/images_per_second": 8.0}, 1800, 2.5),
        seconds={"plan_images": 1.0, "train_classifiers": 99.5},
    )


def test_every_section_is_there_and_nothing_hostile_is_html(whole_page, plan):
    assert "onerror=alert(1)&gt;" in whole_page
    assert "<img src=x" not in whole_page
    for found in (
        "What was asked",
        "Worst errors",
        "taken for <b>frog</b> (0.90)",
        "Quality gates passed: plan (<b>9</b>)",
        "1,280 pictures, 8.0 a second",
        "1.25 at 2.5 an hour",
        "train classifiers",
        "9 pictures from",
    ):
        assert found in whole_page
    assert whole_page.count("<svg") == 2
    assert escaping.escape(plan["prompt"][0].as_py()) in whole_page


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("no chromium on this machine to open the report in")


def in_browser(chromium: str, tmp_path, page: str, script: str, width: int) -> str:
    """What ``script`` writes into the title of the open page."""
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"]
    command += [f"--window-size={width},900", "--dump-dom", file.as_uri()]
    own_home = {**os.environ, "HOME": str(tmp_path)}
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=own_home).stdout
    return escaping.unescape(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1])


def test_decisions_in_a_browser_are_a_review_that_the_next_run_reads(chromium, tmp_path, whole_page, thumbnails):
    first, second, third = thumbnails[:3]
    script = f"""
        for (const id of ["{first.image_id}", "{second.image_id}", "{third.image_id}"])
          document.querySelector(`[data-id="${{id}}"]`).click();
        document.querySelector('[data-id="{third.image_id}"]').click();
        document.title = csv();"""
    (tmp_path / "review.csv").write_text(in_browser(chromium, tmp_path, whole_page, script, 1200) + "\n")
    decided = {t.image_id: t.reason != "accepted" for t in (first, second)}
    assert read_review(tmp_path / "review.csv") == decided


def test_what_was_decided_before_is_exported_too_and_a_click_takes_it_back(
    chromium, tmp_path, labels, thumbnails, verdicts
):
    before = {thumbnails[0].image_id: True, thumbnails[1].image_id: False, "f" * 64: False}
    script = f"""
        for (const id of ["{thumbnails[1].image_id}", "{thumbnails[2].image_id}"])
          document.querySelector(`[data-id="${{id}}"]`).click();
        document.title = csv();"""
    html = page(labels, thumbnails, verdicts, reviewed=before)
    (tmp_path / "review.csv").write_text(in_browser(chromium, tmp_path, html, script, 1200) + "\n")
    third = {thumbnails[2].image_id: thumbnails[2].reason != "accepted"}
    assert read_review(tmp_path / "review.csv") == {thumbnails[0].image_id: True, "f" * 64: False} | third


@pytest.mark.parametrize("width", [500, 1200])
def test_no_width_of_window_makes_the_page_scroll_sideways(chromium, tmp_path, whole_page, width):
    script = "document.title = document.documentElement.scrollWidth + ' ' + innerWidth;"
    needed, there = map(int, in_browser(chromium, tmp_path, whole_page, script, width).split())
    assert needed <= there <= width
