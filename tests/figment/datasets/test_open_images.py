import pytest
import torch
from PIL import Image

from figment.datasets import open_images
from figment.datasets.open_images import read_codes, read_open_images
from figment.errors import InputError
from figment.labels import LabelSpace

LABELS = LabelSpace.model_validate({"labels": [{"name": "cell_phone", "synonyms": ["Mobile phone"]}, {"name": "dog"}]})
A, B, C, D = ("000002b66c9c498e", "000002b97e5471a0", "000002c707c9895e", "0000048549557964")


def ids(tags):
    return [tags.image_id(i) for i in range(len(tags))]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def descriptions(tmp_path):
    """Not in the labels' order, names in other spellings, two codes of one name."""
    return write(
        tmp_path / "class-descriptions.csv", '/m/0bt9lr,Dog\n/m/01g317,Person\n/m/050k8,Mobile phone\n/m/0x,"Dog"\n'
    )


@pytest.fixture
def tags(tmp_path):
    return write(
        tmp_path / "validation-annotations-human-imagelabels.csv",
        "ImageID,Source,LabelName,Confidence\n"
        f"{B},verification,/m/0bt9lr,1\n"
        f"{B},verification,/m/050k8,0\n"
        f"{A},verification,/m/050k8,1\n"
        f"{C},verification,/m/01g317,1\n"
        f"{A},crowdsource-verification,/m/0bt9lr,0\n"
        f"{A},verification,/m/0x,1\n",
    )


def test_tags_are_matched_by_name(tags, descriptions):
    found = read_open_images([tags], descriptions, LABELS)
    assert found.names == ("cell_phone", "dog")
    assert ids(found) == [A, B]  # of C nothing is known that was asked for
    assert found.targets([0, 1]).tolist() == [[1, 1], [0, 1]]  # present in one row is present
    assert found.targets([1]).tolist() == [[0, 1]]
    assert found.targets([1, 0, 1]).tolist() == [[0, 1], [1, 1], [0, 1]]
    assert found.targets([]).shape == (0, 2)
    assert found.targets([0]).dtype == torch.int8


def test_a_machine_is_believed_when_it_is_sure(tags, descriptions, tmp_path):
    machine = write(
        tmp_path / "machine.csv",
        "ImageID,Source,LabelName,Confidence\n"
        f"{C},machine,/m/0bt9lr,0.9\n{C},machine,/m/050k8,0.3\n{D},machine,/m/050k8,0.2\n",
    )
    found = read_open_images([tags, machine], descriptions, LABELS)
    assert ids(found) == [A, B, C]
    assert found.targets([2]).tolist() == [[-1, 1]]
    surer = read_open_images([tags, machine], descriptions, LABELS, min_confidence=0.2)
    assert surer.targets([2, 3]).tolist() == [[1, 1], [1, -1]]


def test_files_larger_than_a_chunk_are_read_whole(tags, descriptions, monkeypatch):
    whole = read_open_images([tags], descriptions, LABELS)
    monkeypatch.setattr(open_images, "CHUNK", 2)
    parts = read_open_images([tags], descriptions, LABELS)
    assert ids(parts) == ids(whole)
    assert torch.equal(parts.targets([0, 1]), whole.targets([0, 1]))


def test_a_header_over_the_names_does_no_harm(tmp_path):
    path = write(tmp_path / "oidv7.csv", "LabelName,DisplayName\n/m/0bt9lr,Dog\n/m/050k8,Cell Phone\n")
    assert read_codes(path, LABELS) == {"/m/0bt9lr": 1, "/m/050k8": 0}


def test_images(tags, descriptions, tmp_path):
    found = read_open_images([tags], descriptions, LABELS)
    folder = tmp_path / "validation"
    with pytest.raises(
        InputError, match=rf"validation: no image of the 2 tagged images; expected IMAGEID\.jpg, as {A}"
    ):
        found.with_images(folder)
    folder.mkdir()
    Image.new("L", (40, 20), 128).save(folder / f"{B}.jpg")
    assert found.with_images(folder).tolist() == [1]
    pixels = found.pixels([1], folder, 16)
    assert pixels.shape == (1, 3, 16, 16)
    assert (pixels == 128).all()
    with pytest.raises(InputError, match=rf"{A}\.jpg: no such image"):
        found.pixels([0, 1], folder, 16)
    (folder / f"{B}.jpg").write_bytes(b"junk")
    with pytest.raises(InputError, match=rf"{B}\.jpg: not a readable image"):
        found.pixels([1], folder, 16)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{A},verification,/m/0bt9lr,yes", r"line 3: Confidence is 'yes'; expected a number in \[0, 1\]"),
        (f"{A},verification,/m/0bt9lr,1.5", r"line 3: Confidence is '1\.5'"),
        (f"{A},verification,/m/0bt9lr,", r"line 3: Confidence is ''"),
        (
            "../../etc/passwd,verification,/m/0bt9lr,1",
            r"line 3: ImageID is '\.\./\.\./etc/passwd'; expected 16 hexadecimal",
        ),
    ],
)
def test_a_row_that_is_none_is_named_by_its_line(descriptions, tmp_path, row, message):
    path = write(tmp_path / "tags.csv", f"ImageID,Source,LabelName,Confidence\n{B},verification,/m/01g317,1\n{row}\n")
    with pytest.raises(InputError, match=rf"tags\.csv:? {message}"):
        read_open_images([path], descriptions, LABELS)


def test_files_that_are_not_what_they_should_be(tags, descriptions, tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv: not readable .*expected a csv with columns ImageID"):
        read_open_images([tmp_path / "absent.csv"], descriptions, LABELS)
    with pytest.raises(
        InputError, match=r"class-descriptions\.csv: not readable .*expected a csv with columns ImageID"
    ):
        read_open_images([descriptions], descriptions, LABELS)
    with pytest.raises(InputError, match=r"human-imagelabels\.csv: has 4 columns; expected two"):
        read_open_images([tags], tags, LABELS)
    with pytest.raises(InputError, match=r"empty\.csv: not readable"):
        read_open_images([tags], write(tmp_path / "empty.csv", ""), LABELS)
    with pytest.raises(InputError, match=r"no code is called 'dogs' and 1 more; the nearest names are Dog"):
        read_open_images([tags], descriptions, LabelSpace.of(["dogs", "zebra", "person"]))
    other = write(tmp_path / "other.csv", f"ImageID,LabelName,Confidence\n{A},/m/01g317,1\n")
    with pytest.raises(InputError, match=r"other\.csv: say nothing of cell_phone, dog; is it the right split"):
        read_open_images([other], descriptions, LABELS)
