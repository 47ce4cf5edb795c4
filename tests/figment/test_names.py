import pytest

from figment.names import DEVICES, MAX_BYTES, file_names, folder_key

KEPT = ["car", "traffic light", "自転車", "Ærø", "T-shirt", "a.b", "(x), y", "it's", "c+", "_x"]
WRITTEN = {
    "../x": "%2E.%2Fx", "a/b": "a%2Fb", "a\\b": "a%5Cb", "CON": "%43ON", "con.txt": "%63on.txt", "dot.": "dot%2E", " x": "%20x",
    "-rf": "%2Drf", "100%": "100%25", "a:b": "a%3Ab", "new\nline": "new%0Aline", "\0": "%00", ".": "%2E", "..": "%2E%2E",
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_name_that_every_file_system_takes_is_kept(name):
    assert file_names([name]) == {name: name}


@pytest.mark.parametrize(("name", "folder"), WRITTEN.items(), ids=map(repr, WRITTEN))
def test_what_is_unsafe_is_written_as_in_a_url(name, folder):
    assert file_names([name]) == {name: folder}


def test_any_names_are_folders_of_their_own_on_every_system():
    names = [
        *KEPT,
        *WRITTEN,
        "Car",
        "CAR",
        "traffic_light",
        "x" * 300,
        "y" * 300,
        "x" * 299,
        "車" * 100,
        "",
        "é",
        "e\u0301",
    ]
    folders = file_names(names)
    assert list(folders) == names
    assert len({folder_key(folder) for folder in folders.values()}) == len(names)
    for folder in folders.values():
        assert 0 < len(folder.encode()) <= MAX_BYTES
        assert not DEVICES.fullmatch(folder)
        assert not set(folder) & set('/\\:*?"<>|\0\n')
        assert not {folder[0], folder[-1]} & set(". ")
