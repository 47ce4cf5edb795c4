import io
import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.datasets.labelled import has_split, open_labelled, read_labelled
from figment.errors import InputError
from figment.images import to_tensor
from figment.labels import LabelSpace

SPACE = LabelSpace.model_validate(
    {
        "labels": [{"name": "airplane"}, {"name": "automobile", "synonyms": ["car"]}],
        "others": ["bird", "truck"],
    }
)


def png(value: int, size: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path, labels, column="img", names=None):
    rows = [{column: {"bytes": png(i), "path": f"{i}.png"}, "label": label} for i, label in enumerate(labels)]
    table = pa.Table.from_pylist(rows)
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_batches(folder, labels):
    folder.mkdir(parents=True)
    data = np.zeros((len(labels), 3072), np.uint8)
    data[:, 0] = np.arange(len(labels))
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": data, b"labels": labels}, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"airplane", b"automobile"]}, protocol=2))


def test_hub_parquet_with_names_in_its_metadata(tmp_path):
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [1, 0, 1], names=["airplane", "automobile"])
    images = read_labelled(tmp_path, "test", SPACE, 32)
    assert images.labels.tolist() == [1, 0, 1]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert images.pixels.dtype == torch.uint8


def test_hub_parquet_with_names_as_labels(tmp_path):
    write_parquet(tmp_path / "test.parquet", ["Car", "airplane", "bird"], column="image")
    assert read_labelled(tmp_path, "test", SPACE, 32).labels.tolist() == [1, 0]


def test_cifar10_parquet_without_names_is_known_by_its_folder(tmp_path):
    write_parquet(tmp_path / "cifar10" / "test-0.parquet", [0, 1, 9])
    assert read_labelled(tmp_path / "cifar10", "test", SPACE, 32).labels.tolist() == [0, 1]


def test_python_batches(tmp_path):
    write_batches(tmp_path / "cifar-10-batches-py", [1, 0, 0])
    images = read_labelled(tmp_path, "test", SPACE, 32)
    assert images.labels.tolist() == [1, 0, 0]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/figment-was-here",)


def test_a_malicious_batch_runs_nothing(tmp_path):
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(InputError, match=r"test_batch: not a CIFAR python batch \(it asks for '?posix\.system"):
        read_labelled(tmp_path, "test", SPACE, 32)
    assert not os.path.exists("/tmp/figment-was-here")


def test_class_folders_may_be_nested_named_loosely_and_hold_any_mode(tmp_path):
    for name, mode in (("Airplane", "RGBA"), ("automobile", "L")):
        (tmp_path / name / "samples").mkdir(parents=True)
        Image.new(mode, (40, 50)).save(tmp_path / name / "samples" / "1.png")
    images = read_labelled(tmp_path, "test", SPACE, 32)
    assert images.labels.tolist() == [0, 1]
    assert images.pixels.shape == (2, 3, 32, 32)


def test_per_class_takes_the_first_of_each(tmp_path):
    write_parquet(tmp_path / "test.parquet", ["car", "car", "airplane", "airplane"])
    assert read_labelled(tmp_path, "test", SPACE, 32, per_class=1).pixels[:, 0, 0, 0].tolist() == [0, 2]


