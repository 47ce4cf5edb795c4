import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.errors import InputError
from figment.evaluation.provenance import Answer, answer_behind, find_weights, learners, recipe_of
from figment.files import sha256_file, write_json
from figment.ops import registry
from figment.ops.trace import trace, why
from figment.planning.plan import write_plan
from figment.prompts.chat import Question
from figment.prompts.tricks import Prompt

KEY = "ab" * 32


@pytest.fixture(scope="module")
def root(plan, pool, tmp_path_factory) -> Path:
    """An artifacts folder with a run: one prompt of it came from a chat model, one classifier learned from four images."""
    root = tmp_path_factory.mktemp("artifacts")
    output = root / "run"
    write_plan(plan, output / "plan.parquet")
    (output / "images").symlink_to(pool.folder)
    rows = plan.to_pylist()
    book = {(row["prompt"], tuple(row["labels"]), row["trick"]): row for row in rows}
    prompts = [
        Prompt(text, labels, trick, row["domain"], KEY if text == rows[0]["prompt"] else "template")
        for (text, labels, trick), row in book.items()
    ]
    pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in prompts]), output / "prompts.parquet")
    question = asdict(Question("Write about a car.", 0, "models/pocket/chat", "main", 0.6, 0.9, 800, 0))
    write_json(
        output / "answers" / KEY[:2] / f"{KEY}.json",
        {"question": question, "answer": "A car.\x1b[2J", "finished": True},
    )
    verdicts = [
        {
            "image_id": row["image_id"],
            "accepted": i != 1,
            "reason": "accepted" if i != 1 else "blank",
            "probability": 0.25,
        }
        for i, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(verdicts), output / "verdicts.parquet")
    chosen = [{"image_id": row["image_id"], "label": row["labels"][0], "weight": 1.0} for row in rows[2:6]]
    folder = output / "classifiers" / "base"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(chosen), folder / "training_list.parquet")
    (folder / "model.safetensors").write_bytes(b"weights")
    return root


def test_the_answer_behind_a_prompt_is_read_from_the_chat_models_cache(root, plan):
    first = plan.to_pylist()[0]
    other = next(row for row in plan.to_pylist() if row["prompt"] != first["prompt"])
    answer = answer_behind(first, root / "run")
    assert isinstance(answer, Answer)
    assert (answer.model, answer.question) == ("models/pocket/chat", "Write about a car.")
    assert answer_behind(other, root / "run") == "template"
    assert answer_behind(first, root) == "no prompt book says"


def test_who_learned_from_an_image(root, plan):
    ids = plan["image_id"].to_pylist()
    assert learners(ids[2], root) == [root / "run" / "classifiers" / "base"]
    assert learners(ids[0], root) == []


def test_what_a_model_learned_from(root, plan):
    recipe = recipe_of(root / "run" / "classifiers" / "base")
    rows = plan.to_pylist()[2:6]
    assert recipe.images == 4
    assert sum(recipe.by_class.values()) == sum(recipe.by_trick.values()) == 4
    assert recipe.by_class[rows[0]["labels"][0]] == sum(row["labels"] == rows[0]["labels"] for row in rows)
    assert list(recipe.generators) == [f"models/pocket/diffusion @ {rows[0]['revision']}"]
    assert recipe.settings["steps"] == "4"
    assert recipe.judged == {"accepted": 17, "blank": 1}
    assert recipe_of(root / "run") is None


def test_weights_are_known_by_their_content(root):
    weights = root / "run" / "classifiers" / "base" / "model.safetensors"
    assert find_weights(sha256_file(weights), root=root) == weights
    assert find_weights(sha256_file(weights), str(weights.parent), root=root / "elsewhere") == weights
    assert find_weights("", root=root) is None


def test_the_trace_says_it_all_and_nothing_a_terminal_would_obey(root, plan):
    row = plan.to_pylist()[0]
    said = trace([root / "run" / "plan.parquet"], row["image_id"][:12])
    assert f"image       {row['image_id']}" in said
    assert repr(row["prompt"]) in said
    assert "written by  models/pocket/chat, in" in said
    assert "answered    A car." in said
    assert "\x1b" not in said
    assert "verdicts    accepted: probability 0.25" in said
    assert "no lineage.json here: the run did not finish, or this clone did not get that file" in said
    assert said.splitlines()[-1].startswith("again       figment replay ")
    assert json.loads((root / "run" / "answers" / KEY[:2] / f"{KEY}.json").read_text())["answer"].endswith("\x1b[2J")


def test_a_model_without_its_lineage_says_what_is_missing(root, monkeypatch):
    monkeypatch.setattr(registry, "versions_with", lambda sha256: [])
    said = why(str(root / "run" / "classifiers" / "base"))
    assert "trained on  4 images" in said
    assert said.splitlines()[-1].startswith("again       not known without lineage.json: fetch that file, or run")


LINED = {
    "pipeline": "pipelines.few_shot.few_shot",
    "zenml_run": "z",
    "mlflow_run": "m",
    "git_dirty": True,
    "outputs": {},
}


@pytest.mark.parametrize(("git", "data", "start", "code"), [
    ("f" * 40, "0a", "git checkout ffffffffffff && dvc pull data.dvc && ", "git ffff"),
    ("f" * 40, "untracked", "git checkout ffffffffffff && ", "git ffff"),
    ("no git", "untracked", "", "in no git repository"),
])  # fmt: skip
def test_what_no_git_or_dvc_keeps_is_not_asked_of_them(root, monkeypatch, git, data, start, code):
    monkeypatch.setattr(registry, "versions_with", lambda sha256: [])
    file = root / "run" / "lineage.json"
    write_json(file, LINED | {"git_sha": git, "data_md5": data, "real": {"photos": "sha256 1f", "shots": "sha256 2e"}})
    said = why(str(root / "run/classifiers/base"))
    file.unlink()
    assert f"again       {start}zenml pipeline run pipelines.few_shot.few_shot -c {root}/run/config.yaml" in said
    assert f"code        {code}" in said
    assert "real images photos, sha256 1f\n            shots, sha256 2e" in said


def test_an_image_of_several_plans_has_one_trace(root, plan, tmp_path):
    again, elsewhere = root / "run" / "plan_topped_up.parquet", tmp_path / "plan.parquet"
    plans = [root / "run" / "plan.parquet", again, elsewhere]
    write_plan(plan, elsewhere)
    write_plan(plan, again)
    try:
        lines = trace(plans, plan["image_id"][0].as_py()).splitlines()
    finally:
        again.unlink()
    assert [line.split()[-1] for line in lines if "plan" in line and line.endswith(".parquet")][:3] == list(
        map(str, plans)
    )
    for name, times in {"image": 1, "prompt": 1, "generator": 1, "plan": 2, "shard": 2, "run": 2, "again": 1}.items():
        assert sum(line.startswith(f"{name:12}") for line in lines) == times, name
    single = [tmp_path / f"{i}" / "plan.parquet" for i in range(2)]
    for i, path in enumerate(single):
        write_plan(plan.slice(i, 1), path)
    with pytest.raises(InputError, match=r"'' begins the ids of several images in .*; give more"):
        trace(single, "")
