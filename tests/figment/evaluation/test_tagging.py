import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors
from figment.errors import InputError
from figment.evaluation.tagging import Tag, Tagger, load_tagger, predict_tags, render_tags, tag_files
from figment.images import squash
from figment.training.config import SemanticConfig
from models.semantic_matrix import SemanticMatrix, label_scores
from tests.saved_models import save_matrix

NAMES = ("car", "dog", "elk", "red")
CONFIG = SemanticConfig(model="test_resnet", image_size=32, rows=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    labels = LabelVectors.of(NAMES, torch.randn(4, 6), "test")
    save_matrix(folder, labels, CONFIG, ("elk", "red"))
    return folder


@pytest.fixture(scope="module")
def tagger(folder) -> Tagger:
    return load_tagger(folder)


def noise(mode="RGB", size=(50, 30), seed=0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_tags_are_the_best_scores_with_their_rows(tagger):
    image = noise()
    (tags,) = predict_tags(tagger, [image], top_k=3)
    with torch.inference_mode():
        matrix = tagger.model(squash(image, 32)[None].float() / 255)
    scores, rows = label_scores(matrix, tagger.labels.vectors)
    order = scores[0].argsort(descending=True)[:3].tolist()
    assert [tag.tag for tag in tags] == [NAMES[j] for j in order]
    assert [tag.score for tag in tags] == pytest.approx(scores[0, order].tolist(), rel=1e-4)
    assert [tag.row for tag in tags] == rows[0, order].tolist()
    assert [tag.unseen for tag in tags] == [NAMES[j] in ("elk", "red") for j in order]


def test_batches_change_nothing(tagger):
    images = [noise(seed=i) for i in range(5)]
    together = list(predict_tags(tagger, images, batch_size=8))
    one_by_one = list(predict_tags(tagger, images, batch_size=1))
    assert [[tag.tag for tag in tags] for tags in together] == [[tag.tag for tag in tags] for tags in one_by_one]
    scores = [[[tag.score for tag in tags] for tags in given] for given in (together, one_by_one)]
    assert np.allclose(*scores, atol=1e-4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_images_of_every_mode(tagger, mode):
    image = Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)) if mode == "I;16" else noise(mode)
    assert image.mode == mode
    (tags,) = predict_tags(tagger, [image])
    assert len(tags) == 4
    assert all(np.isfinite(tag.score) for tag in tags)


def test_sixteen_bits_look_like_their_eight(tagger):
    eight = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    sixteen = Image.fromarray(eight.astype(np.uint16) * 257)
    first, second = predict_tags(tagger, [Image.fromarray(eight), sixteen])
    assert first == second


def test_a_file_is_tagged_like_the_image_in_it(tagger, tmp_path):
    for i, mode in enumerate(["L", "P", "RGBA", "LA", "RGB", "1"]):
        image = noise(mode, seed=i)
        image.save(tmp_path / "image.png")
        (tags,) = predict_tags(tagger, [image])
        lines = list(tag_files(tagger, [tmp_path / "image.png"]))
        assert [json.loads(line)["tag"] for line in lines] == [tag.tag for tag in tags]
        assert [json.loads(line)["score"] for line in lines] == pytest.approx([tag.score for tag in tags])


def test_exif_orientation_is_applied(tagger, tmp_path):
    upright, exif = noise(), Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    turned = Image.open(tmp_path / "turned.png")
    assert list(predict_tags(tagger, [turned])) == list(predict_tags(tagger, [upright]))
    lines = [json.loads(line) for line in tag_files(tagger, [tmp_path / "turned.png", tmp_path / "upright.png"])]
    assert [line["score"] for line in lines[:4]] == [line["score"] for line in lines[4:]]


def test_files_become_lines_of_json_and_images_with_tags(tagger, tmp_path):
    files = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, file in enumerate(files):
        noise(seed=i).save(file)
    lines = [json.loads(line) for line in tag_files(tagger, files, 2, 2, tmp_path / "rendered")]
    assert [line["image"] for line in lines] == [str(file) for file in files for _ in range(2)]
    assert all(set(line) == {"image", "tag", "score", "unseen", "row"} for line in lines)
    assert sorted(p.name for p in (tmp_path / "rendered").iterdir()) == ["0.png", "1.png", "2.png"]
    with Image.open(tmp_path / "rendered" / "0.png") as rendered:
        assert rendered.width > 160 * 50 / 30


def test_only_some_tags_can_be_asked_for(tagger):
    some = tagger.choose(["Elk", "car"], "tags.txt")
    ((first, second),) = predict_tags(some, [noise()])
    assert {first.tag, second.tag} == {"Elk", "car"}
    assert {tag.tag for tag in (first, second) if tag.unseen} == {"Elk"}
    all_tags = {tag.tag: tag.score for tag in next(predict_tags(tagger, [noise()]))}
    assert {tag.tag.casefold(): tag.score for tag in (first, second)} == pytest.approx(
        {name: all_tags[name] for name in ("elk", "car")}
    )
    with pytest.raises(InputError, match=r"tags\.txt: no vector for 1 of 2 labels: 'elks' \(nearest to 'elks': elk"):
        replace(tagger, source=None).choose(["car", "elks"], "tags.txt")


def test_new_tags_take_their_vectors_from_the_models_own_source(tagger, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("car 9 9 9 9 9 9\nhorse 1 2 3 4 5 6\nwild 6 5 4 3 2 1\n")
    some = replace(tagger, source=LabelVectorConfig(file=str(words))).choose(["Horse", "elk", "car", "wild horse"], "t")
    assert some.labels.names == ("Horse", "elk", "car", "wild horse")
    assert some.unseen == {"Horse", "elk", "wild horse"}
    horse = torch.arange(1.0, 7)
    assert torch.allclose(some.labels.vectors[0], horse / horse.norm())
    assert torch.allclose(
        some.labels.vectors[1:3], tagger.labels.vectors[[2, 0]]
    )  # the model's own are not asked for again
    words.write_text("horse 1 2\n")
    with pytest.raises(
        InputError, match=r"tags\.txt: the model does not know 'horse'; .*words\.txt: vectors of 2 dimensions"
    ):
        replace(tagger, source=LabelVectorConfig(file=str(words))).choose(["horse"], "tags.txt")


def test_a_label_can_be_added_by_its_vector_alone(tagger):
    car = tagger.labels.vectors[0]
    more = tagger.with_labels(LabelVectors.of(["automobile"], car[None], "there"), "there")
    (tags,) = predict_tags(more, [noise()])
    by_name = {tag.tag: tag for tag in tags}
    assert by_name["automobile"].score == pytest.approx(by_name["car"].score, rel=1e-5)
    assert by_name["automobile"].unseen
    assert not by_name["car"].unseen


def test_equal_scores_stand_in_the_labels_order():
    model = SemanticMatrix(timm.create_model("test_resnet", num_classes=0), 96, 2, 3).eval()
    labels = LabelVectors.of(["b", "a", "c"], torch.ones(3, 3), "test")
    (tags,) = predict_tags(Tagger(model, labels, frozenset(), 32), [noise()])
    assert [tag.tag for tag in tags] == ["b", "a", "c"]


def test_vectors_of_another_dimension_are_refused(tagger):
    labels = LabelVectors.of(["car"], [[1, 2]], "test")
    with pytest.raises(InputError, match=r"label vectors have 2 dimensions, the model's matrix 6"):
        Tagger(tagger.model, labels, frozenset(), 32)


def test_what_is_no_image_is_named(tagger, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    noise().save(tmp_path / "fine.png")
    given = tag_files(tagger, [tmp_path / "fine.png", tmp_path / "text.jpg", tmp_path / "fine.png"], top_k=1)
    lines = [json.loads(next(given)) for _ in range(3)]
    assert lines[0] == lines[2]
    assert "not a readable image" in lines[1]["error"]
    with pytest.raises(InputError, match=r"text\.jpg: not a readable image"):
        next(given)
    with pytest.raises(InputError, match=r"absent\.jpg: not a readable image \(No such file or directory\)"):
        list(tag_files(tagger, [tmp_path / "absent.jpg"]))
    with pytest.raises(InputError, match="top_k is 0"):
        list(predict_tags(tagger, [noise()], top_k=0))


def test_two_images_of_one_name_are_not_rendered_over_each_other(tagger, tmp_path):
    with pytest.raises(InputError, match="two images would be rendered"):
        list(tag_files(tagger, [tmp_path / "x" / "a.jpg", tmp_path / "x" / "a.jpg"], rendered=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_unseen_tags_are_rendered_between_stars():
    image = noise()
    unseen = render_tags(image, [Tag("elk", 1.0, True, 0)])
    assert unseen.tobytes() == render_tags(image, [Tag("*elk*", 1.0, False, 0)]).tobytes()
    assert unseen.tobytes() != render_tags(image, [Tag("elk", 1.0, False, 0)]).tobytes()


def test_long_and_many_tags_are_rendered_whole():
    short, long = (render_tags(noise(), [Tag("demonstration " * n, 1.0, False, 0)]) for n in (1, 5))
    assert long.width > short.width
    assert render_tags(noise(size=(300, 200)), [Tag("a", 1.0, False, 0)] * 40).height >= 40 * 18
