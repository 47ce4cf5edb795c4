import os
import pickle

import numpy as np
import pytest
import torch

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import (
    LabelVectors,
    differ_in_number,
    make_label_vectors,
    read_names,
    read_npz_vectors,
    read_pickled_names,
    read_pickled_vectors,
    twin_free,
    twins,
)
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.labels import LabelSpace

LABELS = LabelSpace.model_validate(
    {"labels": [{"name": "cat"}, {"name": "traffic_light"}, {"name": "tv", "synonyms": ["telly"]}]}
)


def unit(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


def from_file(path, labels=LABELS, **kwargs):
    return make_label_vectors(labels, LabelVectorConfig(file=str(path), **kwargs))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_clips_text_tower_is_the_default():
    labels = LabelSpace.of(["car", "frog", "banana"])
    vectors = make_label_vectors(labels, LabelVectorConfig(clip=ClipConfig(model="local-dir:models/pocket/clip")))
    expected = ClipScorer(ClipConfig(model="local-dir:models/pocket/clip")).text_features(labels)
    assert vectors.names == labels.names
    assert torch.allclose(vectors.vectors, expected.cpu(), atol=1e-6)


def test_glove_text(tmp_path):
    path = write(tmp_path / "glove.txt", "the 9 9\ncat 3 4\ntelly 0 2\ntraffic 1 0\nlight 0 5\n")
    vectors = from_file(path)
    assert vectors.names == ("cat", "traffic_light", "tv")
    assert torch.allclose(vectors.vectors, unit([3, 4], [1, 1], [0, 1]))  # a phrase is the mean direction of its words


def test_fasttext_text_has_a_header_and_trailing_spaces(tmp_path):
    path = write(tmp_path / "wiki.vec", "4 2\ncat 3 4 \nTV 1 0 \ntv 0 1 \ntraffic-light 5 0 \n")
    assert torch.allclose(from_file(path).vectors, unit([3, 4], [1, 0], [0, 1]))


def test_the_spelling_asked_for_comes_before_another_case(tmp_path):
    path = write(tmp_path / "glove.txt", "turkey 1 0\nTurkey 0 1\nPolish 1 1\n")
    labels = LabelSpace.of(["Turkey", "polish"])
    assert torch.allclose(from_file(path, labels).vectors, unit([0, 1], [1, 1]))


def test_words_with_spaces_as_in_the_largest_glove_file(tmp_path):
    path = write(tmp_path / "glove.txt", "the 1 2\ncat name@domain.com 7 7\n. . . 5 5\ncat 3 4\n")
    labels = LabelSpace.of(["cat", "the"])
    assert torch.allclose(from_file(path, labels).vectors, unit([3, 4], [1, 2]))


@pytest.mark.parametrize("gap", ["\t", "  ", "\t "])
@pytest.mark.parametrize("header", [False, True])
def test_tabs_and_more_than_one_space(tmp_path, gap, header):
    rows = [["3", "2"]] * header + [["cat", "3", "4"], ["tv", "1", "0"], ["traffic-light", "5", "0"]]
    path = write(tmp_path / "words.txt", "".join(gap.join(row) + "\n" for row in rows))
    assert torch.allclose(from_file(path).vectors, unit([3, 4], [1, 0], [1, 0]))


def test_punctuation_around_a_names_words_is_passed_over_where_the_file_knows_none(tmp_path):
    path = write(
        tmp_path / "glove.txt", "bmw 1 0 0\n3 0 1 0\ne90 0 0 1\nst. 0 1 1\nst 9 0 0\nrock 1 1 1\n& 0 0 1\n 5 5 5\n"
    )
    labels = LabelSpace.of(["Bmw 3 (e90)", "St. Bmw", "Rock ! bmw", "rock & rock"])
    third = 1 / 3**0.5
    expected = unit(
        [1, 1, 1], [1, 0.5**0.5, 0.5**0.5], [1 + third, third, third], [2 * third, 2 * third, 2 * third + 1]
    )
    assert torch.allclose(from_file(path, labels).vectors, expected)
    with pytest.raises(InputError, match=r"no vector for 1 of 2 labels: '!!'"):
        from_file(path, LabelSpace.of(["rock", "!!"]))


def test_files_that_begin_with_a_byte_order_mark(tmp_path):
    path = write(tmp_path / "glove.txt", "\ufeffcat 3 4\ntv 0 2\ntraffic-light 5 0\n")
    assert torch.allclose(from_file(path).vectors, unit([3, 4], [1, 0], [0, 1]))
    path = write(tmp_path / "wiki.vec", "\ufeff3 2\ncat 3 4\ntv 0 2\ntraffic-light 5 0\n")
    assert torch.allclose(from_file(path).vectors, unit([3, 4], [1, 0], [0, 1]))
    assert read_names(write(tmp_path / "tags.txt", "\ufeffdog\ncat\n")) == ("dog", "cat")
    assert read_names(write(tmp_path / "list.txt", "\ufeff# tags\ncat\n")) == ("cat",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat 1 2\ntv 1 2\n", r"no vector for 1 of 3 labels: 'traffic_light'.*use another source or give synonyms"),
        ("the 1 2\ncat 1 2 3\n", r"line 2: 3 numbers where the file's first vector has 2"),
        ("the 1 2 3\ncat 1 2\n", r"line 2: 2 numbers where the file's first vector has 3"),
        ("9 3\ncat 1 2\n", r"line 2: 2 numbers where the file's first vector has 3"),
        ("the 1 2\ncat 1 x\n", r"line 2: 'cat' is followed by what is no number"),
        ("", r"its first line holds no vector"),
        ("cat 0 0\ntv 1 2\ntraffic_light 1 1\n", r"the vector of 'cat' is zero or not finite"),
        ("cat nan 0\ntv 1 2\ntraffic_light 1 1\n", r"the vector of 'cat' is zero or not finite"),
    ],
)
def test_what_is_wrong_with_a_text_file_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"words\.txt:? ?{message}"):
        from_file(write(tmp_path / "words.txt", text))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_papers_bare_array_with_its_classes_beside(tmp_path, protocol):
    columns = np.array([[3, 4], [0, 2], [1, 0]], np.float32).T
    (tmp_path / "wordvec_array.pickle").write_bytes(pickle.dumps(columns, protocol))
    (tmp_path / "classes.pickle").write_bytes(pickle.dumps({0: "cat", 1: "tv", 2: "traffic light"}, protocol))
    assert torch.allclose(from_file(tmp_path / "wordvec_array.pickle").vectors, unit([3, 4], [1, 0], [0, 1]))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_papers_dict_in_half_precision_with_names_given(tmp_path, protocol):
    columns = np.array([[3, 4], [0, 2], [1, 0]], np.float16).T[None]
    path = tmp_path / "coco.pickle"
    path.write_bytes(pickle.dumps({"wordvec_array": columns}, protocol))
    names = write(tmp_path / "names.txt", "# COCO's order\ncat\ntv\n\ntraffic light\n")
    vectors = from_file(path, columns=str(names))
    assert vectors.vectors.dtype == torch.float32
    assert torch.allclose(vectors.vectors, unit([3, 4], [1, 0], [0, 1]))


