import re

import pytest
from PIL import Image

from figment.errors import InputError
from figment.image_files import find_files


def test_a_folder_means_its_images_without_the_hidden_ones(tmp_path, capsys):
    folder = tmp_path / ".mine"  # hidden itself, but asked for by name
    for name in ("b.png", "a.jpg", "sub/c.PNG", "._a.jpg", ".thumbs/a.jpg", "sub/.trash/more/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    assert find_files([folder]) == [folder / "a.jpg", folder / "b.png", folder / "sub" / "c.PNG"]
    assert not capsys.readouterr().err


def test_images_that_nothing_here_reads_are_counted(tmp_path, capsys):
    for name in ("1.HEIC", "2.heic", "3.jxl", "._4.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    told = " (passed over: 2 .heic such as 1.HEIC, 1 .jxl such as 3.jxl)"
    with pytest.raises(InputError, match=rf"holds no image{re.escape(told)}; expected files"):
        find_files([tmp_path])
    Image.new("RGB", (4, 4)).save(tmp_path / "5.png")
    assert find_files([tmp_path]) == [tmp_path / "5.png"]
    assert f"not all can be read{told}; save those as JPEG" in capsys.readouterr().err
