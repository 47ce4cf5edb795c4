"""Servers on the loopback for as long as a test needs them."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

BUCKET = "figment"


@contextlib.contextmanager
def server(command: list[str], port: int, **options) -> Iterator[None]:
    """A server that answers on ``port``. What it says goes to a file: a pipe that no one reads would fill, and stop it."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, **options)
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, said.seek(0) or said.read().decode()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """moto's S3 server with a bucket, and the variables by which all of Amazon's clients find it."""
    for package in ("s3fs", "moto", "boto3"):
        pytest.importorskip(package, reason=f"{package} is not installed: uv sync --extra s3 --group remotes")
    import boto3

    port = free_port()
    variables = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    with server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        endpoint = f"http://127.0.0.1:{port}"
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=BUCKET)
        yield variables | {"AWS_ENDPOINT_URL": endpoint}
