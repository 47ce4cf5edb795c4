"""Which images a method learns from."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.manifests import FileRef
from figment.planning.methods import Method
from figment.planning.plan import write_plan
from figment.planning.planners import USES
from figment.planning.row import Row
from figment.training.trainers.few_shot_head import used_by_each


@pytest.fixture
def files(tmp_path):
    """Four images of two photos, of which the second and the fourth were not accepted."""
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
    ids = planned["image_id"].to_pylist()
    used = [{"method": "all", "photo": i // 2, "image_id": image_id} for i, image_id in enumerate(made)]
    used += [{"method": "unlucky", "photo": 1, "image_id": made[3]}]
    pq.write_table(pa.Table.from_pylist(used), tmp_path / USES)
    verdicts = {
        "image_id": ids,
        "accepted": [made.index(image_id) in (0, 2) for image_id in ids],
        "probability": [made.index(image_id) / 10 for image_id in ids],
    }
    pq.write_table(pa.table(verdicts), tmp_path / "verdicts.parquet")
    return ids, made, [FileRef.of(tmp_path / name) for name in ("plan.parquet", "verdicts.parquet")]


PHOTOS = pa.table({"label": ["dog", "dog"], "image": ["1" * 64, "2" * 64]})
WEIGHING = {"all": Method(images=2, weights="per_photo"), "unlucky": Method(images=1)}


def test_images_that_were_not_accepted_are_not_learned_from(files):
    ids, made, references = files
    used = used_by_each(WEIGHING, *references, PHOTOS)
    assert list(used) == ["all"]  # the other method's only image was not accepted: it learns from the photos alone
    assert [ids[row] for row in used["all"].rows.tolist()] == [made[0], made[2]]
    assert used["all"].sources.tolist() == [0, 1]
    assert used["all"].weights.tolist() == [0.0, 0.4]  # twice the probability
    assert used["all"].listed.to_pylist() == sorted(
        ({"image_id": made[i], "label": "dog", "weight": i / 5} for i in (0, 2)), key=lambda row: row["image_id"]
    )


def test_a_method_that_does_not_weigh_counts_all_images_alike(files):
    _, _, references = files
    used = used_by_each(dict.fromkeys(WEIGHING, Method(images=2)), *references, PHOTOS)
    assert used["all"].weights.tolist() == [1.0, 1.0]


def test_images_of_prompts_are_taken_with_the_photos_of_their_class_in_turn(files, tmp_path):
    ids, made, references = files
    (tmp_path / USES).unlink()
    used = used_by_each({"standard": Method(), "combined": Method(images=1)}, *references, PHOTOS)
    assert list(used) == ["combined"]
    assert sorted(ids[row] for row in used["combined"].rows.tolist()) == sorted([made[0], made[2]])
    photo_of = {image_id: number % 2 for number, image_id in enumerate(ids)}
    taken = zip(used["combined"].rows.tolist(), used["combined"].sources.tolist(), strict=True)
    assert all(photo_of[ids[row]] == source for row, source in taken)
