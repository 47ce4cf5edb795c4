import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from figment.datasets.config import RealConfig
from figment.datasets.real import open_shots
from figment.errors import InputError
from figment.evaluation.asking import (
    SCHEMA,
    Answers,
    cluster_doubted,
    cluster_items,
    disagreement,
    page,
    read_answers,
    shots_of,
)
from figment.images import encode
from figment.labels import LabelSpace

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
