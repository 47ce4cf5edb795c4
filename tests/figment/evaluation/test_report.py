"""One page from sections of any recipe."""

import html as escaping
import re
from dataclasses import replace

import pytest
from PIL import Image

from figment.evaluation.report import (
    EMBEDDED,
    Cell,
    Images,
    Plot,
    Report,
    Section,
    Table,
    Text,
    Thumbnail,
    contact_sheet,
    cost_section,
    counts,
    curve,
    gate_section,
    png_uri,
    render,
)
from figment.evaluation.verdict import Verdict
from tests.browser import in_browser

HOSTILE = "<img src=x onerror=alert(1)>"
PIXEL = png_uri(Image.new("RGB", (32, 32), "red"))


def thumbnails(text: str = "car") -> Images:
    found = [Thumbnail(PIXEL, text, text, text)] * 2
    rejected = Thumbnail(PIXEL, text, text, text, "rejected")
    return Images([(text, [[*found, rejected]]), ("none of it", [[]])])


def report(text: str = "car", **changes) -> Report:
    """Every kind of block, with ``text`` wherever a model's or a user's may be."""
    numbers = Table(
        (text, "top-1", ""),
        [(text, Cell("50.0 %", strong=True), Cell("", bar=0.5)), (Cell(text, code=True), "1", Cell("", bar=1.0))],
        {text: text, "top-1": "the share of right answers"},
        marked=frozenset({1}),
    )
    matrix = Table(
        ("", *[f"{text} {i}" for i in range(30)]), [(text, *(Cell("3", heat=0.5) for _ in range(30)))], kind="matrix"
    )
    words = Table((), [(text, f"{text} " * 40)], kind="words")
    sections = [
        Section("Results", [numbers], text),
        Section(
            f"Images of {text}", [thumbnails(text), Images([("", [[Thumbnail(PIXEL, text, text)]])], natural=True)]
        ),
        Section("Details", [matrix, words, Text(text), Text(text, preformatted=True)]),
        Section("Plots", [curve({text: [(1, {"loss": 2.0}), (2, {"loss": 1.0})]}, "loss"), Plot(text, uri=PIXEL)]),
    ]
    verdict = [Verdict(text=text), Verdict(text=f"{text} is better", outcome="better")]
    made = Report(text, text, verdict, sections, "artifacts/model", {"plan": text, "chain": "x" * 300}, {text: text})
    return replace(made, **changes)


def test_the_page_opens_with_title_verdict_and_headline_table():
    html = render(report())
    places = [html.index(part) for part in ("<h1>", '<ul class="verdict">', '<h2 id="results">', "<table", "<figure")]
    assert places == sorted(places)
    assert '<li class="better">car is better</li>' in html
    assert '<li class="score">car</li>' in html


def test_the_page_is_self_contained_and_every_image_and_plot_has_a_text():
    html = render(report())
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", html))
    assert re.findall(r'role="img" aria-label="([^"]+)"', html) == ["loss by step: car", "car"]
    assert html.count("<svg") == 1


def test_measures_are_explained_and_marked_rows_stand_out():
    html = render(report())
    assert "<dt>top-1</dt>: <dd>the share of right answers</dd>" in html
    assert re.search(r'<tr class="marked"><td><code>car</code></td>', html)
    assert '<td><b>50.0 %</b></td><td class="bar"><i style="width: 50.0%"></i></td>' in html.replace("\n", "")


@pytest.mark.parametrize(
    "text", [HOSTILE, "</script><script>alert(1)</script>", '" onmouseover="alert(1)', "{{ 7 * 7 }} & $x_1$"]
)
def test_what_models_and_users_wrote_is_escaped_everywhere(text):
    html = render(report(text), [gate_section({text: 3})], {"run": text})
    html = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)  # what matplotlib notes of its texts
    own = {"<script>": 0, "<img src=x": 0, '" onmouseover="': 0}
    for found, count in own.items():
        assert html.count(found) == count, found
    assert escaping.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in html


def test_a_page_links_to_the_review_beside_it_if_there_is_one_and_has_no_script():
    assert '<a href="review.html">' in render(report(), review="review.html")
    assert "review" not in render(report())
    assert "<script" not in render(report())


def test_the_summary_is_the_headline_without_its_bars(tmp_path):
    found = report().summary(tmp_path / "report.html")
    assert found.columns == ("car", "top-1")
    assert found.rows == (("car", "50.0 %"), ("car", "1"))
    assert found.heading == "Results"
    assert found.model == "artifacts/model"
    assert found.report == (tmp_path / "report.html").as_posix()


def test_large_images_are_embedded_small():
    large = png_uri(Image.effect_noise((1000, 750), 50).convert("RGB"), EMBEDDED)
    assert len(large) < 100_000


def test_cost_and_time_are_in_words():
    metrics = {"synthesis/rendered": 1280.0, "synthesis/images_per_second": 8.0}
    html = render(report(), [cost_section(metrics, {"plan_images": 1.0, "train": 1799.0}, 2.5)])
    for found in ("1,280 images, 8.0 a second", "1.25 at 2.5 an hour", "plan images", "1,800 s (0.50 hours)"):
        assert found in html
    assert "an hour" not in render(report(), [cost_section({}, {}, None)])


def test_counts_leave_out_what_there_is_none_of():
    assert counts({"accepted": 3, "blank": 0, "wrong_class": 1}) == "3 accepted, 1 wrong class"


def test_a_column_that_no_row_fills_is_left_out_with_its_help():
    help = {"gain": "points", "gap": "share"}
    table = Table(
        ("name", "", "gain", "gap"), [("a", Cell("", bar=0.5), "", ""), ("b", Cell("", bar=1), "+2", "")], help
    )
    assert table.filled().columns == ["name", "", "gain"]
    assert table.filled().help == {"gain": "points"}
    assert [len(row) for row in table.filled().rows] == [3, 3]


def test_a_contact_sheet_has_a_row_a_group():
    assert contact_sheet(thumbnails(), columns=4, cell=16).size == (96 + 4 * 20, 2 * 32)


@pytest.mark.parametrize("width", [500, 1200])
def test_no_width_of_window_makes_the_page_scroll_sideways(tmp_path, width):
    script = "document.title = document.documentElement.scrollWidth + ' ' + innerWidth;"
    needed, there = map(int, in_browser(tmp_path, render(report("class " * 8)), script, width).split())
    assert needed <= there <= width
