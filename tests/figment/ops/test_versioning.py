import subprocess
import sys
from pathlib import Path

import yaml

from figment.ops import versioning


def test_the_hash_is_the_one_dvc_writes():
    assert versioning.dvc_md5(Path("data"))["data"] == yaml.safe_load(Path("data.dvc").read_text())["outs"][0]["md5"]


def test_outside_of_git_too_and_of_what_nobody_added(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    monkeypatch.setattr(versioning, "ROOT", tmp_path)
    found = versioning.dvc_md5(tmp_path / "out", tmp_path / "b")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "out", "b"], cwd=tmp_path, check=True)
    for name in ("out", "b"):
        assert found[str(tmp_path / name)] == yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"][0]["md5"]
