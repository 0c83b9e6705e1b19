"""Paths: URLs are refused, and ~ is expanded."""

from pathlib import Path

import pytest

from jsep.data.sources import data_folder
from jsep.errors import UserError
from jsep.files import local_path, make_folder
from jsep.runs.folder import RunFolder

URLS = ("gs://bucket/run", "s3://bucket", "hdfs://host/run", "http://host/w.pth", "https://host/w.pth", "file:///run")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("use", [local_path, make_folder, RunFolder, RunFolder.exists, data_folder])
def test_urls_are_refused_before_anything_is_made(tmp_path, monkeypatch, use, url):
    monkeypatch.chdir(tmp_path)
    for path in (url, Path(url)):
        with pytest.raises(UserError, match=r"://.* is not on this machine: copy it here, or mount it as a folder"):
            use(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["C:/run", "run", "/run", "a:b/run", "gs:", "gs/run"])
def test_other_paths_stay(path):
    assert local_path(path) == Path(path)


def test_home_is_expanded():
    assert local_path("~/run") == Path.home() / "run"
    with pytest.raises(UserError, match="give the whole path"):
        local_path("~nobody-of-this-name/run")


def test_an_empty_path_is_refused():
    with pytest.raises(UserError, match="An empty path names nothing"):
        local_path("")
