# %% [markdown]
# # A first run, cell by cell
#
# This page is `docs/notebook.py`, run on two CPU cores with the embedded models: three classes, two ways of prompting, a minute.
# Start it in the folder of a clone, after `make setup`, with `.venv/bin/python docs/hooks.py`, or as a notebook: it is in
# Jupytext's percent format, which editors open.

# %%
from pathlib import Path

import figment

config = Path("artifacts/notebook.yaml")
config.parent.mkdir(exist_ok=True)
config.write_text("""# recipe: bag_of_tricks
parameters:
  classes: [cat, frog, truck]
  labels: configs/labels/pocket.yaml
  real: {path: data/real, test_per_class: 40, train_per_class: 40}
  tricks: [base_class, multi_domain]
  images_per_class: 16
  generator: {model: models/pocket/diffusion, width: 32, height: 32, guidance_scale: 4.0, num_inference_steps: 12}
  clip: {model: local-dir:models/pocket/clip}
  synthesis: {image_format: png}
  training: {model: test_resnet, image_size: 32, steps: 150, batch_size: 32, learning_rate: 0.003, weight_decay: 0.05}
  versioning: {keep: nothing}
  output: artifacts/notebook
""")
figment.check(config)

# %% [markdown]
# No fault. `run` writes the prompts and the plan, renders, lets CLIP judge each image, trains a classifier on what passed of each
# trick and of both together, and measures all of them on real images.

# %%
run = figment.run(config)

# %%
for sentence in run.verdict:
    print(sentence.text)

# %% [markdown]
# The plan has a row an image: everything that decides its pixels.

# %%
import pyarrow.parquet as pq

plan = pq.read_table("artifacts/notebook/plan.parquet")
plan.select(["labels", "trick", "prompt"]).slice(0, 6).to_pandas()

# %% [markdown]
# The verdicts lie beside the images: accepted, or a reason.

# %%
verdicts = pq.read_table("artifacts/notebook/verdicts.parquet").to_pandas()
verdicts.groupby(["trick", "reason"]).size()

# %% [markdown]
# The images that passed, from the pool.

# %%
import io

from PIL import Image

accepted = verdicts[verdicts["accepted"]]["image_id"].tolist()[:24]
rows = [row for part in figment.Pool("artifacts/notebook/images").read(accepted, ["image"]) for row in part.to_pylist()]
sheet = Image.new("RGB", (8 * 66, 3 * 66), "white")
for number, row in enumerate(rows):
    image = Image.open(io.BytesIO(row["image"]["bytes"])).resize((64, 64), Image.Resampling.NEAREST)
    sheet.paste(image, (number % 8 * 66, number // 8 * 66))
sheet

# %% [markdown]
# The trained model says what it sees in files of any kind, here the first rows of a Parquet file.

# %%
figment.load(run.model).predict("data/real/test.parquet")[:3]

# %% [markdown]
# The same config, run again, renders nothing: it is finished. `artifacts/notebook/report.html` is the report. Next:
# [your own classes](tutorial.md).
