"""Machine code of compiled programs: asked for in time, with the user's own flags, and left nowhere."""

import os

import pytest

from jsep.errors import UserError
from jsep.tpu import dump


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has not loaded libtpu yet, and its map of libraries."""
    maps = tmp_path / "maps"
    maps.write_text("7f00 /usr/lib/libc.so.6")
    monkeypatch.setattr(dump, "LOADED", maps)
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_mine=1")
    asked = dump.request
    monkeypatch.setattr(dump, "request", asked.__wrapped__)
    return maps


def test_flags_of_the_user_are_kept(fresh):
    folder = dump.request()
    assert folder is not None
    assert folder.is_dir()
    assert os.environ["LIBTPU_INIT_ARGS"].startswith(f"--xla_mine=1 --xla_jf_dump_to={folder} ")


def test_a_libtpu_that_was_loaded_before_is_a_sentence(fresh):
    fresh.write_text("7f00 /site-packages/libtpu/libtpu.so")
    with (
        pytest.raises(UserError, match=r"libtpu was loaded in this process before .* in a new process"),
        dump.machine_code(),
    ):
        raise AssertionError
    assert os.environ["LIBTPU_INIT_ARGS"] == "--xla_mine=1"


def test_each_program_has_an_empty_folder_and_leaves_none_of_its_code(fresh, monkeypatch, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "old.txt").write_text("of another program")
    monkeypatch.setattr(dump, "request", lambda: tmp_path / "code")
    with dump.machine_code() as folder:
        assert not list(folder.iterdir())
        (folder / "new.txt").write_text("")
    assert not list(folder.iterdir())
