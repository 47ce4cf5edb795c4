"""A Kubernetes API server of a few lines: it keeps the jobs that it is sent and calls each of them complete at once."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

PARENT = {"metadata": {"name": "parent", "annotations": {}}, "spec": {"template": {}}, "status": {}}
POD = {"metadata": {"name": socket.gethostname(), "labels": {"job-name": "parent"}}, "spec": {"containers": []}}


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """A kubeconfig with the context ``test``, and the jobs that were created, in order."""
    jobs: list[dict[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            if name in ("pods", "jobs"):
                self.answer({"items": []})
            elif "/pods/" in self.path:
                self.answer(POD)
            elif name == "parent":
                self.answer(PARENT)
            else:
                job = next(job for job in jobs if job["metadata"]["name"] == name)
                self.answer({**job, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})

        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for rule in job["spec"]["podFailurePolicy"]["rules"]:  # the API's own default
                for condition in rule.get("onPodConditions") or ():
                    condition.setdefault("status", "True")
            jobs.append(job)
            self.answer(job)

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(PARENT)

        def do_DELETE(self) -> None:
            self.answer({})

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = folder / "kubeconfig.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "test",
            }
        )
    )
    try:
        yield config, jobs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
