import pytest

from figment.errors import InputError
from figment.planning.lookup import find_plans, planned_row
from figment.planning.plan import write_plan


def test_an_image_is_found_by_the_beginning_of_its_id(plan, tmp_path):
    path, row = tmp_path / "run" / "plan.parquet", plan.to_pylist()[3]
    write_plan(plan, path)
    assert find_plans(row["image_id"][:10].upper(), tmp_path) == [path]
    assert planned_row(path, row["image_id"][:10]) == row
    with pytest.raises(InputError, match="none of 1 plans holds an image 'zz'"):
        find_plans("zz", tmp_path)
    with pytest.raises(InputError, match=r"plan\.parquet: 18 images whose id begins with ''"):
        planned_row(path, "")
