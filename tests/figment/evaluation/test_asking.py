import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from figment.cli import main
from figment.datasets.config import RealConfig
from figment.datasets.real import open_shots
from figment.errors import InputError
from figment.evaluation.ask_run import write_review
from figment.evaluation.asking import (
    SCHEMA,
    Answers,
    cluster_doubted,
    cluster_items,
    disagreement,
    page,
    read_answers,
    review_items,
    shots_of,
)
from figment.images import encode
from figment.labels import LabelSpace
from figment.validation import verdicts
from figment.validation.review import read_review
from tests.browser import in_browser
from tests.recipes import recipe_of

NAMES = ("cat", "dog")


def test_disagreement_is_none_between_equals_and_a_bit_between_opposites():
    one, other = torch.tensor([[1.0, 0], [0.5, 0.5]]), torch.tensor([[0.0, 1], [0.5, 0.5]])
    assert disagreement(one, other).tolist() == pytest.approx([1, 0], abs=1e-6)


@pytest.mark.parametrize(("count", "clusters"), [(4, 8), (5, 1), (16, 8), (40, 3)])
def test_every_doubted_image_is_in_one_cluster_and_the_most_doubted_come_first(count, clusters):
    draw = np.random.default_rng(count)
    features, doubt = torch.tensor(draw.normal(size=(count, 3))), torch.tensor(draw.random(count))
    groups = cluster_doubted(features, doubt, clusters)
    rows = [row for group in groups for row in group]
    assert len(rows) == len(set(rows)) == min(count, max(clusters, count // 2))
    assert min(doubt[rows]) >= max([*np.delete(doubt.numpy(), rows), 0])
    means = [float(doubt[group].mean()) for group in groups]
    assert means == sorted(means, reverse=True)


def asked() -> pa.Table:
    image = {"bytes": encode(np.full((8, 8, 3), 90, np.uint8), "png"), "path": "a.png"}
    rows = [
        {"image_id": name * 64, "image": image, "where": f"photos/{name}.png", "cluster": cluster, "clip": "cat", "student": own}
        for name, cluster, own in (("a", 0, "dog"), ("b", 0, "dog"), ("c", 1, "cat"))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def test_answers_become_shots_that_say_where_they_are_from():
    given_answers = Answers(clicks=3, answers={"a" * 64: "dog", "c" * 64: "cat"})
    shots = shots_of(asked(), given_answers, NAMES, "answers.json").to_pylist()
    assert [(shot["label"], shot["where"], shot["source"]) for shot in shots] == [
        ("dog", "photos/a.png", "figment ask, cluster 0"),
        ("cat", "photos/c.png", "figment ask, cluster 1"),
    ]


def test_the_next_run_takes_the_shots_of_a_file(tmp_path):
    file = tmp_path / "shots.parquet"
    given_answers = Answers(clicks=2, answers={"a" * 64: "dog", "b" * 64: "dog"})
    pq.write_table(shots_of(asked(), given_answers, NAMES, "answers.json"), file)
    space = LabelSpace.of(NAMES)
    shots = open_shots(RealConfig(path="data/real", shots=str(file)), space, size=8).load()
    assert shots.labels.tolist() == [1, 1]
    assert shots.pixels.unique().tolist() == [90]
    with pytest.raises(InputError, match=r"^real\.shots: .*none\.parquet: no such file"):
        open_shots(RealConfig(path="data/real", shots=str(tmp_path / "none.parquet")), space, size=8)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"d" * 64: "dog"}, "was not asked about"),
        ({"a" * 64: "horse"}, "'horse' is no class"),
        ({"": ""}, "was not asked"),
    ],
)
def test_answers_about_something_else_are_refused(answers, told):
    with pytest.raises(InputError, match=rf"^answers\.json: .*{told}"):
        shots_of(asked(), Answers(clicks=1, answers=answers), NAMES, "answers.json")


