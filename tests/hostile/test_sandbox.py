"""What a package brings runs in the proof without sight of anything, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.errors import ProofError
from repack.prefix import sandbox
from tests import tiny
from tests.world import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux'")
KINDS = ("bubblewrap", "unshare")
# Prints what it sees and fails, so that the build shows it.
LOOK = """
import json, os, pathlib, sys
def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return type(error).__name__
print("SEEN" + json.dumps({"environment": dict(os.environ), "home": listed(os.environ["HOME"]),
    "places": {path: listed(path) for path in sys.argv[1:]}, "root": listed("/"),
    "processes": [name for name in listed("/proc") if name.isdigit()]}))
sys.exit(1)
"""


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "wörld")


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch, tmp_path):
    """Either way into a sandbox, the other made unusable."""
    other = "_unshare" if request.param == "bubblewrap" else "_bubblewrap"
    monkeypatch.setattr(sandbox, other, lambda *_a: ())
    (tmp_path / "probe").mkdir()
    if not sandbox.sandbox_words(tmp_path, tmp_path / "probe"):
        pytest.skip(f"{request.param} cannot make a sandbox here")
    return request.param


def seen(message: str) -> dict:
    lines = (line.rpartition("SEEN{")[2] for line in message.splitlines() if "SEEN{" in line)
    return json.loads("{" + next(lines))


def test_it_sees_no_secret_and_no_folder_of_the_vendor(world, kind, monkeypatch, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root.key").write_text("secret")
    monkeypatch.setenv("REPACK_HMAC_KEY", "hex:" + "ab" * 32)
    monkeypatch.setenv("CONDA_TOKEN", "tk-secret")
    places = [keys, world.store, world.channels, world.labels, world.upstream, Path.home()]
    places += [Path.cwd(), Path("/root"), Path("/home"), Path("/etc/ssl/private")]
    message = world.fail(7, health_check=["python", "-c", LOOK, *map(str, places)])
    found = seen(message)
    names = set(found["environment"]) - {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}
    assert names == {"PATH", "HOME", "TMPDIR", "LANG", "CONDA_PREFIX"}
    assert found["home"] == []
    scratch = {"scratch"}  # the way to the prefix, and nothing else on it
    for path, names in found["places"].items():
        assert names == "FileNotFoundError" or set(names) <= scratch, (path, names)
    assert not {"root", "home", "var", "mnt", "srv", "opt", "run"} & set(found["root"])
    assert len(found["processes"]) <= 5, "it sees the processes of others"


def test_it_reaches_no_port_and_no_socket_of_this_machine(world, kind, tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        tcp = server.getsockname()[1]
        name = f"\0repack-{os.getpid()}"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as local:
            local.bind(name)
            local.listen()
            program = (
                "import socket\n"
                f"for family, address in ((socket.AF_INET, ('127.0.0.1', {tcp})),"
                f" (socket.AF_UNIX, {name!r})):\n"
                "    try:\n        socket.socket(family).connect(address)\n"
                "    except OSError: pass\n"
                "    else: raise SystemExit('reached')\n"
            )
            world.build(health_check=["python", "-c", program])


def pth(text: str) -> tuple[tiny.Package, ...]:
    """The usual packages, one of which has a shell program that stands for a ``.pth`` file."""
    evil = tiny.PYTHON.replace("#!/bin/sh\n", f"#!/bin/sh\n{text}\n")
    python = replace(tiny.PACKAGES[0], files={"bin/python": evil, "bin/python3.9": evil})
    return (python, *tiny.PACKAGES[1:])


def test_linking_runs_nothing(world, tmp_path):
    """No Python of a package is started to link, so no .pth file runs before there is a sandbox."""
    marker = tmp_path / "ran"
    world.serve(*pth(f"touch '{marker}'"))
    world.build()
    assert not marker.exists()


@pytest.mark.parametrize("isolation", ["sandbox", "none"])
def test_one_label_cannot_poison_the_proof_of_another(world, monkeypatch, isolation):
    """The prefix shares files with the package cache; what runs must not write through them."""
    if isolation == "none":
        monkeypatch.setattr(sandbox, "sandbox_words", lambda *_a: ())
    victim = "$CONDA_PREFIX/share/tiny/ä b.txt"
    world.serve(*pth(f'chmod u+w "{victim}"; echo poison > "{victim}"'))
    world.build(health_check=["python", "-c", "pass"])
    cached = world.store / "pkgs/tiny-data-1.0-0/share/tiny/ä b.txt"
    assert cached.read_text() == "data\n"
    shown = "import os; print(open(os.environ['CONDA_PREFIX'] + '/share/tiny/ä b.txt').read())"
    other = World(world.root / "other", name="other")
    other.store = world.store
    other.build(packages=["tiny-data", "python"], health_check=["python", "-c", shown])


def test_it_cannot_write_where_it_sees(world, kind):
    program = (
        "import os, sys\n"
        "for folder in (os.environ['CONDA_PREFIX'], '/usr', '/etc/alternatives', '/usr/bin'):\n"
        "    try: open(folder + '/.repack-test', 'w').close()\n"
        "    except OSError: continue\n"
        "    sys.exit('wrote to ' + folder)\n"
        "for folder in (os.environ['HOME'], os.environ['TMPDIR']):\n"
        "    open(folder + '/fine', 'w').close()\n"
        "os.system('mount -o remount,rw /usr 2>/dev/null; mount -o remount,bind,rw /usr 2>/dev/null')\n"
        "try: open('/usr/.repack-test', 'w').close()\n"
        "except OSError: pass\n"
        "else: sys.exit('remounted')\n"
    )
    world.build(health_check=["python", "-c", program])
    assert not Path("/usr/.repack-test").exists()


def test_what_it_starts_ends_with_it(world, kind, tmp_path):
    token = f"stays-{os.getpid()}"
    program = f"import subprocess; subprocess.Popen(['/bin/sh', '-c', 'sleep 300; : {token}'])"
    world.build(health_check=["python", "-c", program])
    lines = []
    for path in _command_lines():
        with contextlib.suppress(OSError):  # it ended meanwhile
            lines.append(path.read_bytes())
    assert lines
    assert not any(f": {token}".encode() in line and b"sleep" in line for line in lines)


def _command_lines():
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]


def test_a_build_that_is_killed_takes_it_along(kind, tmp_path):
    """Also by kill -9, which leaves the build no time to do anything."""
    prefix, token = tmp_path / "prefix", f"lasts-{os.getpid()}-{kind}"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/python").write_text(tiny.PYTHON)
    (prefix / "bin/python").chmod(0o755)
    other = "_unshare" if kind == "bubblewrap" else "_bubblewrap"
    program = (
        "import sys; from pathlib import Path; from repack.prefix import sandbox;"
        f"sandbox.{other} = lambda *_a: ();"
        "check = ['python', '-c', sys.argv[2] + '; import time; time.sleep(300)'];"
        "sandbox.run_in(Path(sys.argv[1]), check)"
    )
    words = [sys.executable, "-c", program, str(prefix), repr(token)]
    child = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    try:
        _wait(lambda: _runs(token, child.pid))
    finally:
        child.kill()
        child.wait()
    _wait(lambda: not _runs(token, child.pid))


def _runs(token: str, starter: int) -> bool:
    """Whether a Python but the one that was started by the test has ``token`` in its program."""
    for path in _command_lines():
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            is_program = b"python" in words[0] and words[1:2] == [b"-c"]
            if is_program and token.encode() in words[2] and path.parent.name != str(starter):
                return True
    return False


def _wait(happened) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_without_a_sandbox_its_environment_is_empty_all_the_same(world, monkeypatch):
    monkeypatch.setattr(sandbox, "sandbox_words", lambda *_a: ())
    monkeypatch.setenv("REPACK_HMAC_KEY", "hex:" + "ab" * 32)
    found = seen(world.fail(7, health_check=["python", "-c", LOOK]))
    assert "REPACK_HMAC_KEY" not in found["environment"]
    assert found["home"] == []
    assert found["environment"]["HOME"] != str(Path.home())


def test_doctor_says_what_is_not_guaranteed(monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "sandbox_words", lambda *_a: ())
    assert run(["doctor", "--json"]) == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["sandbox"]["verdict"] == "note"
    assert "keys" in rows["sandbox"]["text"]


def test_a_program_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ProofError, match="not in the environment"):
        sandbox.run_in(tmp_path, ["nowhere-to-be-found"])


CHANGES = {
    "a file's content": lambda folder: (folder / "share/tiny/ä b.txt").write_text("evil\n"),
    "a file more": lambda folder: (folder / "share/tiny/more").write_text("evil\n"),
    "a file less": lambda folder: (folder / "share/tiny/ä b.txt").unlink(),
    "the list of files": lambda folder: (folder / "info/paths.json").write_text(
        '{"paths": [], "paths_version": 1}'
    ),
    "a link": lambda folder: (folder / "share/tiny/link").symlink_to("/etc"),
    "a pipe": lambda folder: os.mkfifo(folder / "share/tiny/pipe"),
    "its note": lambda folder: folder.with_name(f"{folder.name}.lock").write_bytes(b"short"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_store_verify_looks_at_what_is_unpacked(world, change):
    world.build()
    assert run(["store", "verify", "--store", str(world.store)]) == 0
    folder = world.store / "pkgs/tiny-data-1.0-0"
    CHANGES[change](folder)
    assert run(["store", "verify", "--store", str(world.store)]) == 6
    assert not folder.exists()
    assert run(["store", "verify", "--store", str(world.store)]) == 0
    world.build(health_check=["python", "-c", "pass"])
    assert (folder / "share/tiny/ä b.txt").read_text() == "data\n"
