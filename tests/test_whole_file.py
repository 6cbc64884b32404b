"""Files that hold what somebody said."""

import os
import stat

import pytest
from pref_lstm.modeling.whole_file import write_whole


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_owner_s_and_an_old_one_keeps_its_permissions(tmp_path):
    path = tmp_path / "said.json"
    write_whole(path, b"tea")
    assert path.read_bytes() == b"tea" and mode(path) == 0o600
    path.chmod(0o640)
    write_whole(path, b"cats")
    assert path.read_bytes() == b"cats" and mode(path) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "said.json"
    write_whole(path, b"tea")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"cats")
    assert path.read_bytes() == b"tea" and list(tmp_path.iterdir()) == [path]
