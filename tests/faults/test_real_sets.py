"""Real images that may be trained on, unlabelled or few: what is wrong with them is one sentence, before anything is rendered."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from figment.cli import main
from figment.datasets.config import RealConfig
from figment.datasets.real import check_data
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops import tracking
from figment.ops.set_gates import Gates
from figment.validation.config import GateConfig

SPACE = LabelSpace.of(["cat", "dog"])
CONFIG = Path("configs/pocket/bag_of_tricks.yaml")


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((32, 32), 90 + seed).convert("RGB").save(path)


@pytest.fixture
def data(tmp_path):
    for number, name in enumerate(("test/cat/1.png", "test/dog/2.png", "train/cat/3.png", "train/dog/4.png")):
        noise(tmp_path / "real" / name, number)
    noise(tmp_path / "more/5.png", 5)
    return tmp_path


def image_of_the_test(data):
    shutil.copy(data / "real/test/cat/1.png", data / "more/other_name.png")


def image_of_the_test_mirrored(data):
    Image.open(data / "real/test/dog/2.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(data / "more/m.png")


def image_of_the_test_larger(data):
    Image.open(data / "real/test/dog/2.png").resize((64, 64)).save(data / "more/deep.jpg", quality=95)


def gates_of(data, monkeypatch, gates=GateConfig(), **real):  # noqa: B008
    monkeypatch.setattr(tracking, "log_file", lambda *_: None)  # no run is under way here
    config = RealConfig(path=str(data / "real"), **real)
    return Gates(gates, data / "out").check_labelled(SPACE, config)


def sentence(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("leak", [image_of_the_test, image_of_the_test_mirrored, image_of_the_test_larger])
def test_no_unlabelled_image_is_a_test_image(data, monkeypatch, leak):
    leak(data)
    with pytest.raises(InputError, match=r"'unlabelled images'.*more/.*test/.*real.unlabelled") as caught:
        gates_of(data, monkeypatch, unlabelled=str(data / "more"))
    sentence(caught)


def test_no_shot_is_a_test_image(data, monkeypatch):
    shutil.copy(data / "real/test/cat/1.png", data / "real/train/cat/3.png")
    with pytest.raises(InputError, match=r"'real shots'.*test_twin") as caught:
        gates_of(data, monkeypatch, GateConfig(max_real_leakage=1), shots=1)
    sentence(caught)


def test_other_images_pass(data, monkeypatch):
    checked = gates_of(data, monkeypatch, unlabelled=str(data / "more"), shots=1)
    assert checked[-2:] == ["unlabelled images", "real shots"]


def no_image(data):
    (data / "more/5.png").rename(data / "more/5.txt")


def damaged(data):
    (data / "more/5.png").write_bytes(b"no image")


def other_columns(data):
    (data / "more/5.png").unlink()
    pq.write_table(pa.table({"picture": [b"1"]}), data / "more/a.parquet")


def gone(data):
    shutil.rmtree(data / "more")


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (no_image, "more: holds no image"),
        (damaged, "5.png"),
        (other_columns, "picture; expected image"),
        (gone, "no such"),
    ],
)
def test_unlabelled_images_that_are_none(data, harm, found):
    harm(data)
    with pytest.raises(InputError, match=found) as caught:
        check_data(RealConfig(path=str(data / "real"), unlabelled=str(data / "more")), SPACE)
    sentence(caught)


def test_more_shots_than_images_and_no_train_split(data):
    with pytest.raises(InputError, match=r"real.shots: .*'cat': 1 photos for 2 shots") as caught:
        check_data(RealConfig(path=str(data / "real"), shots=2), SPACE)
    sentence(caught)
    shutil.rmtree(data / "real/train")
    with pytest.raises(InputError, match=r"real.shots: .* has no split 'train'") as caught:
        check_data(RealConfig(path=str(data / "real"), shots=1), SPACE)
    sentence(caught)


@pytest.mark.parametrize(
    ("real", "found"),
    [
        ({"unlabelled": "data/real"}, "unlabelled is 'data/real', which holds the test images"),
        ({"unlabelled": "./data/../data/real/"}, "which holds the test images"),
        ({"unlabelled": ""}, "the path is empty"),
        ({"unlabelled": 5}, "real.unlabelled"),
        ({"shots": -1}, "real.shots"),
        ({"shots": "two"}, "real.shots: 'two' is not there"),
        ({"shots": True}, "real.shots"),
        ({"shot": 2}, "did you mean 'shots'"),
    ],
)
def test_fields_of_the_config(tmp_path, capsys, real, found):
    config = yaml.safe_load(CONFIG.read_text())
    config["parameters"]["real"] |= real
    (tmp_path / "config.yaml").write_text(f"# recipe: bag_of_tricks\n{yaml.safe_dump(config)}")
    assert main(["check", str(tmp_path / "config.yaml")]) == 2
    told = capsys.readouterr()
    assert found in told.err + told.out
    assert "Traceback" not in told.err
