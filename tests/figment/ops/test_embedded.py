"""The embedded models are where a config looks for them, in any folder; what is there already stays."""

from pathlib import Path

import pytest

from figment.ops.embedded import POCKET, link_embedded
from figment.ops.environment import ROOT


@pytest.mark.parametrize(
    "parameters",
    [
        {"generator": {"model": "models/pocket/diffusion"}},
        {"clip": {"model": "local-dir:models/pocket/clip"}},
        {"training": {"backbone": {"model": "open_clip:local-dir:models/pocket/clip"}}},
    ],
)
def test_a_model_that_is_not_there_is_linked(tmp_path, monkeypatch, parameters):
    monkeypatch.chdir(tmp_path)
    link_embedded(parameters)
    assert (tmp_path / "models/pocket/diffusion/model_index.json").is_file()
    assert POCKET.resolve() == (ROOT / POCKET).resolve()
    link_embedded(parameters)  # and again at no harm


@pytest.mark.parametrize("name", ["models/pocket/none", "models/other", "owner/name", "../models/pocket/diffusion"])
def test_nothing_else_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    link_embedded({"generator": {"model": name}})
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_users_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / POCKET).mkdir(parents=True)
    link_embedded({"generator": {"model": "models/pocket/diffusion"}})
    assert not list(Path(POCKET).iterdir())
