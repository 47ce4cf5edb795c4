"""A head of real images on generated ones and back, on the features of the embedded CLIP."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from figment.cli import main
from figment.evaluation.transfer import Generated, table_of, transfer
from figment.training.config import BackboneConfig, HeadConfig

BACKBONE = BackboneConfig(model="open_clip:local-dir:models/pocket/clip", image_size=32, device="cpu")


def test_heads_of_either_kind_are_tried_on_both(plan, pool, labels, tmp_path):
    listed = pa.table({"image_id": plan["image_id"], "label": pc.list_element(plan["labels"], 0)})
    head = HeadConfig(steps=200, learning_rate=1e-2)
    cells = transfer(Generated(pool, listed, labels), Path("data/drawings"), tmp_path, BACKBONE, head)
    assert [(cell.trained_on, cell.tested_on) for cell in cells] == [
        (one, other) for one in ("generated", "real") for other in ("generated", "real")
    ]
    (made_on_made, made_on_real, real_on_made, real_on_real) = cells
    assert (made_on_made.images, made_on_made.tested) == (14, 4)
    assert (real_on_made.images, real_on_made.tested) == (real_on_real.images, 4)
    assert real_on_real.images == pytest.approx(4 * real_on_real.tested, abs=2)
    assert min(real_on_real.top1, made_on_real.top1) > 0.5  # of chance a third
    assert all(cell.low <= cell.top1 <= cell.high for cell in cells)
    written = json.loads((tmp_path / "transfer.json").read_text())
    assert written == {"backbone": BACKBONE.model, "cells": [cell.model_dump() for cell in cells]}
    assert (tmp_path / "transfer.png").stat().st_size > 1000
    assert table_of(cells).row_count == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["{tmp}", "--data", "data/drawings"], "holds no plan.parquet"),
        (["{tmp}", "--data", "data/drawings", "--backbone", "resnet"], "holds no plan.parquet"),
    ],
)
def test_a_folder_that_is_no_run_is_one_sentence(tmp_path, capsys, options, said):
    assert main(["transfer", *(text.format(tmp=tmp_path) for text in options)]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
