"""How the runner ends."""

import pytest
from zenml.exceptions import RunInterruptedException
from zenml.pipelines.pipeline_definition import Pipeline

from figment.ops.run import main


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RunInterruptedException("The execution was interrupted.")])
def test_an_interrupt_by_any_name_says_how_to_go_on(monkeypatch, capsys, raised):
    """ZenML's signal handler turns Ctrl-C into an exception of its own, if a step is running."""

    def interrupted(self, *args, **kwargs):
        raise raised

    monkeypatch.setattr(Pipeline, "__call__", interrupted)
    assert main(["pipelines.bag_of_tricks.bag_of_tricks", "-c", "configs/pocket/bag_of_tricks.yaml"]) == 130
    assert "run the same command again" in capsys.readouterr().err
