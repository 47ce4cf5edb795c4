import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.files import atomic, canonical_json, digest, sha256_folder, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_does_not_change_a_digest(value):
    assert digest(value) == digest(dict(reversed(list(value.items()))))


def test_nan_is_no_identity():
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.json"
    write_json(target, {"old": 1})

    def fail():
        with atomic(target) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
    assert "old" in target.read_text()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*file/out\.json.*check the folder's permissions"):
        write_json(tmp_path / "file" / "out.json", 1)


def test_a_read_only_folder_is_a_sentence(tmp_path):
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:  # root may write anywhere, so the child becomes no one
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            write_json(tmp_path / "out.json", 1)
        except InputError as error:
            os._exit(0 if "Permission denied; check the folder's permissions" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_folder_hash_sees_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("1")
    before = sha256_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256_folder(tmp_path) != before