@pytest.mark.parametrize("text", ["", "[]", '{"clicks": 1}', '{"clicks": "x", "answers": {}}', "no"])
def test_a_file_that_no_page_saved_is_named(tmp_path, text):
    (tmp_path / "answers.json").write_text(text)
    with pytest.raises(InputError, match=r"answers\.json: .*expected the answers\.json"):
        read_answers(tmp_path / "answers.json")


def test_a_page_loads_nothing_and_obeys_no_name():
    items = cluster_items(asked())
    assert [(item.ids, item.state) for item in items] == [(("a" * 64, "b" * 64), "disagree"), (("c" * 64,), "agree")]
    html = page("What is this?", "Name it.", items, ("</script><b>", "dog"), "answers.json")
    assert "</script><b>" not in html
    assert html.count("<script>") == html.count("</script>") == 1
    assert "http" not in html.replace("http-equiv", "")
    written = html.split("const items = ")[1].split(", choices =")[0]
    assert [tuple(item["ids"]) for item in json.loads(written)] == [item.ids for item in items]


@pytest.fixture
def judged(plan) -> pa.Table:
    """Verdicts on all images of the plan, as doubtful as their place in it; of the last two the judge was equally sure."""
    rows = [
        {"image_id": row["image_id"], "accepted": number % 2 > 0, "reason": "accepted" if number % 2 else "wrong_class",
         "labels": row["labels"], "trick": row["trick"], "predicted": ["frog"], "contrast": 0.2,
         "probability": 0.5 + (-1) ** number * 0.025 * number}
        for number, row in enumerate(plan.to_pylist())
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=verdicts.SCHEMA)


def test_a_review_shows_all_images_the_doubtful_first_and_what_was_decided_however_sure(judged, pool):
    ids = judged["image_id"].to_pylist()
    items = review_items(judged.take(list(reversed(range(len(ids))))), pool, {}, len(ids))
    assert [item.ids for item in items] == [(image_id,) for image_id in ids]
    assert {item.state for item in items} == {"accepted", "wrong class"}
    few = review_items(judged, pool, {ids[-1]: False, "f" * 64: True}, 3)
    assert [(item.ids[0], item.answer) for item in few] == [*((i, "") for i in ids[:3]), (ids[-1], "drop")]


def test_the_page_lies_beside_the_run_and_what_it_saves_is_found_by_the_next_one(judged, pool, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "images").symlink_to(pool.folder)
    pq.write_table(judged, run / "verdicts.parquet")
    recipe, ids = recipe_of("semantic_diversity", run), judged["image_id"].to_pylist()
    assert recipe.review_file is None
    html = write_review(run, None).read_text()
    assert f"All {len(ids)} generated images" in html
    saving = (
        "const link = { click() { document.title = decodeURIComponent(this.href.split(',').slice(1).join(',')); } };"
    )
    keys = "for (const key of ['2', 'ArrowRight', '1', 'ArrowRight', '1', 'Backspace'])"
    press = "(document.activeElement || 0).dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))"
    script = f"document.querySelector('section').focus(); {keys} {press}; {saving} document.createElement = () => link;"
    saved = tmp_path / "saved.csv"
    saved.write_text(in_browser(tmp_path, html, f"{script} document.getElementById('save').click();") + "\n")
    assert read_review(saved) == {ids[0]: False, ids[1]: True}
    assert main(["ask", str(run), "--answers", str(saved)]) == 0
    assert "run/review.csv: 1 images to keep, 1 to drop" in capsys.readouterr().out
    assert recipe.review_file == run / "review.csv"
    assert '"answer": "drop"' in write_review(run, recipe.review_file).read_text()


@pytest.mark.parametrize("text", ["", "id,decision", "image_id,decision\nx,keep"])
def test_a_review_that_no_page_saved_leaves_the_run_as_it_was(text, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "verdicts.parquet").touch()
    (tmp_path / "mine.csv").write_text(text)
    assert main(["ask", str(tmp_path / "run"), "--answers", str(tmp_path / "mine.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mine.csv" in line
    assert not (tmp_path / "run" / "review.csv").exists()
