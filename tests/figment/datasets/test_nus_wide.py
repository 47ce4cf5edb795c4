import io

import numpy as np
import pytest
from PIL import Image

from figment.datasets.nus_wide import nus_wide_space, read_nus_wide
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.environment import ROOT

UNSEEN = LabelSpace.model_validate(
    {"labels": [{"name": "animal"}, {"name": "dog", "parents": ["animal"]}, {"name": "sky"}]}
).checked()
TAGS = ["blue", "dog", "macro", "sky", "red"]  # two of the tags are concepts too
IMAGES = ["actor\\0001_1.jpg", "actor\\0002_2.jpg", "zebra\\0001_3.jpg"]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_images(folder, names=IMAGES):
    for name in names:
        path = folder / name.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg())


@pytest.fixture
def original(tmp_path):
    """Lists with Windows line ends and paths, tag rows that end in a tab, one file a concept, as distributed."""
    for folder in ("ImageList", "NUS_WID_Tags", "Groundtruth/TrainTestLabels"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "NUS_WID_Tags/TagList1k.txt").write_text("\n".join(TAGS) + "\n")
    rows = {"Train": ["1 1 0 0 0", "0 0 0 1 0", "0 0 1 0 1"], "Test": ["1 0 0 0 0", "0 0 0 0 0", "0 0 0 0 1"]}
    concepts = {"animal": "100", "dog": "100", "sky": "010"}
    for part in ("Train", "Test"):
        (tmp_path / f"ImageList/{part}Imagelist.txt").write_bytes("\r\n".join(IMAGES).encode() + b"\r\n")
        (tmp_path / f"NUS_WID_Tags/{part}_Tags1k.dat").write_text("".join(f"{row}\t\n" for row in rows[part]))
        for name, truth in concepts.items():
            (tmp_path / f"Groundtruth/TrainTestLabels/Labels_{name}_{part}.txt").write_text("\n".join(truth) + "\n")
    write_images(tmp_path / "Flickr")
    return tmp_path


@pytest.fixture
def release(tmp_path):
    names = ["sky", "blue", "dog", "animal", "macro", "red"]
    (tmp_path / "annotations/Tag_all").mkdir(parents=True)
    (tmp_path / "annotations/zsl").mkdir()
    (tmp_path / "annotations/Tag_all/all_labels.txt").write_text("\n".join(names) + "\n")
    matrix = np.array([[0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]])
    flat = np.array([name.split("\\")[1] + " " for name in IMAGES])
    for labels, images in (("train_all", "train"), ("val_all", "val"), ("val_gzsl", "val_gzsl")):
        np.save(tmp_path / f"annotations/zsl/formatted_{labels}_labels_filtered.npy", matrix)
        np.save(tmp_path / f"annotations/zsl/formatted_{images}_images_filtered.npy", np.char.add(flat, labels[:0]))
    write_images(tmp_path / "images", [name.strip() for name in ("0001_1.jpg", "0002_2.jpg", "0001_3.jpg")])
    return tmp_path


def labels_of(found) -> dict[str, set[str]]:
    return {
        file.name: {found.space.names[c] for c in row.nonzero()[:, 0].tolist()}
        for file, row in zip(found.files, found.targets, strict=True)
    }


def test_the_original_layout(original):
    space = nus_wide_space(original, UNSEEN)
    assert space.names == ("blue", "macro", "red", "animal", "dog", "sky")
    assert len(space.seen_ids) == 3
    train, zsl, gzsl = (read_nus_wide(original, split, space) for split in ("train", "zsl", "gzsl"))
    assert labels_of(train) == {"0001_1.jpg": {"blue"}, "0001_3.jpg": {"macro", "red"}}
    assert labels_of(zsl) == {"0001_1.jpg": {"animal", "dog"}, "0002_2.jpg": {"sky"}}
    assert labels_of(gzsl) == {"0001_1.jpg": {"blue", "animal", "dog"}, "0002_2.jpg": {"sky"}, "0001_3.jpg": {"red"}}
    assert gzsl.pixels([0, 2], 8).shape == (2, 3, 8, 8)


def test_the_zero_shot_release(release):
    space = nus_wide_space(release, UNSEEN)
    assert space.names == ("sky", "blue", "dog", "animal", "macro", "red")
    assert [space.names[i] for i in space.unseen_ids] == ["sky", "dog", "animal"]
    assert space.ancestors(2) == {3}
    train, zsl, gzsl = (read_nus_wide(release, split, space) for split in ("train", "zsl", "gzsl"))
    assert labels_of(train) == {"0001_1.jpg": {"blue"}, "0001_3.jpg": {"macro", "red"}}
    assert labels_of(zsl) == {"0001_1.jpg": {"dog", "animal"}, "0002_2.jpg": {"sky"}}
    assert labels_of(gzsl)["0001_1.jpg"] == {"blue", "dog", "animal"}


