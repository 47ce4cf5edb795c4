"""Score a plan's images with CLIP and write their verdicts."""

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm

from figment.images import decode
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.validation.clip import ClipScorer
from figment.validation.verdicts import AcceptanceConfig, make_verdicts

COLUMNS = ("image_id", "labels", "trick", "image")


def validate(plan: pa.Table, pool: Pool, labels: LabelSpace, scorer: ClipScorer, config: AcceptanceConfig) -> pa.Table:
    """Verdicts for all of ``plan``'s images. Decoded pictures are scored batch by batch; none is kept in memory."""
    text = scorer.text_features(labels)
    ids, requested, tricks, probabilities, contrasts = [], [], [], [], []
    with tqdm(total=len(plan), unit="img", desc="validation") as bar:
        for batch in pool.read(plan["image_id"].to_pylist(), COLUMNS, batch_rows=scorer.config.batch_size):
            rows = batch.to_pylist()
            pictures = [np.asarray(decode(row["image"]["bytes"], row["image"]["path"])) for row in rows]
            pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(scorer.device).float() / 255
            probabilities.append(scorer.logits(pixels, text).softmax(1).cpu().numpy())
            contrasts.append(pixels.std((1, 2, 3)).cpu().numpy())
            ids += [row["image_id"] for row in rows]
            requested += [row["labels"][0] for row in rows]
            tricks += [row["trick"] for row in rows]
            bar.update(len(rows))
    return make_verdicts(
        ids, requested, tricks, np.concatenate(probabilities), np.concatenate(contrasts), labels, config
    )
