"""The scripts of the old procedure; a shell script stands for repack where only the call matters."""

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
from ruamel.yaml import YAML

from scripts import repackenv
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


ENVINFO = {
    "platform": "linux-64",
    "conda_version": "26.7.1",
    "active_prefix": "/opt/envs/My Env",
    "pkgs_dirs": ["/opt/pkgs"],
    "channels": ["https://h/t/<TOKEN>/v/linux-64", "https://h/t/<TOKEN>/v/noarch"],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPACK_CHANNELS", raising=False)
    (tmp_path / "envinfo.json").write_text(json.dumps(ENVINFO))
    return tmp_path


def env_info(**more):
    from repack.inputs.conda_info import parse_env_info

    return parse_env_info(json.dumps({**ENVINFO, **more}).encode(), "envinfo.json")


@pytest.mark.parametrize(
    ("platform", "prefix", "name"),
    [
        ("linux-64", "/opt/envs/My Env", "my-env"),
        ("win-64", "C:\\Users\\Üser\\envs\\Prod.2", "prod.2"),
        ("linux-64", "/opt/__x__", "x"),
        ("linux-64", "/ö", "env"),
    ],
)
def test_the_label_is_called_like_the_environment(platform, prefix, name):
    assert repackenv.label_name(env_info(platform=platform, active_prefix=prefix)) == name


def test_channels_come_without_tokens_or_from_the_variable(monkeypatch, here):
    assert repackenv.label_of("x", env_info())["channels"] == ["https://h/v"]
    monkeypatch.setenv("REPACK_CHANNELS", "https://h/t/${TOKEN}/v")
    label = repackenv.label_of("x", env_info())
    assert label == {
        "label": "x",
        "channels": ["https://h/t/${TOKEN}/v"],
        "platforms": {"linux-64": {}},
    }


def test_a_channel_that_is_there_is_left_alone(here, capsys):
    (here / "out" / "my-env").mkdir(parents=True)
    assert repackenv.main(["out"]) == 2
    assert "-f" in capsys.readouterr().err


def test_a_failing_build_brings_the_old_channel_back(here, capfd):
    # The environment does not exist, so repack refuses.
    kept = here / "out" / "my-env" / "repodata"
    kept.parent.mkdir(parents=True)
    kept.write_text("old")
    assert repackenv.main(["out", "-f", "-o", "tg.txt"]) != 0
    assert kept.read_text() == "old"
    assert not (here / "tg.txt").exists()
    assert sorted(p.name for p in (here / "out").iterdir() if p.name.endswith(".old")) == []
    assert capfd.readouterr().out == ""


def test_a_run_cut_short_is_made_good(here):
    aside = here / "out" / ".repack-my-env.old"
    aside.mkdir(parents=True)
    (aside / "x").write_text("old")
    target = here / "out" / "my-env"
    with repackenv.set_aside(target) as settle:
        settle(1)
    assert (target / "x").read_text() == "old"
    with repackenv.set_aside(target) as settle:
        settle(0)
    assert not target.exists()
    assert not aside.exists()


@pytest.mark.parametrize("text", [None, "no json", "[]", "{}"])
def test_what_is_no_envinfo_is_said(here, capsys, text):
    (here / "envinfo.json").unlink()
    if text is not None:
        (here / "envinfo.json").write_text(text)
    assert repackenv.main(["out"]) == 2
    assert "envinfo.json" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the packages are for Linux")
class TestForReal:
    """Both scripts with the real repack and a small upstream that wants a token."""

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

    def test_repackenv_takes_exactly_the_environment(self, tmp_path, upstream):
        prefix = tmp_path / "envs" / "Prod"
        program = (
            "import asyncio, os, sys; from tests.test_clients import by_rattler;"
            "asyncio.run(by_rattler(*sys.argv[1:])); sys.stdout.flush(); os._exit(0)"
        )
        url = upstream.replace("${TOKEN}", "tk-s3cret")
        home = tmp_path / "home"
        home.mkdir()
        variables = environment(home, PYTHONPATH=str(ROOT), TOKEN="tk-s3cret")
        made = [sys.executable, "-c", program, url, str(prefix), str(tmp_path / "cache")]
        subprocess.run(made, env=variables, check=True)
        info = {
            "platform": "linux-64",
            "active_prefix": str(prefix),
            "pkgs_dirs": [str(tmp_path / "cache" / "pkgs")],
            "channels": [url.replace("tk-s3cret", "<TOKEN>") + "/linux-64"],
            "conda_version": "26.7.1",
        }
        (tmp_path / "envinfo.json").write_text(json.dumps(info))
        script = [sys.executable, str(ROOT / "scripts" / "repackenv.py"), "out"]
        variables["REPACK_CHANNELS"] = upstream

        def run(*options: str) -> subprocess.CompletedProcess:
            return subprocess.run(
                [*script, *options],
                env=variables,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )

        done = run("-o", "tgfolder.txt")
        assert done.returncode == 0, done.stderr
        channel = tmp_path / "out" / "prod"
        assert done.stdout == f"{channel}\n" == (tmp_path / "tgfolder.txt").read_text()
        plan = json.loads((channel / "repack" / "install.json").read_text())
        packages = set(plan["subdirs"]["linux-64"]["packages"])
        assert {p.dist for p in tiny.PACKAGES} == {p for p in packages if "prod" not in p}
        assert run().returncode == 2
        assert run("-f", "-nc").returncode == 0
        assert run("-f").returncode == 0
        manifest = json.loads((channel / "repack" / "manifest.json").read_text())
        assert manifest["version"] == "1"
        history = tmp_path / "out" / ".history"
        assert [path.name for path in history.iterdir()] == ["prod"]
        assert [path.name for path in (history / "prod").iterdir()] == ["1"]
        assert not list((tmp_path / "out").glob(".repack-*"))


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the tests' output to themselves."""
