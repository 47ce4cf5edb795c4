"""``make dashboard``: ZenML's dashboard on http://127.0.0.1:8237, over the database of this clone, for this machine alone.

It needs ``uv sync --extra server``. ZenML's own ``zenml login --local`` would set the clone to ask that server ever after.
"""

import os
import sys
from importlib.util import find_spec

from figment.errors import InputError
from figment.ops import state
from figment.ops.endings import ended
from figment.ops.environment import load_environment

PORT = 8237  # ZenML's own
ALONE = {"ZENML_SERVER_AUTH_SCHEME": "NO_AUTH", "ZENML_SERVER_DEPLOYMENT_TYPE": "local"}


def serve() -> None:
    load_environment()
    if find_spec("multipart") is None or find_spec("secure") is None:
        raise InputError("ZenML's dashboard is not installed; `uv sync --extra server`")
    with state.locked():
        state.ensure()
    from zenml.client import Client

    # the questions about one's person that the dashboard would ask first
    Client().update_user("default", updated_email_opt_in=False, updated_metadata={"finished_onboarding_survey": True})
    os.environ.update(ALONE)
    import uvicorn

    print(f"http://127.0.0.1:{PORT} (Ctrl-C ends it)", flush=True)
    uvicorn.run("zenml.zen_server.zen_server_api:app", host="127.0.0.1", port=PORT, log_level="error")


if __name__ == "__main__":
    sys.exit(ended(serve))
