"""update-offline-repo; a shell script stands for repack where only the call matters."""

from __future__ import annotations

import json
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

from tests import tiny
from tests.clients import environment
from tests.scripts.test_oldest import pythons

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
CMD = SCRIPTS / "update-offline-repo.cmd"
PARTS = ("update-offline-repo.sh", "update_offline_repo.py", "repackenv.py")
STAND_IN = '#!/bin/sh\nprintf "%s\\n" "$@" > "$SEEN/arguments"\ncp "$6/$2.json" "$SEEN"\nenv > "$SEEN/env"\nexit ${ENDS:-4}\n'
CHANNELS = "https://h.example/t/${TOKEN}/vendor https://h.example/a?b=*"
DOCUMENT = ["halkbank", "xx-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "megarpo", "ratingpro", "pytho"]


@pytest.fixture
def seen(tmp_path):
    """A folder with the scripts, as copied to an administrator's machine."""
    repack = tmp_path / "repack"
    repack.write_text(STAND_IN)
    repack.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tööls").mkdir()
    for name in PARTS:
        shutil.copy(SCRIPTS / name, tmp_path / "tööls")
    return tmp_path


def update(seen: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    given = {"REPACK": str(seen / "repack"), "SEEN": str(seen), "PYTHONDONTWRITEBYTECODE": "1"}
    variables = {"PATH": os.environ["PATH"], "TMPDIR": str(seen / "tmp"), **given, **more}
    variables.setdefault("PYTHON", next(iter(pythons("3.8")), sys.executable))
    return subprocess.run(
        ["sh", str(seen / "tööls" / PARTS[0]), *arguments],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def conf(seen: Path, *lines: str) -> Path:
    path = seen / "tööls" / "update-offline-repo.conf"
    path.write_text("\n".join(lines))
    return path


def label(seen: Path, name: str = "halkbank") -> dict:
    return json.loads((seen / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX script")
class TestUpdate:
    def test_the_label_says_what_was_asked_for_and_not_the_token(self, seen):
        root = str(seen / "out dir")
        packages = ["ratingpro", "pytho >=4.1", "it's[build='a']"]
        done = update(seen, "halk", "tk-s3cret", root, *packages, REPACK_CHANNELS=CHANNELS)
        assert done.returncode == 4
        assert label(seen, "halk") == {
            "label": "halk",
            "channels": CHANNELS.split(),
            "platforms": {"linux-64": {}},
            "packages": packages,
        }
        arguments = (seen / "arguments").read_text().splitlines()
        assert arguments[:5] == ["label", "halk", "--channels-dir", root, "--labels-dir"]
        assert "TOKEN=tk-s3cret\n" in (seen / "env").read_text()
        assert "tk-s3cret" not in (seen / "halk.json").read_text()
        assert "tk-s3cret" not in (seen / "tööls/update-offline-repo.conf").read_text()
        assert not list((seen / "tmp").iterdir())

    def test_the_document_s_command_works_once_the_channels_are_written(self, seen):
        done = update(seen, *DOCUMENT)
        assert done.returncode == 2
        path = seen / "tööls" / "update-offline-repo.conf"
        assert str(path) in done.stderr
        assert not (seen / "arguments").exists()
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# Settings of update-offline-repo")
        # What a person does: take the comment signs away and put the vendor's name in.
        path.write_text(text.replace("# channel", "channel").replace("VENDOR", "prometeia"))
        assert update(seen, *DOCUMENT).returncode == 4
        assert label(seen) == {
            "label": "halkbank",
            "channels": [
                "https://conda.anaconda.org/t/${TOKEN}/prometeia/channel/halkbank",
                "https://conda.anaconda.org/t/${TOKEN}/prometeia",
                "https://conda.anaconda.org/prometeia",
            ],
            "platforms": {"linux-64": {}},
            "packages": ["ratingpro", "pytho"],
        }

    def test_the_first_run_keeps_what_the_variables_say(self, seen):
        update(seen, *DOCUMENT, REPACK_CHANNELS=CHANNELS, REPACK_PLATFORMS="win-64 linux-64")
        assert update(seen, *DOCUMENT).returncode == 4
        assert label(seen)["channels"] == CHANNELS.split()
        assert label(seen)["platforms"] == {"win-64": {}, "linux-64": {}}

    def test_platforms_profile_and_format_come_from_the_file(self, seen):
        conf(
            seen,
            "channel = https://h.example/c",
            "platform = linux-64 __glibc=2.28 __cuda=12.4",
            "platform = win-64 conda=4.4.11",
        )
        assert update(seen, *DOCUMENT).returncode == 4
        assert label(seen)["platforms"] == {
            "linux-64": {"__glibc": "2.28", "__cuda": "12.4"},
            "win-64": {"conda": "4.4.11"},
        }
        assert label(seen)["package_format"] == "tar.bz2"
        conf(
            seen, "channel=https://h.example/c", "package_format=keep", "platform=win-64 conda=4.6"
        )
        update(seen, *DOCUMENT)
        assert label(seen)["package_format"] == "keep"
        for version, fields in (("4.7", 4), ("23.1", 4), ("4.10.3", 4), ("4.6.14", 5)):
            conf(seen, "channel = https://h.example/c", f"platform = win-64 conda={version}")
            update(seen, *DOCUMENT)
            assert len(label(seen)) == fields, version

    def test_conda_override_counts_where_the_file_says_nothing(self, seen):
        conf(seen, "channel = https://h.example/c", "platform = linux-64 __cuda=12.4")
        overrides = {"CONDA_OVERRIDE_GLIBC": "2.35", "CONDA_OVERRIDE_CUDA": "11"}
        update(seen, *DOCUMENT, **overrides)
        assert label(seen)["platforms"] == {"linux-64": {"__glibc": "2.35", "__cuda": "12.4"}}

    def test_capital_letters_are_folded_with_a_note(self, seen):
        conf(seen, "channel = https://h.example/{label}")
        done = update(seen, "HalkBank", *DOCUMENT[1:])
        assert done.returncode == 4
        assert "HalkBank is called halkbank" in done.stderr
        assert label(seen)["channels"] == ["https://h.example/HalkBank"]

    def test_a_minus_takes_the_token_from_the_variable(self, seen):
        update(seen, "halk", "-", "out", "a", TOKEN="from-env", REPACK_CHANNELS=CHANNELS)
        assert "TOKEN=from-env\n" in (seen / "env").read_text()

    def test_what_repack_ends_with_is_handed_on(self, seen):
        for code in (0, 5, 7):
            done = update(seen, *DOCUMENT, REPACK_CHANNELS=CHANNELS, ENDS=str(code))
            assert done.returncode == code
            assert "__glibc" not in done.stderr
        done = update(seen, *DOCUMENT, REPACK_CHANNELS=CHANNELS)
        assert "platforms.linux-64.__glibc" in done.stderr

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("chanel = x", ":2: not `KEY = VALUE`"),
            ("platform", ":2: not `KEY = VALUE`"),
            ("platform = osx-64", "no platform: osx-64"),
            ("platform = linux-64 glibc", "glibc is not NAME=VALUE"),
            ("platform = linux-64 __win=10", "__win=10 is not NAME=VALUE"),
        ],
    )
    def test_a_wrong_line_is_named(self, seen, line, says):
        conf(seen, "channel = https://h.example/c", line)
        done = update(seen, *DOCUMENT)
        assert done.returncode == 2
        assert says in done.stderr
        assert done.stderr.count("\n") == 1

    def test_a_folder_that_cannot_be_written_stops_nobody_who_says_the_channels(self, seen):
        (seen / "tööls/update-offline-repo.conf").symlink_to("/proc/none/such")
        done = update(seen, *DOCUMENT, REPACK_CHANNELS=CHANNELS)
        assert done.returncode == 4
        assert "cannot be made" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((), "usage"),
            (("halk", "tok", "out"), "usage"),
            (("../halk", "tok", "out", "a"), "label name"),
            (("", "tok", "out", "a"), "label name"),
            (("-halk", "tok", "out", "a"), "label name"),
        ],
    )
    def test_wrong_use_is_said(self, seen, arguments, says):
        done = update(seen, *arguments, REPACK_CHANNELS=CHANNELS)
        assert done.returncode == 2
        assert says in done.stderr
        assert not (seen / "arguments").exists()

    def test_it_is_plain_posix(self):
        for shell in filter(shutil.which, ("dash", "sh")):
            subprocess.run([shell, "-n", str(SCRIPTS / PARTS[0])], check=True)


def test_cmd_jumps_to_what_is_there_and_takes_arguments_as_they_are():
    text = CMD.read_bytes().decode("ascii").replace("\r\n", "\n")
    labels = set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert set(re.findall(r"goto (\w+)", text)) == labels
    assert '"%~dp0update_offline_repo.py" %*' in text
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

    def test_update_makes_a_channel_without_the_token(self, seen, tmp_path, upstream):
        home = tmp_path / "home"
        home.mkdir()
        variables = environment(
            home, REPACK_CHANNELS=upstream, REPACK=str(real_repack(tmp_path)), PATH="/usr/bin:/bin"
        )
        command = [
            "sh",
            str(seen / "tööls" / PARTS[0]),
            "halk",
            "tk-s3cret",
            str(tmp_path / "out"),
            "tiny-app >=2",
        ]
        for _ in range(2):
            subprocess.run(command, env=variables, check=True, cwd=tmp_path)
        channel = tmp_path / "out" / "halk"
        assert (channel / "noarch" / "tiny-app-2.0-py_0.conda").is_file()
        for folder in (channel, tmp_path / "out" / ".history"):
            for file in (path for path in folder.rglob("*") if path.is_file()):
                assert b"tk-s3cret" not in file.read_bytes(), file


def real_repack(folder: Path) -> Path:
    """The program, as pip would install it."""
    program = folder / "real repack"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m repack "$@"\n')
    program.chmod(0o755)
    return program


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the tests' output to themselves."""
