"""Ten thousand images in shards go to a real remote and come back, byte for byte: a folder, SSH, S3; with git and without."""

import getpass
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from figment.errors import InputError
from figment.ops import versioning
from figment.planning.plan import make_plan
from figment.planning.row import Row
from figment.synthesis.pool import Pool
from tests.e2e.servers import free_port, s3_server, server

pytestmark = pytest.mark.slow
IMAGES, SHARD = 10_000, 500
Remote = dict[str, str]  # settings of a DVC remote


def dvc(folder: Path, *arguments: str) -> str:
    """What a dvc command says in ``folder``, as a user would give it there."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A pool of ten thousand images, their pixels noise."""
    dice = np.random.default_rng(0)
    common = {"recipe": "r", "trick": "t", "model": "m", "revision": "r", "width": 8, "height": 8}
    common |= {"guidance_scale": 1.0, "num_inference_steps": 1, "scheduler": "DDIMScheduler", "stream": 0}
    plan = make_plan(Row(prompt="p", labels=("car",), replicate=i, **common) for i in range(IMAGES))
    pool = Pool(tmp_path_factory.mktemp("pool") / "images")
    for start in range(0, IMAGES, SHARD):
        rows = plan.slice(start, SHARD)
        encoded = [{"bytes": dice.bytes(300), "path": f"{i}.png"} for i in rows["image_id"].to_pylist()]
        pool.add(rows, {"image": encoded, "contrast": [0.5] * SHARD, "unsafe": [False] * SHARD})
    pool.seal()
    return pool.folder


@pytest.fixture
def repository(images, tmp_path) -> Path:
    """A git and DVC repository in which the pool was added."""
    folder = tmp_path / "repository"
    (folder / "artifacts").mkdir(parents=True)
    shutil.copytree(images, folder / "artifacts" / "images")
    git(folder, "init", "-q")
    dvc(folder, "init", "-q")
    dvc(folder, "add", "-q", "artifacts/images")
    return folder


@pytest.fixture
def folder_remote(tmp_path) -> Remote:
    return {"url": str(tmp_path / "store")}


@pytest.fixture
def ssh_remote(tmp_path) -> Iterator[Remote]:
    """OpenSSH's server on the loopback, for one key."""
    pytest.importorskip("dvc_ssh", reason="dvc-ssh is not installed: uv sync --extra ssh")
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if sshd is None:
        pytest.skip("no sshd on this machine: install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    port = free_port()
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"PidFile {tmp_path}/sshd.pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it shuts its unprivileged half in
    with server([sshd, "-D", "-e", "-f", str(config)], port):
        user = getpass.getuser()
        yield {"url": f"ssh://{user}@127.0.0.1:{port}{tmp_path}/store", "keyfile": f"{tmp_path}/user"}


@pytest.fixture
def s3_remote(monkeypatch) -> Iterator[Remote]:
    """moto's S3 server with a bucket."""
    pytest.importorskip("dvc_s3", reason="dvc_s3 is not installed: uv sync --extra s3")
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield {"url": "s3://figment/store", "endpointurl": variables["AWS_ENDPOINT_URL"]}


@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_a_fresh_clone_pulls_every_byte_with_git_and_without(kind, repository, images, tmp_path, request):
    remote = request.getfixturevalue(f"{kind}_remote")
    dvc(repository, "remote", "add", "-d", "storage", remote["url"])
    for name, value in remote.items():
        if name != "url":
            dvc(repository, "remote", "modify", "storage", name, value)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "pool")
    assert versioning.push(root=repository) == IMAGES // SHARD + 2  # the shards, the manifest, the list of both

    clone, container = tmp_path / "clone", tmp_path / "container"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    shutil.copytree(clone, container)
    shutil.rmtree(container / ".git")
    dvc(container, "config", "core.no_scm", "true")
    for fresh in (clone, container):
        assert not (fresh / "artifacts" / "images").exists()
        dvc(fresh, "pull", "-q")
        assert hashes(fresh / "artifacts" / "images") == hashes(images)
        pool = Pool(fresh / "artifacts" / "images")
        assert len(pool) == IMAGES
        assert pool.verify() == []


def test_a_push_that_sent_nothing_is_no_success(repository, tmp_path):
    """`dvc push` says "Everything is up to date" when the cache lacks what it should send."""
    dvc(repository, "remote", "add", "-d", "storage", str(tmp_path / "store"))
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / "artifacts" / "images")
    assert "up to date" in dvc(repository, "push")
    with pytest.raises(InputError, match="artifacts/images is not, or not whole, in the remote"):
        versioning.push(root=repository)


def test_a_push_of_which_a_shard_is_lost_is_no_success(repository, tmp_path):
    dvc(repository, "remote", "add", "-d", "storage", str(tmp_path / "store"))
    assert versioning.push(root=repository) > 1
    assert versioning.push(root=repository) == 0
    shard = max((tmp_path / "store").rglob("*"), key=lambda path: path.stat().st_size)
    shard.unlink()
    cached = repository / ".dvc" / "cache" / shard.relative_to(tmp_path / "store")
    cached.unlink()
    with pytest.raises(InputError, match="not whole"):
        versioning.push(root=repository)


def test_a_remote_that_cannot_be_reached_is_named(repository):
    with pytest.raises(InputError, match=r"dvc push: .*no remote"):
        versioning.push(root=repository)