def test_the_shipped_concepts_are_81_with_the_papers_parents():
    space = LabelSpace.load(ROOT / "configs/labels/nus_wide_81.yaml")
    assert len(space) == len(space.unseen_ids) == 81
    parents = {name: {space.names[i] for i in space.ancestors(space.names.index(name))} for name in space.names}
    assert sum(map(len, parents.values())) == 38
    assert parents["whales"] == {"animal"}
    assert parents["bridge"] == {"buildings"}
    assert parents["police"] == {"person"}
    assert parents["sky"] == set()


def test_an_empty_split_is_one_clear_sentence(original):
    for name in ("animal", "dog", "sky"):
        (original / f"Groundtruth/TrainTestLabels/Labels_{name}_Test.txt").write_text("0\n0\n0\n")
    with pytest.raises(InputError, match=r"TestImagelist\.txt: empty, none of its 3 images shows any of 3 classes"):
        read_nus_wide(original, "zsl", nus_wide_space(original, UNSEEN))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("ImageList/TestImagelist.txt", "a.jpg\n..\\b.jpg\nc.jpg", r"image 2: file name '\.\./b\.jpg' leads out of"),
        ("ImageList/TestImagelist.txt", "a.jpg\nb.jpg\na.jpg", r"image 'a\.jpg' is listed twice"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "1 0 0 0 0\n", r"Test_Tags1k\.dat: has 1 rows of 5, expected one for each of 3"),
        ("Groundtruth/TrainTestLabels/Labels_dog_Test.txt", "1\n0\n", "has 2 lines, expected 0 or 1 for each of 3 images"),
        ("Groundtruth/TrainTestLabels/Labels_dog_Test.txt", "1\n0\nx\n", "expected 0 or 1"),
        ("Groundtruth/TrainTestLabels/Labels_dog_Test.txt", None, r"holds no Groundtruth/TrainTestLabels/Labels_dog_Test\.txt"),
        ("NUS_WID_Tags/TagList1k.txt", None, r"holds no NUS_WID_Tags/TagList1k\.txt"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "1 0 x 0 0\n" * 3, r"Test_Tags1k\.dat: not readable \(.*'x'\); expected a line an im"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "1 0 0 0 0\n0 0\n", r"Test_Tags1k\.dat: not readable .*expected a line an image"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "1 0\n0 0 0\n", r"Test_Tags1k\.dat: not readable .*Expected 2 fields in line 2, saw 3"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "1 0 0 0 300\n" * 3, r"Test_Tags1k\.dat: not readable .*of 0 or 1 for each tag"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "1 0 0 0 nan\n" * 3, r"Test_Tags1k\.dat: not readable .*of 0 or 1 for each tag"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "0 0 0\n0 7 0\n0 9 0\n", r"Test_Tags1k\.dat: holds a 9; expected a line an image"),
        ("NUS_WID_Tags/Test_Tags1k.dat", "", r"Test_Tags1k\.dat: not readable .*expected a line an image"),
    ],
)  # fmt: skip
def test_damaged_lists_are_one_clear_sentence(original, file, content, sentence):
    path = original / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_nus_wide(original, "gzsl", nus_wide_space(original, UNSEEN))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["original", "release"])
def test_images_that_flickr_no_longer_has_are_left_out_and_counted(request, layout, caplog):
    root = request.getfixturevalue(layout)
    space = nus_wide_space(root, UNSEEN)
    whole = read_nus_wide(root, "gzsl", space)
    assert not caplog.records
    (gone,) = root.rglob("0002_2.jpg")
    gone.unlink()
    found = read_nus_wide(root, "gzsl", space)
    assert labels_of(found) == {name: labels for name, labels in labels_of(whole).items() if name != "0002_2.jpg"}
    assert caplog.messages[0].endswith(": 1 of 3 images are not there and are left out")
    for file in found.files:
        file.unlink()
    with pytest.raises(InputError, match=r"none of 3 images is there, the first would be .*0001_1\.jpg; unpack them"):
        read_nus_wide(root, "gzsl", space)


def test_pickled_arrays_are_never_loaded(release):
    file = release / "annotations/zsl/formatted_val_images_filtered.npy"
    np.save(file, np.array(["a.jpg", None, {}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="holds pickled objects, which are never loaded"):
        read_nus_wide(release, "zsl", nus_wide_space(release, UNSEEN))


def test_matrices_of_another_release_are_noticed(release):
    np.save(release / "annotations/zsl/formatted_val_all_labels_filtered.npy", np.zeros((3, 5), int))
    with pytest.raises(InputError, match=r"has shape \(3, 5\), but there are 3 images .* and 6 labels"):
        read_nus_wide(release, "zsl", nus_wide_space(release, UNSEEN))


def test_concepts_that_the_release_does_not_know_are_named(release):
    with pytest.raises(InputError, match="its list of labels lacks unicorn"):
        nus_wide_space(release, LabelSpace.of(["sky", "unicorn"]))
