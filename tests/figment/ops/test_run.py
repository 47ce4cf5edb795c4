"""How the runner ends."""

import pytest
from zenml.exceptions import RunInterruptedException

import pipelines.bag_of_tricks as module
from figment.ops.run import main


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RunInterruptedException("The execution was interrupted.")])
def test_an_interrupt_by_any_name_says_how_to_go_on(monkeypatch, capsys, raised):
    """ZenML's signal handler turns Ctrl-C into an exception of its own, if a step is running."""

    class Interrupted:
        entrypoint = staticmethod(module.bag_of_tricks.entrypoint)

        def with_options(self, config_path):
            def run():
                raise raised

            return run

    monkeypatch.setattr(module, "interrupted", Interrupted(), raising=False)
    assert main(["pipelines.bag_of_tricks.interrupted", "-c", "configs/pocket/bag_of_tricks.yaml"]) == 130
    assert "run the same command again" in capsys.readouterr().err
