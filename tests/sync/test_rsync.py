"""What is a folder and what is another machine; what robocopy means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import UsageError
from repack.sync import rsync
from repack.sync.robocopy import exit_code_text, robocopy_command
from repack.sync.rsync import local_engine, remote


@pytest.mark.parametrize(
    "dest",
    [
        "share", "/mnt/share", "./a:b", "C:\\channels\\bank", "C:/channels", "\\\\server\\share\\x",
        "//server/share", "D:", "a/b:c", "../x",
    ],
)  # fmt: skip
def test_folders(dest):
    assert remote(dest) is None


@pytest.mark.parametrize(
    ("dest", "target", "port"),
    [
        ("rsync://host/module/a b/", "rsync://host/module/a b", None),
        ("rsync://host:8730/m/p", "rsync://host:8730/m/p", None),
        ("rsync://me:pa%3Ass@host/m/p", "rsync://me@host/m/p", None),
        ("ssh://me@host:2222/srv/bank", "me@host:/srv/bank", 2222),
        ("ssh://[::1]/srv/bank", "[::1]:/srv/bank", None),
        ("me@host:channels/bank", "me@host:channels/bank", None),
        ("host:/srv/bank/", "host:/srv/bank", None),
    ],
)
def test_other_machines(dest, target, port):
    place = remote(dest)
    assert place is not None
    assert (place.target, place.port) == (target, port)


def test_a_password_goes_its_own_way():
    place = remote("rsync://me:pa%3Ass@host/m/p")
    assert place is not None
    assert place.environment == {"RSYNC_PASSWORD": "pa:ss"}
    assert "pa" not in place.shown.replace("path", "")
    assert "pa:ss" not in repr(place)


@pytest.mark.parametrize("dest", ["rsync://", "rsync://host", "ssh://host/", "rsync://h:port/m/p"])
def test_half_a_url(dest):
    with pytest.raises(UsageError, match="no host or no path"):
        remote(dest)


@pytest.mark.parametrize("dest", ["https://me:secret@host/x", "file:///x", "s3://bucket/x"])
def test_other_schemes(dest):
    with pytest.raises(UsageError) as caught:
        remote(dest)
    assert "secret" not in caught.value.text()


@given(st.text(max_size=40))
def test_any_text_is_a_place_or_refused(text):
    try:
        place = remote(text)
    except UsageError:
        return
    assert place is None or place.target


def test_robocopy_goes_on_where_it_was_cut_off():
    command = robocopy_command(Path("a"), Path("b"), ["x.conda"], 65_536)
    assert command[:4] == ["robocopy", "a", "b", "x.conda"]
    assert {"/Z", "/FFT", "/IPG:1000"} <= set(command)


@pytest.mark.parametrize(
    ("code", "says"),
    [(0, "nothing had"), (1, "were copied"), (3, "not here"), (8, "could not"), (16, "no access")],
)
def test_robocopys_exit_codes(code, says):
    assert says in exit_code_text(code)


def test_programs_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local_engine("auto") == "own"
    with pytest.raises(UsageError, match="no rsync"):
        local_engine("rsync")
    place = remote("host:/x")
    assert place is not None
    with pytest.raises(UsageError, match="rsync is needed"):
        rsync.Rsync(place)
