"""``figment predict`` from the command line: any kind of source, and one sentence for what the user can mend."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.cli import main
from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors, make_label_vectors
from figment.images import as_rgb, squash
from figment.labels import LabelSpace
from figment.training.config import SemanticConfig
from figment.training.kinds.semantic_matrix import SEMANTIC_MATRIX
from figment.training.saved import load_model
from figment.training.semantic import predict_scores
from tests.saved_models import save_matrix

NAMES = ("car", "dog", "elk", "red")
CONFIG = SemanticConfig(model="test_resnet", image_size=32, rows=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    words, numbers = (*NAMES, "horse"), torch.randn(5, 6)
    file = folder / "words.txt"
    file.write_text(
        "\n".join(f"{word} {' '.join(map(str, row))}" for word, row in zip(words, numbers.tolist(), strict=True))
    )
    source = LabelVectorConfig(file=str(file))
    save_matrix(folder, LabelVectors.of(NAMES, numbers[:4], "test"), CONFIG, ("elk", "red"), source)
    return folder


def noise(path: Path, seed: int = 0, mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def table(path: Path, files: list[Path]) -> Path:
    rows = [{"label": "x", "image": {"bytes": file.read_bytes(), "path": file.name}} for file in files]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_image_a_folder_and_parquet_give_the_same_tags(model, tmp_path, capsys):
    files = [noise(tmp_path / "in" / f"{i}.png", i, mode) for i, mode in enumerate(("RGB", "L", "P", "RGBA"))]
    rows = table(tmp_path / "images.parquet", files)
    sources = ([str(file) for file in files], [str(tmp_path / "in")], [str(rows)])
    found = []
    for source in sources:
        assert main(["predict", *source, "--model", str(model), "--top-k", "3", "--batch-size", "3"]) == 0
        found.append(lines(capsys))
    assert [len(each) for each in found] == [12, 12, 12]
    assert all(set(line) == {"image", "tag", "score", "unseen", "row"} for line in found[0])
    assert found[0] == found[1]
    assert [line["image"] for line in found[2][::3]] == [f"{rows}:{i}" for i in range(4)]
    for line, other in zip(found[0], found[2], strict=True):
        assert {**line, "image": ""} == {**other, "image": ""}
    assert {line["tag"] for line in found[0] if line["unseen"]} <= {"elk", "red"}


def test_the_best_of_a_list_of_tags_and_rendered_images(model, tmp_path, capsys):
    file = noise(tmp_path / "a.png")
    rows = table(tmp_path / "b.parquet", [file, file])
    (tmp_path / "tags.txt").write_text("# two of them\nElk\ncar\n")
    arguments = ["predict", str(file), str(rows), "--model", str(model), "--rendered", str(tmp_path / "out")]
    assert main([*arguments, "--tags", str(tmp_path / "tags.txt")]) == 0
    given = lines(capsys)
    assert [{line["tag"] for line in given[i : i + 2]} for i in (0, 2, 4)] == [{"Elk", "car"}] * 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b-0.png", "b-1.png"]


def test_a_tag_that_the_model_was_not_trained_with_is_known_by_its_vector_alone(model, tmp_path, capsys):
    file = str(noise(tmp_path / "a.png"))
    (tmp_path / "tags.txt").write_text("Horse\nhorse\ncar\n")
    assert main(["predict", file, "--model", str(model), "--tags", str(tmp_path / "tags.txt")]) == 0
    given = {line["tag"]: line for line in lines(capsys)}
    assert main(["predict", file, "--model", str(model)]) == 0
    trained = {line["tag"]: line for line in lines(capsys)}
    assert set(given) == {"Horse", "horse", "car"}
    assert [given[tag]["unseen"] for tag in ("Horse", "car")] == [True, False]
    assert given["car"]["score"] == pytest.approx(trained["car"]["score"], rel=1e-5)
    loaded = load_model(model, SEMANTIC_MATRIX)
    vector = make_label_vectors(LabelSpace.of(["horse"]), loaded.settings.vectors).vectors
    pixels = squash(as_rgb(Image.open(file)), 32)[None]
    assert given["Horse"]["score"] == pytest.approx(
        float(predict_scores(loaded.network.matrix, pixels, vector).scores), rel=1e-5
    )


def test_paths_are_relative_to_where_the_command_was_given(model, tmp_path, capsys, monkeypatch):
    noise(tmp_path / "here.png")
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "here.png", "--model", str(model), "--top-k", "1"]) == 0
    assert lines(capsys)[0]["image"] == "here.png"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/absent.png"], "absent.png: no such file or folder"),
        (["{tmp}/empty"], "empty: holds no image"),
        (["{tmp}/text.png"], "text.png: not a readable image; expected one of JPEG, PNG"),
        (["{tmp}/text.parquet"], "text.parquet: not a readable Parquet file"),
        (["{tmp}/numbers.parquet"], "columns are n; expected images in 'image' or 'img'"),
        (["{tmp}/paths.parquet"], "paths.parquet:0: image holds no bytes"),
        (["{tmp}/fine.png", "--top-k", "0"], "top_k is 0"),
        (["{tmp}/fine.png", "--batch-size", "0"], "batch_size 0; both are at least 1"),
        (["{tmp}/fine.png", "--batch-size", "-1"], "batch_size -1; both are at least 1"),
        (["{tmp}/fine.png", "--tags", "{tmp}/absent.txt"], "absent.txt: not a readable list of names"),
        (
            ["{tmp}/fine.png", "--tags", "{tmp}/strange.txt"],
            "the model does not know 'elks'; {model}/words.txt: no vector for 1 of 1 labels: 'elks'",
        ),
        (["{tmp}/fine.png", "--model", "{tmp}/empty"], "empty: no trained model in model.json"),
        (["{tmp}/fine.png", "--device", "abacus"], "device: 'abacus' cannot be used"),
        (["{tmp}/fine.png", "{tmp}/fine.png", "--rendered", "{tmp}/out"], "two images would be rendered"),
    ],
)
def test_one_sentence_says_what_to_mend(model, tmp_path, capsys, arguments, said):
    (tmp_path / "empty").mkdir()
    noise(tmp_path / "fine.png")
    noise(tmp_path / "twice" / "fine.png")
    for name in ("text.png", "text.parquet"):
        (tmp_path / name).write_text("neither")
    (tmp_path / "strange.txt").write_text("car\nelks\n")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"image": ["a.png"]}), tmp_path / "paths.parquet")
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert main(["predict", "--model", str(model), *filled]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said.replace("{model}", str(model)) in error
    assert error.count("\n") == 1