def test_the_papers_lists(tmp_path):
    (tmp_path / "unseen_classes.pickle").write_bytes(pickle.dumps(["dog", "sand"]))
    assert read_pickled_names(tmp_path / "unseen_classes.pickle") == ("dog", "sand")


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("read", [read_pickled_vectors, read_pickled_names])
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"wordvec_array": evil}, lambda evil: [evil]])
def test_a_malicious_pickle_runs_nothing(tmp_path, read, wrap):
    path, marker = tmp_path / "evil.pickle", tmp_path / "was-here"
    path.write_bytes(pickle.dumps(wrap(Evil(marker))))
    with pytest.raises(
        InputError, match=r"evil\.pickle: not a pickled .*it asks for 'posix\.system', which no plain data needs"
    ):
        read(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(3, np.float32), "not a pickled array"),
        (np.zeros((2, 3), np.int64), "not a pickled array"),
        ({"vectors": 1}, "not a pickled array"),
        (np.ones((2, 2, 3), np.float32), r"an array of shape \(2, 2, 3\); expected \(1, D, N\)"),
        (np.ones((2, 3), np.float32), "nothing names its 3 columns; put classes.pickle beside it"),
    ],
)
def test_a_pickle_of_something_else_is_named(tmp_path, content, message):
    (tmp_path / "words.pickle").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(InputError, match=rf"words\.pickle: {message}"):
        from_file(tmp_path / "words.pickle")


@pytest.mark.parametrize("data", [b"", b"junk", pickle.dumps(np.ones((2, 3)), 4)[:-20], b"\x80\x04."])
def test_a_broken_pickle_is_named(tmp_path, data):
    (tmp_path / "words.pickle").write_bytes(data)
    with pytest.raises(InputError, match=r"words\.pickle: not a pickled array"):
        from_file(tmp_path / "words.pickle")


def test_names_and_columns_must_be_as_many(tmp_path):
    (tmp_path / "words.pickle").write_bytes(pickle.dumps(np.ones((2, 3), np.float32), 4))
    (tmp_path / "classes.pickle").write_bytes(pickle.dumps(["cat", "tv"]))
    with pytest.raises(InputError, match=r"vectors of shape \(3, 2\) for 2 names; expected one row a name"):
        from_file(tmp_path / "words.pickle")


