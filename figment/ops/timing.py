"""How long the steps of a run took, and what the run measured about itself."""

from datetime import UTC, datetime

import mlflow
from zenml import get_step_context
from zenml.client import Client


def step_seconds() -> dict[str, float]:
    """Seconds of each step of this run that is done, and of the one that asks so far, in their order."""
    run = Client().get_pipeline_run(get_step_context().pipeline_run.id)
    now = datetime.now(UTC).replace(tzinfo=None)
    started = {name: step for name, step in run.steps.items() if step.start_time}
    ordered = sorted(started.items(), key=lambda item: item[1].start_time)
    return {name: ((step.end_time or now) - step.start_time).total_seconds() for name, step in ordered}


def logged_metrics() -> dict[str, float]:
    """The last value of every metric that this MLflow run has."""
    active = mlflow.active_run()
    return dict(mlflow.get_run(active.info.run_id).data.metrics) if active else {}
