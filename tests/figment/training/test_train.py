import os
import signal
import subprocess
import sys

import pytest
import torch

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import LabelledImages
from figment.errors import InputError
from figment.training.classifier import predict
from figment.training.config import TrainingConfig
from figment.training.split import hold_out
from figment.training.train import train_classifier

CONFIG = TrainingConfig(
    model="test_convnext", epochs=6, batch_size=16, learning_rate=3e-3, weight_decay=0.01, crop_scale=0.8,
    drop_path=0.3, ema_decay=0.9, holdout=0.2, keep="best", label_smoothing=0.1,
)  # fmt: skip


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from figment.datasets.labelled import LabelledImages
from figment.checkpoint import Checkpoint
from figment.training.config import TrainingConfig
from figment.training.train import train_classifier
pixels, labels = torch.load(sys.argv[1], weights_only=True)
config = TrainingConfig.model_validate_json(sys.argv[3])
def log(step, metrics):
    if step >= 8:  # in the third of six epochs of three updates
        os.kill(os.getpid(), signal.SIGKILL)
train_classifier(LabelledImages(pixels, labels), 3, config, log, checkpoint=Checkpoint(Path(sys.argv[2]), "k", 0))
"""


def test_killed_and_taken_up_again_it_ends_bit_for_bit_the_same(colours, tmp_path):
    """Weights, moving average, optimizer, best epoch, stochastic depth and augmentation: all as if nothing had been."""
    whole: list = []
    uninterrupted = train_classifier(colours, 3, CONFIG, lambda *entry: whole.append(entry))

    torch.save((colours.pixels, colours.labels), tmp_path / "set.pt")
    file = tmp_path / "checkpoint.pt"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "set.pt"), str(file), CONFIG.model_dump_json()]
    killed = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    saved = Checkpoint(file, "k").load()
    assert saved.done == 2

    resumed: list = []
    model = train_classifier(colours, 3, CONFIG, lambda *entry: resumed.append(entry), checkpoint=Checkpoint(file, "k"))
    assert same(model, uninterrupted)
    assert resumed == whole


def test_another_trainings_checkpoint_is_not_gone_on_from(colours, tmp_path):
    mine, other = Checkpoint(tmp_path / "c.pt", "mine", 0), Checkpoint(tmp_path / "c.pt", "other", 0)
    train_classifier(colours, 3, CONFIG.model_copy(update={"epochs": 2}), checkpoint=mine)
    assert mine.load() is not None
    assert other.load() is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/figment-was-here",)


@pytest.mark.parametrize("content", ["nothing", "a pickle that runs a command", "other tensors"])
def test_a_file_that_is_no_checkpoint_is_named_and_runs_nothing(content, tmp_path):
    file = tmp_path / "c.pt"
    if content == "nothing":
        file.write_bytes(b"")
    else:
        torch.save({"key": Evil()} if "pickle" in content else {"a": torch.zeros(1)}, file)
    with pytest.raises(InputError, match=r"c\.pt: not a checkpoint \(.*\); move it away to start again"):
        Checkpoint(file, "k").load()
    assert not os.path.exists("/tmp/figment-was-here")


def test_validation_uses_images_that_training_never_saw(colours):
    """A share whose labels are wrong cannot be learned: validation tells, though the loss on the rest falls."""
    entries: list = []
    config = CONFIG.model_copy(update={"epochs": 20, "drop_path": 0.0, "holdout": 0.25})
    train_classifier(colours, 3, config, lambda step, m: entries.append(m))
    assert entries[-1]["validation_top1"] == 1
    assert {"loss", "learning_rate", "validation_top1", "validation_loss"} == set(entries[-1])
    shuffled = LabelledImages(
        colours.pixels, colours.labels[torch.randperm(60, generator=torch.Generator().manual_seed(1))]
    )
    noisy: list = []
    train_classifier(shuffled, 3, config, lambda step, m: noisy.append(m))
    assert noisy[-1]["validation_top1"] < 0.8


def test_best_keeps_the_weights_of_the_best_epoch(colours):
    """A rate that wrecks the model after good epochs: the last is worse than the best, and best returns the best."""
    config = TrainingConfig(
        model="test_resnet", epochs=12, batch_size=16, learning_rate=0.2, weight_decay=0, holdout=0.3, keep="best"
    )
    entries: list = []
    model = train_classifier(colours, 3, config, lambda step, m: entries.append(m))
    scores = [m["validation_top1"] for m in entries if "validation_top1" in m]
    held = colours.subset(hold_out(colours.labels, 0.3, 0)[1])
    assert float((predict(model, held.pixels).argmax(1) == held.labels).double().mean()) == max(scores)


def test_best_without_a_holdout_is_refused():
    with pytest.raises(ValueError, match="keep: best needs images to choose by"):
        TrainingConfig(keep="best")


def test_a_loss_that_is_no_number_stops_the_training(colours):
    config = TrainingConfig(model="test_resnet", steps=50, batch_size=16, learning_rate=1e30, weight_decay=0)
    with pytest.raises(
        InputError, match=r"training red: the loss is (nan|inf) after step \d+; lower training.learning"
    ):
        train_classifier(colours, 3, config, name="red")


def test_sets_smaller_than_a_batch_train(colours):
    few = colours.subset(torch.arange(5))
    train_classifier(few, 3, CONFIG.model_copy(update={"holdout": 0, "keep": "last", "epochs": 1}))
