"""The rows that real images add to a run's."""

import pytest

from figment.datasets.config import RealConfig
from figment.errors import InputError
from figment.names import check_part_name, check_set_names
from figment.planning.bag_of_tricks import chosen_of, rows_of, students_of


@pytest.mark.parametrize(
    ("real", "students", "clip"),
    [
        ({}, [], []),
        ({"unlabelled": "b"}, ["combined with unlabelled"], ["CLIP with unlabelled"]),
        ({"shots": 2}, ["combined with 2 shots"], ["CLIP with 2 shots"]),
        (
            {"unlabelled": "b", "shots": 2},
            ["combined with unlabelled", "combined with unlabelled and 2 shots"],
            ["CLIP with unlabelled", "CLIP with 2 shots"],
        ),
    ],
)
def test_each_kind_of_help_is_a_row_of_its_own(real, students, clip):
    config = RealConfig(path="a", **real)
    assert students_of(config, "combined") == students
    assert rows_of(config, "combined") == clip + [row for s in students for row in (s, f"{s} fused with CLIP")]
    for row in rows_of(config, "combined"):
        check_part_name(row, "rows")  # a metric and a folder
    assert config.helps == bool(students)


def test_a_union_cannot_take_such_a_rows_name():
    rows = rows_of(RealConfig(path="a", unlabelled="b"), "combined")
    with pytest.raises(InputError, match="'Combined with unlabelled' is a name of Figment's own"):
        check_set_names(["Combined with unlabelled"], "unions", rows)


def test_the_registered_set_is_known_before_anything_is_measured():
    assert chosen_of(["a", "combined", "best"]) == "best"
    assert chosen_of(["a", "combined"]) == "combined"
    assert chosen_of(["a", "b"]) == "a"
