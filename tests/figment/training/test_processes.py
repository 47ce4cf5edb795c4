"""Two processes on a CPU (gloo) train what one trains. On networks without batch norm: its statistics would be of a share."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from pydantic import ValidationError

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import LabelledImages, open_labelled
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.training.augment import augment
from figment.training.config import AugmentConfig, TrainingConfig
from figment.training.loader import Resident, Streamed
from figment.training.processes import Share
from figment.training.train import train_classifier, train_share

CPU = torch.device("cpu")
ONE = TrainingConfig(
    model="test_convnext", epochs=4, batch_size=16, learning_rate=3e-3, weight_decay=0.01, crop_scale=0.5, shift=2,
    rotation=20, color_jitter=0.3, ema_decay=0.9, holdout=0.2, label_smoothing=0.1, device="cpu",
)  # fmt: skip
TWO = ONE.model_copy(update={"processes": 2})


class Stopped(Exception):
    pass


def test_two_processes_train_what_one_trains_and_go_on_where_it_stopped(colours, tmp_path):
    """Order, augmentation, averaged weights, validation: the same global batches, so the same
    curve and weights, but for the order in which numbers are added."""
    expected: list = []
    alone = train_classifier(colours, 3, ONE, lambda *entry: expected.append(entry)).state_dict()

    def stop(step, metrics):
        if step == 5:  # in the second of four epochs of three updates
            raise Stopped

    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "key", 0)
    with pytest.raises(Stopped):
        train_classifier(colours, 3, ONE, stop, checkpoint=checkpoint)
    assert checkpoint.load().done == 1

    found: list = []
    together = train_classifier(colours, 3, TWO, lambda *entry: found.append(entry), checkpoint=checkpoint)
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, here), (_, there) in zip(found, expected, strict=True):
        assert here == pytest.approx(there, abs=1e-4)
    assert not together.training
    assert any(not torch.equal(weights, alone[name]) for name, weights in together.state_dict().items())  # two did it
    for name, weights in together.state_dict().items():
        assert torch.allclose(weights, alone[name], atol=1e-4), name

    assert checkpoint.load().done == 4  # the two kept theirs, whole: one takes it up and has nothing left to do
    again = train_classifier(colours, 3, ONE, checkpoint=checkpoint).state_dict()
    assert all(torch.equal(weights, again[name]) for name, weights in together.state_dict().items())


def test_a_world_of_another_size_than_asked_for_is_refused(colours, tmp_path):
    """Launchers have been seen to start one process where two were asked for, and to call it success."""
    file = tmp_path / "set.pt"
    torch.save((colours.pixels, colours.labels), file)
    try:
        with pytest.raises(InputError, match=r"training\.processes: 2 are to train together and 1 met"):
            train_share(Accelerator(cpu=True), print, file, 3, TWO, "training", None)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValidationError, match="batch_size 128 is not divisible by processes 3"):
        TrainingConfig(processes=3)


def test_more_processes_than_gpus_are_refused(colours):
    too_many = {"device": "cuda", "processes": max(2, torch.cuda.device_count() + 1)}
    with pytest.raises(InputError, match="device"):
        train_classifier(colours, 3, ONE.model_copy(update=too_many))


def test_shares_of_random_changes_make_up_the_whole_batchs():
    pixels = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"crop_scale": 1, "shift": 2, "color_jitter": 0.4}, {"rotation": 30, "flip": False}):
        config = AugmentConfig(**options)
        whole = augment(pixels, config, torch.Generator().manual_seed(1))
        shares = [Share(i, 3) for i in range(3)]
        parts = [augment(share.of(pixels), config, torch.Generator().manual_seed(1), share) for share in shares]
        assert torch.equal(torch.cat(parts), whole)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """500 images in two classes, each of a colour of its own."""
    root, space = tmp_path_factory.mktemp("set"), LabelSpace.of(["cat", "dog"])
    for label, name in enumerate(space.names):
        (root / name).mkdir()
        for number in range(250):
            Image.new("RGB", (8, 8), (number, 99 * label, 0)).save(root / name / f"{number:03}.png")
    return open_labelled(root, "test", space, 8)


@pytest.mark.parametrize("resident", [True, False])
def test_shares_of_batches_make_up_the_batches(folders, resident, monkeypatch):
    source = Resident(folders.load(), CPU) if resident else Streamed(folders, CPU, mixed=1)
    whole = list(source.batches(32, torch.Generator().manual_seed(3)))
    shares = [list(source.batches(32, torch.Generator().manual_seed(3), Share(i, 2))) for i in range(2)]
    assert len(whole) == len(shares[0]) == len(shares[1]) == 16
    for (pixels, labels), *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part for part, _ in parts]), pixels)
        assert torch.equal(torch.cat([part for _, part in parts]), labels)


def test_a_process_decodes_its_own_share_alone(folders):
    only = torch.zeros(len(folders), dtype=torch.bool)
    only[::2] = True
    whole = folders.load().pixels
    for rows, part in folders.parts(torch.Generator().manual_seed(0), only):
        assert isinstance(part, LabelledImages)
        assert torch.equal(part.pixels[only[rows]], whole[rows[only[rows]]])
