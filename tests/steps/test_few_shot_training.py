"""Which made images a method learns from."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.images import encode
from figment.manifests import FileRef
from figment.planning.plan import write_plan
from figment.planning.row import Row
from figment.synthesis.pool import Pool
from steps.few_shot.training import used_by_each


@pytest.fixture
def files(tmp_path):
    """Four images of two photos: the second is blank, the fourth was stopped by the generator's safety checker."""
    rows = [
        Row(
            prompt="a dog", labels=("dog",), recipe="few_shot", trick="name", model="m", revision="r", width=32, height=32,
            guidance_scale=1.0, num_inference_steps=2, scheduler="DDIMScheduler", stream=0, replicate=i,
        )
        for i in range(4)
    ]  # fmt: skip
    made = [row.image_id for row in rows]
    write_plan(rows, tmp_path / "plan.parquet")
    planned = pq.read_table(tmp_path / "plan.parquet")
    image = encode(np.full((8, 8, 3), 90, np.uint8), "png")
    ids, pool = planned["image_id"].to_pylist(), Pool(tmp_path / "images")
    columns = {
        "image": [{"bytes": image, "path": f"{image_id}.png"} for image_id in ids],
        "contrast": [0.0 if image_id == made[1] else 0.2 for image_id in ids],
        "unsafe": [image_id == made[3] for image_id in ids],
    }
    pool.add(planned, columns)
    pool.seal()
    used = [{"method": "all", "photo": i // 2, "image_id": image_id} for i, image_id in enumerate(made)]
    used += [{"method": "unlucky", "photo": 1, "image_id": made[3]}]
    pq.write_table(pa.Table.from_pylist(used), tmp_path / "uses.parquet")
    weights = {"weight": [made.index(image_id) / 10 for image_id in ids]}
    pq.write_table(pa.table(weights), tmp_path / "weights.parquet")
    names = ("plan.parquet", "uses.parquet", "images/MANIFEST.json", "weights.parquet")
    return ids, made, [FileRef.of(tmp_path / name) for name in names]


def test_images_that_show_nothing_are_nobodys_and_that_is_said(files, capsys):
    ids, made, references = files
    used = used_by_each(*references)
    assert list(used) == ["all"]  # the other method's only image is unsafe: it learns from the photos alone
    assert [ids[row] for row in used["all"].rows.tolist()] == [made[0], made[2]]
    assert used["all"].sources.tolist() == [0, 1]
    assert used["all"].weights.tolist() == [0.0, 0.2]
    assert used["all"].listed.to_pylist() == sorted(
        ({"image_id": made[i], "label": "dog", "weight": i / 10} for i in (0, 2)), key=lambda row: row["image_id"]
    )
    assert "warning: 2 of 4 images are blank or unsafe and not learned from" in capsys.readouterr().err


def test_without_weights_all_images_count_alike(files):
    _, _, (plan, uses, images, _) = files
    assert used_by_each(plan, uses, images, None)["all"].weights.tolist() == [1.0, 1.0]