def test_archives_and_what_is_none(tmp_path):
    np.savez(tmp_path / "words.npz", names=["tv", "cat", "Traffic Light"], vectors=np.eye(3, 4))
    assert torch.equal(from_file(tmp_path / "words.npz").vectors, torch.eye(3, 4)[[1, 2, 0]])
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04junk")
    np.savez(tmp_path / "objects.npz", names=["a"], vectors=np.array([Evil(tmp_path / "was-here")]))
    np.savez(tmp_path / "other.npz", x=1)
    for name in ("broken", "objects", "other", "absent"):
        with pytest.raises(
            InputError, match=rf"{name}\.npz: not readable .*expected an \.npz with 'names' and 'vectors'"
        ):
            from_file(tmp_path / f"{name}.npz")
    assert not (tmp_path / "was-here").exists()
    with pytest.raises(InputError, match=r"words\.csv: word vectors end in \.txt"):
        from_file(tmp_path / "words.csv")


def test_a_missing_label_is_answered_with_the_nearest():
    vectors = LabelVectors.of(["traffic lights", "cat"], np.eye(2), "here")
    with pytest.raises(
        InputError, match=r"here: no vector for 1 of 1 labels: 'traffic_light' \(nearest .*traffic lights"
    ):
        vectors.choose(["traffic_light"], "here")


def test_names_added_must_be_new_and_of_the_same_space():
    vectors = LabelVectors.of(["cat", "tv"], np.eye(2), "here")
    more = vectors.with_more(LabelVectors.of(["dog"], [[1, 1]], "there"), "there")
    assert more.names == ("cat", "tv", "dog")
    assert torch.allclose(more.vectors[2], unit([1, 1])[0])
    with pytest.raises(InputError, match=r"there: 'TV' is listed more than once|there: 'tv' is listed more than once"):
        vectors.with_more(LabelVectors.of(["TV"], [[1, 1]], "there"), "there")
    with pytest.raises(InputError, match=r"there: vectors of 3 dimensions beside others of 2"):
        vectors.with_more(LabelVectors.of(["dog"], [[1, 1, 1]], "there"), "there")


def test_lists_of_names_that_are_none(tmp_path):
    with pytest.raises(InputError, match="holds no name; expected one a line"):
        read_names(write(tmp_path / "empty.txt", "# nothing\n\n"))
    with pytest.raises(InputError, match="not a readable list of names"):
        read_names(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("dog", "dogs", True),
        ("buses", "bus", True),
        ("city", "cities", True),
        ("leaf", "leaves", True),
        ("knife", "knives", True),
        ("dog", "dog", False),
        ("car", "cart", False),
        ("glass", "glasses", True),
        ("as", "ass", True),
        ("news", "new", True),
    ],
)
def test_number_by_the_endings(first, second, expected):
    assert differ_in_number(first, second) == differ_in_number(second, first) == expected


def test_nus_wide_is_whole_and_of_unit_length(nus_wide, nus_wide_unseen, word_vectors_folder):
    assert len(nus_wide) == 1006
    assert len(nus_wide_unseen) == 81
    with np.load(word_vectors_folder / "nus_wide.npz") as archive:
        assert np.allclose(nus_wide.vectors.numpy(), archive["vectors"], atol=1e-6)
    coco = read_npz_vectors(word_vectors_folder / "coco.npz")
    shared = [name for name in coco.names if nus_wide.row_of(name) is not None]
    cosines = (coco.choose(shared, "").vectors * nus_wide.choose(shared, "").vectors).sum(1)
    assert len(shared) == 27
    assert cosines.min() > 0.999


def test_a_third_of_nus_wides_unseen_tags_have_a_twin_among_the_seen(nus_wide, nus_wide_unseen):
    seen = nus_wide.choose([name for name in nus_wide.names if name not in nus_wide_unseen], "")
    unseen = nus_wide.choose(nus_wide_unseen, "")
    nearest = (unseen.vectors @ seen.vectors.t()).amax(1)
    assert (nearest >= 0.8).sum() == 13
    assert (nearest >= 0.7).sum() == 34
    assert nearest.median() == pytest.approx(0.682, abs=5e-4)
    found = twins(unseen, seen)
    assert found["waterfall"] == ("waterfalls", pytest.approx(0.868, abs=5e-4))
    assert found["plants"] == ("plant", pytest.approx(0.861, abs=5e-4))
    assert found["dog"] == ("dogs", pytest.approx(0.810, abs=5e-4))
    assert {name for name, row in zip(unseen.names, nearest >= 0.8, strict=True) if row} <= set(found)
    assert sum(any(differ_in_number(a, b) for b in seen.names) for a in unseen.names) >= 30
    assert set(twin_free(unseen, seen)) | set(found) == set(nus_wide_unseen)
    assert not set(twin_free(unseen, seen)) & set(found)
