"""What stops a run before anything is rendered, and what a person is told to do about it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figment.datasets.config import RealConfig
from figment.labels import LabelSpace
from figment.ops import gates as ops
from figment.ops.quality import DataQualityError
from figment.ops.set_gates import Gates
from figment.validation.config import GateConfig

SPACE = LabelSpace.of(("cat", "ship"))


@pytest.fixture(autouse=True)
def _without_mlflow(monkeypatch):
    monkeypatch.setattr(ops.tracking, "log_file", lambda path, folder=None: None)


@pytest.fixture
def real(tmp_path) -> Path:
    """Four unlike images of either class to train on and to test with."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in SPACE.names:
            folder = tmp_path / "real" / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                blocks = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(blocks).resize((32, 32), Image.Resampling.NEAREST).save(folder / f"{i}.png")
    return tmp_path / "real"


def checked(real: Path, **settings) -> list[str]:
    return Gates(GateConfig(**settings), real.parent / "out").check_labelled(SPACE, RealConfig(path=str(real)))


def test_good_images_pass_without_a_generated_one(real):
    assert checked(real) == ["evaluation set", "real training list"]
    assert {page.stem for page in (real.parent / "out/gates").glob("*.html")} == {
        "evaluation_set", "real_training_list"
    }  # fmt: skip


def test_a_blank_test_image_is_named_with_what_to_do_and_may_be_allowed(real):
    Image.new("RGB", (32, 32), "white").save(real / "test/ship/flat.png")
    with pytest.raises(DataQualityError, match=r"ship/flat\.png has 0\.0; take blank images out, .* gates\.max_blank"):
        checked(real)
    with pytest.raises(DataQualityError, match=r"flat\.png"):
        checked(real, max_blank=0.1)
    assert checked(real, max_blank=0.12) == ["evaluation set", "real training list"]


def test_a_training_image_among_the_test_ones_is_named_with_what_to_do(real):
    (real / "train/cat/again.png").write_bytes((real / "test/cat/2.png").read_bytes())
    with pytest.raises(DataQualityError, match=r"cat/again\.png has '.*cat/2\.png'; .* gates\.max_real_leakage"):
        checked(real)
    assert checked(real, max_real_leakage=0.12)