def test_an_absent_class_is_an_error_that_lists_both_sides(tmp_path):
    write_parquet(tmp_path / "test.parquet", ["car", "bird"])
    with pytest.raises(InputError, match=r"no image of airplane; of the classes asked for it holds automobile"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_a_missing_set_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        read_labelled(tmp_path / "nowhere", "test", SPACE, 32)


def test_a_broken_parquet_is_named(tmp_path):
    (tmp_path / "test.parquet").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"test\.parquet: not a readable Parquet"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_a_broken_image_is_named_by_row(tmp_path):
    rows = [
        {"image": {"bytes": png(0), "path": ""}, "label": "car"},
        {"image": {"bytes": b"x", "path": ""}, "label": "airplane"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    with pytest.raises(InputError, match=r"test\.parquet row 1: not a readable image"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_columns_that_do_not_fit_are_named(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "test.parquet")
    with pytest.raises(InputError, match="columns are x; expected image"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_a_label_out_of_range_is_named_by_row(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0, 7], names=["airplane", "automobile"])
    with pytest.raises(InputError, match=r"row 1: label 7 is outside the 2 names known"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_images_without_a_split_are_test_images_only(tmp_path):
    """Nothing may be trained on what measures it."""
    folders, single = tmp_path / "folders", tmp_path / "single.parquet"
    for name in ("airplane", "automobile"):
        (folders / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folders / name / "1.png")
    write_parquet(single, ["airplane", "car"])
    for path in (folders, single):
        assert len(read_labelled(path, "test", SPACE, 32)) == 2
        assert has_split(path, "test")
        assert not has_split(path, "train")


def test_folders_below_a_split_belong_to_it(tmp_path):
    for split in ("train", "test"):
        for name in ("airplane", "automobile"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (0 if split == "train" else 9, 0, 0)).save(tmp_path / split / name / "1.png")
    assert read_labelled(tmp_path, "train", SPACE, 32).pixels.max() == 0
    assert read_labelled(tmp_path, "test", SPACE, 32).pixels.max() == 9


def test_images_stored_by_path_alone_are_named(tmp_path):
    rows = [{"image": {"bytes": None, "path": "a.png"}, "label": label} for label in ("car", "airplane")]
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "test.parquet")
    with pytest.raises(InputError, match=r"row 0: image holds no bytes"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_a_damaged_page_is_the_files_fault(tmp_path):
    write_parquet(tmp_path / "test.parquet", ["car", "airplane"] * 200, column="image")
    data = bytearray((tmp_path / "test.parquet").read_bytes())
    data[10:2000] = bytes(1990)
    (tmp_path / "test.parquet").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"test\.parquet"):
        read_labelled(tmp_path, "test", SPACE, 32)


def class_folder(root, name, mode="RGB", colour=0, file="1.png"):
    (root / name).mkdir(parents=True, exist_ok=True)
    Image.new(mode, (32, 32), colour).save(root / name / file)


def test_a_misspelt_class_folder_shows_both_sides(tmp_path):
    class_folder(tmp_path, "airplane")
    class_folder(tmp_path, "autombile")
    with pytest.raises(
        InputError,
        match=r"no image of automobile; of the classes asked for it holds airplane; "
        r"images of 'autombile' \(nearest: automobile\), which is no known class",
    ):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_an_extra_class_that_nobody_knows_is_an_error_and_one_not_chosen_is_not(tmp_path):
    for name in ("airplane", "automobile", "bird"):
        class_folder(tmp_path, name)
    assert len(read_labelled(tmp_path, "test", SPACE, 32)) == 2
    class_folder(tmp_path, "aeroplan")
    with pytest.raises(InputError, match=r"^\S+ \(test\): images of 'aeroplan' \(nearest: airplane\)"):
        read_labelled(tmp_path, "test", SPACE, 32)


def test_classes_left_out_by_choice_are_known(tmp_path):
    space = LabelSpace.of(["cat", "dog", "traffic light"]).choose(["dog", "cat"])
    for name in ("cat", "dog", "Traffic_Light"):
        class_folder(tmp_path, name)
    assert read_labelled(tmp_path, "test", space, 32).labels.tolist() == [1, 0]


def test_an_empty_class_folder_is_named(tmp_path):
    class_folder(tmp_path, "airplane")
    (tmp_path / "automobile" / "samples").mkdir(parents=True)
    (tmp_path / "automobile" / "notes.txt").write_text("no image")
    with pytest.raises(
        InputError, match=r"automobile: a class folder without an image; expected \.jpg, .*; fill or remove it"
    ):
        read_labelled(tmp_path, "test", SPACE, 32)
    (tmp_path / "automobile" / "1.HEIC").write_bytes(b"")
    with pytest.raises(InputError, match=r"without an image \(passed over: 1 \.heic such as 1\.HEIC\);"):
        read_labelled(tmp_path, "test", SPACE, 32)


@pytest.mark.parametrize("inner", ["", "samples"])
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_train_is_a_class_where_other_classes_stand_beside_it(tmp_path, name, inner):
    space = LabelSpace.of(["bus", name])
    for folder in ("bus", name):
        class_folder(tmp_path / folder, inner)
    assert read_labelled(tmp_path, "test", space, 32).labels.tolist() == [0, 1]
    assert not has_split(tmp_path, "train")


def test_a_train_is_a_split_whatever_without_images_stands_beside_it(tmp_path):
    space = LabelSpace.of(["bus", "train"])
    for split, colour in (("train", 0), ("test", 9), ("val", 5)):
        for name in ("bus", "train"):
            class_folder(tmp_path / split, name, colour=(colour, 0, 0))
    for empty in ("__MACOSX/train", "notes", ".thumbs"):
        (tmp_path / empty).mkdir(parents=True)
        (tmp_path / empty / "._1.png").write_bytes(b"")
    for split, colour in (("train", 0), ("test", 9)):
        images = read_labelled(tmp_path, split, space, 32)
        assert images.labels.tolist() == [0, 1]
        assert images.pixels.max() == colour


def test_hidden_files_are_no_images(tmp_path):
    """macOS leaves them on foreign disks, viewers keep thumbnails in them."""
    for name in ("airplane", "automobile"):
        class_folder(tmp_path, name)
        (tmp_path / name / "._1.png").write_bytes(b"no image")
        class_folder(tmp_path / name, ".thumbs")
    assert read_labelled(tmp_path, "test", SPACE, 32).labels.tolist() == [0, 1]


def test_larger_images_go_through_the_native_size_in_memory_and_streamed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    for name, image in zip(("airplane", "automobile"), pixels, strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "1.png")
    how = ("bilinear", 8)
    expected = torch.stack([to_tensor(Image.fromarray(image), 32, *how) for image in pixels])
    assert torch.equal(read_labelled(tmp_path, "test", SPACE, 32, None, *how).pixels, expected)
    second = open_labelled(tmp_path, "test", SPACE, 32, None, *how).subset(torch.tensor([1]))
    assert torch.equal(second.load().pixels, expected[1:])


def test_grey_transparent_and_sixteen_bit_images_are_read(tmp_path):
    class_folder(tmp_path, "airplane", "L", 50, "grey.png")
    class_folder(tmp_path, "airplane", "RGBA", (50, 50, 50, 9), "rgba.png")
    class_folder(tmp_path, "airplane", "I;16", 50 * 257, "sixteen.png")
    class_folder(tmp_path, "automobile", "P", 0)
    images = read_labelled(tmp_path, "test", SPACE, 32)
    assert images.pixels[:3].unique().tolist() == [50]


def test_eurosat_is_found_below_its_archives_folders(tmp_path):
    space = LabelSpace.of(["AnnualCrop", "SeaLake"])
    for root in (tmp_path / "torchvision" / "eurosat" / "2750", tmp_path / "zip" / "2750", tmp_path / "bare"):
        class_folder(root, "AnnualCrop")
        class_folder(root, "SeaLake")
    for name in ("torchvision", "zip", "bare"):
        assert read_labelled(tmp_path / name, "test", space, 64).labels.tolist() == [0, 1]


def test_eurosat_as_on_the_hub_with_the_display_names(tmp_path):
    space = LabelSpace.of(["AnnualCrop", "SeaLake"])
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [0, 1], "image", ["Annual Crop", "Sea Lake"])
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 0], "image", ["Annual Crop", "Sea Lake"])
    assert read_labelled(tmp_path, "train", space, 64).labels.tolist() == [0, 1]
    assert read_labelled(tmp_path, "test", space, 64).labels.tolist() == [1, 0]


def test_cifar100_batches_have_fine_labels_and_labels_out_of_range_are_named(tmp_path):
    space = LabelSpace.of(["apple", "aquarium_fish"])

    def write(labels):
        data = np.zeros((len(labels), 3072), np.uint8)
        batch = {b"data": data, b"fine_labels": labels, b"coarse_labels": [0] * len(labels)}
        (tmp_path / "test").write_bytes(pickle.dumps(batch, protocol=2))

    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple", b"aquarium_fish"]}, protocol=2))
    write([1, 0])
    assert read_labelled(tmp_path, "test", space, 32).labels.tolist() == [1, 0]
    for wrong in (2, -1):
        write([0, wrong])
        with pytest.raises(InputError, match=rf"test row 1: label {wrong} is outside the 2 names known"):
            read_labelled(tmp_path, "test", space, 32)


def test_a_batch_with_more_labels_than_images_is_named(tmp_path):
    write_batches(tmp_path / "cifar-10-batches-py", [1, 0])
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [0, 1]}, protocol=2))
    with pytest.raises(InputError, match="test_batch: 2 labels, but another number of images"):
        read_labelled(tmp_path, "test", SPACE, 32)
