"""update-offline-repo; a shell script stands for repack where only the call matters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import tiny
from tests.clients import environment

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "update-offline-repo.sh"
CMD = ROOT / "scripts" / "update-offline-repo.cmd"
STAND_IN = '#!/bin/sh\nprintf "%s\\n" "$@" > "$SEEN/arguments"\ncp "$4/$2.yaml" "$SEEN"\nenv > "$SEEN/env"\nexit 4\n'
CHANNELS = "https://h.example/t/${TOKEN}/vendor https://h.example/a?b=*"


@pytest.fixture
def seen(tmp_path):
    repack = tmp_path / "repack"
    repack.write_text(STAND_IN)
    repack.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def update(seen: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    given = {"REPACK_CHANNELS": CHANNELS, "REPACK": str(seen / "repack"), "SEEN": str(seen)}
    variables = {"PATH": os.environ["PATH"], "TMPDIR": str(seen / "tmp"), **given, **more}
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments], env=variables, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX script")
class TestUpdate:
    def test_the_label_says_what_was_asked_for_and_not_the_token(self, seen):
        root = str(seen / "out dir")
        done = update(
            seen, "halk", "tk-s3cret", root, "ratingpro", "pytho >=4.1", "it's[build='a']"
        )
        assert done.returncode == 4
        label = YAML(typ="safe").load((seen / "halk.yaml").read_text())
        assert label == {
            "label": "halk",
            "channels": CHANNELS.split(),
            "platforms": {"linux-64": {}},
            "packages": ["ratingpro", "pytho >=4.1", "it's[build='a']"],
        }
        arguments = (seen / "arguments").read_text().splitlines()
        assert arguments[:3] == ["label", "halk", "--labels-dir"]
        assert arguments[4:] == ["--channels-dir", root]
        assert "TOKEN=tk-s3cret\n" in (seen / "env").read_text()
        assert "tk-s3cret" not in (seen / "halk.yaml").read_text()
        assert not list((seen / "tmp").iterdir())

    def test_a_minus_takes_the_token_from_the_variable(self, seen):
        update(seen, "halk", "-", "out", "a", TOKEN="from-env")
        assert "TOKEN=from-env\n" in (seen / "env").read_text()

    def test_platforms_can_be_named(self, seen):
        update(seen, "halk", "-", "out", "a", REPACK_PLATFORMS="win-64 linux-64")
        label = YAML(typ="safe").load((seen / "halk.yaml").read_text())
        assert label["platforms"] == {"win-64": {}, "linux-64": {}}

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((), "usage"),
            (("halk", "tok", "out"), "usage"),
            (("../halk", "tok", "out", "a"), "label name"),
            (("", "tok", "out", "a"), "label name"),
        ],
    )
    def test_wrong_use_is_said(self, seen, arguments, says):
        done = update(seen, *arguments)
        assert done.returncode == 2
        assert says in done.stderr
        assert not (seen / "arguments").exists()

    def test_without_channels_nothing_is_guessed(self, seen):
        done = update(seen, "halk", "tok", "out", "a", REPACK_CHANNELS="")
        assert done.returncode == 2
        assert "REPACK_CHANNELS" in done.stderr

    def test_it_is_plain_posix(self):
        for shell in filter(shutil.which, ("dash", "sh")):
            subprocess.run([shell, "-n", str(SCRIPT)], check=True)


def test_cmd_takes_the_token_by_variable_and_jumps_to_what_is_there():
    text = CMD.read_bytes().decode("ascii").replace("\r\n", "\n")
    assert set(re.findall(r"goto (\w+)", text)) == set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert "echo %TOKEN" not in text
    assert not re.search(r">.*%~2", text)
    assert "DisableDelayedExpansion" in text
    assert "powershell" not in text.lower()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the packages are for Linux")
class TestForReal:
    """The script with the real repack and a small upstream that wants a token."""

    @pytest.fixture
    def upstream(self, tmp_path):
        tiny.channel(tmp_path / "up", tiny.PACKAGES)
        served = tmp_path / "www" / "t" / "tk-s3cret"
        served.mkdir(parents=True)
        (tmp_path / "up").rename(served / "vendor")
        handler = partial(QuietHandler, directory=str(tmp_path / "www"))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever).start()
            yield f"http://127.0.0.1:{server.server_port}/t/${{TOKEN}}/vendor"
            server.shutdown()

    def test_update_makes_a_channel_without_the_token(self, tmp_path, upstream):
        home = tmp_path / "home"
        home.mkdir()
        variables = environment(
            home, REPACK_CHANNELS=upstream, PYTHON=sys.executable, PATH="/usr/bin:/bin"
        )
        command = ["sh", str(SCRIPT), "halk", "tk-s3cret", str(tmp_path / "out"), "tiny-app >=2"]
        for _ in range(2):
            subprocess.run(command, env=variables, check=True, cwd=tmp_path)
        channel = tmp_path / "out" / "halk"
        assert (channel / "noarch" / "tiny-app-2.0-py_0.conda").is_file()
        for folder in (channel, tmp_path / "out" / ".history"):
            for file in (path for path in folder.rglob("*") if path.is_file()):
                assert b"tk-s3cret" not in file.read_bytes(), file


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the tests' output to themselves."""
