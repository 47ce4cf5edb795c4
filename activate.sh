# source activate.sh: the project's tools (zenml, mlflow, dvc, pytest) on PATH, with their state inside the clone.
set -a && . ./.env && set +a
PATH="$PWD/bin:$PWD/.venv/bin:$PATH"
.venv/bin/python -m figment.ops.relocate && .venv/bin/python -m figment.ops.state
