import random
import shutil

import pytest

from figment.cli import main
from figment.errors import InputError
from figment.planning.plan import write_plan
from figment.synthesis.replay import psnr, replay


@pytest.fixture(scope="module")
def folder(plan, pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_plan(plan, folder / "plan.parquet")
    shutil.copytree(pool.folder, folder / "images")
    return folder


def test_twenty_random_images_come_back_from_their_rows_alone(folder, plan):
    ids = plan["image_id"].to_pylist()
    for image_id in random.Random(0).choices(ids, k=20):
        again = replay(folder / "plan.parquet", image_id)
        assert again.image_id == image_id
        assert again.psnr > 45
        assert again.equal == (again.psnr == float("inf"))


def test_the_command_takes_the_beginning_of_an_id_and_saves_the_image(folder, plan, capsys):
    image_id = plan["image_id"][0].as_py()
    saved = folder / "again.png"
    assert main(["replay", image_id[:12], "--plan", str(folder / "plan.parquet"), "--save", str(saved)]) == 0
    said = capsys.readouterr().out
    assert image_id in said
    assert "the files are equal" in said or "PSNR" in said
    assert saved.read_bytes()[:4] == b"\x89PNG"


def test_an_id_that_no_plan_holds_is_a_sentence(folder, capsys):
    with pytest.raises(InputError, match=r"plan\.parquet: no image whose id begins with 'xyz'"):
        replay(folder / "plan.parquet", "xyz")
    with pytest.raises(InputError, match="18 images whose id begins with ''"):
        replay(folder / "plan.parquet", "")
    assert main(["replay", "xyz", "--plan", str(folder / "plan.parquet")]) == 2
    assert "error: " in capsys.readouterr().err


def test_an_image_that_is_planned_but_not_rendered_is_a_sentence(plan, tmp_path):
    write_plan(plan, tmp_path / "plan.parquet")
    with pytest.raises(InputError, match="is planned but not rendered yet"):
        replay(tmp_path / "plan.parquet", plan["image_id"][0].as_py())


def test_psnr_by_hand():
    import numpy as np

    black, grey = np.zeros((2, 2)), np.full((2, 2), 25.5)
    assert psnr(black, grey) == pytest.approx(20.0)
    assert psnr(grey, grey) == float("inf")
