import shutil

from figment.ops import caching
from figment.ops.environment import ROOT
from figment.ops.stack import fetch_data


def test_a_result_is_current_only_under_its_key(tmp_path):
    output = tmp_path / "out.parquet"
    assert not caching.is_current(output, "k")
    output.write_text("x")
    assert not caching.is_current(output, "k")
    caching.mark_current(output, "k")
    assert caching.is_current(output, "k")
    assert not caching.is_current(output, "other")
    output.unlink()
    assert not caching.is_current(output, "k")


def test_touching_a_helper_changes_every_key(tmp_path, monkeypatch):
    package = tmp_path / "figment" / "ops"
    package.mkdir(parents=True)
    monkeypatch.setattr(caching, "__file__", str(package / "caching.py"))
    helper = tmp_path / "figment" / "helper.py"
    keys = []
    for text in ("x = 1", "x = 2"):
        helper.write_text(text)
        caching.source_digest.cache_clear()
        keys.append(caching.key_of(a=1))
    caching.source_digest.cache_clear()
    assert keys[0] != keys[1]


def test_local_models_are_known_by_content_and_remote_ones_by_id(tmp_path):
    assert caching.model_digest("ViT-B-32") == "ViT-B-32"
    (tmp_path / "w").write_text("1")
    first = caching.model_digest(f"local-dir:{tmp_path}")
    (tmp_path / "w").write_text("2")
    assert caching.model_digest(f"local-dir:{tmp_path}") != first


def test_data_that_is_pulled_where_there_is_no_git_is_the_same_everywhere(tmp_path):
    digests = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(ROOT / "data.dvc", tmp_path / name)
        shutil.copytree(ROOT / ".dvc", tmp_path / name / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
        fetch_data(tmp_path / name)
        digests.append(caching.data_digest(tmp_path / name / "data", "all"))
    assert digests[0] == digests[1]
    assert any((tmp_path / "one" / "data" / "real").iterdir())
