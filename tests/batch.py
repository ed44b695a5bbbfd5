"""Batch files run by the cmd of this machine: Windows' own, or wine's below its Windows Python."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

# What folders may be called on Windows and means something to cmd.
ODD = ["with space", "ümläut", "a & b", "(x86) a", "bang!x", "ha^t", "a,b;c=d", "日本", "t'ick`"]
SYSTEM = os.environ.get("SYSTEMROOT", r"C:\windows")


def run(line: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    """Let cmd run ``line`` as if it was typed; the PATH is the system's unless it is given."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(("CONDA", "PATH"))}
    done = subprocess.run(
        f'cmd /d /s /c "{line}"',
        cwd=cwd,
        env={**inherited, "PATH": rf"{SYSTEM}\system32", "PATHEXT": ".EXE;.CMD", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )
    text = [stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr)]
    return subprocess.CompletedProcess(line, done.returncode, *text)


def program(path: Path, source: str) -> Path:
    """Make a real .exe of a Python program, the way pip makes its commands."""
    launcher = Path(importlib.util.find_spec("pip").origin).parent / "_vendor/distlib/t64.exe"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", source)
    path.parent.mkdir(parents=True, exist_ok=True)
    shebang = f'#!"{sys.executable}"\r\n'.encode()
    path.write_bytes(launcher.read_bytes() + shebang + packed.getvalue())
    return path


RECORDER = """
import json, os, pathlib, shutil, sys
seen = pathlib.Path(os.environ["SEEN"])
seen.mkdir(exist_ok=True)
(seen / "said.json").write_text(json.dumps({"arguments": sys.argv[1:], "env": dict(os.environ)}))
if "--labels-dir" in sys.argv:
    labels = pathlib.Path(sys.argv[sys.argv.index("--labels-dir") + 1])
    shutil.copytree(labels, seen / "labels")
sys.exit(int(os.environ.get("ENDS", "0")))
"""

# wine's knows no /b.
FC = """
import pathlib, sys
assert sys.argv[1] == "/b", sys.argv
try:
    one, other = (pathlib.Path(name).read_bytes() for name in sys.argv[2:])
except OSError:
    sys.exit(2)
sys.exit(one != other)
"""

# What sync.cmd asks of robocopy, as its manual says it: /S, /MIR, /XF, /XD, names, and the sum of
# 1 (copied) and 2 (more there) it ends with, or what ROBOCOPY_ENDS says at its Nth call.
ROBOCOPY = """
import fnmatch, os, pathlib, shutil, sys
words, names, excluded, which = [], [], {"XF": [], "XD": []}, None
for word in sys.argv[1:]:
    if word.startswith("/"):
        which = excluded.get(word[1:].upper())
        words.append(word.upper())
    elif which is not None:
        which.append(word)
    else:
        names.append(word)
source, dest, *wanted = names
source, dest = pathlib.Path(source).resolve(), pathlib.Path(dest).resolve()
assert set(words) & {"/S", "/MIR"} and "/FFT" in words, words
calls = pathlib.Path(os.environ["ROBOCOPY_CALLS"])
with calls.open("a") as stream:
    print(ascii(sys.argv[1:]), file=stream)
number, _, code = os.environ.get("ROBOCOPY_ENDS", "0:0").partition(":")
if len(calls.read_text().splitlines()) == int(number):
    sys.exit(int(code))
def is_in(name, patterns):
    return any(fnmatch.fnmatch(name.lower(), pattern.lower()) for pattern in patterns)
def tree(root):
    for here, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_in(name, excluded["XD"])]
        for name in files:
            if is_in(name, wanted or ["*"]) and not is_in(name, excluded["XF"]):
                yield (pathlib.Path(here) / name).relative_to(root)
if not source.is_dir():
    sys.exit(16)
done, ends = set(tree(source)), 0
for path in sorted(done):
    old, new = source / path, dest / path
    same = new.exists() and new.stat().st_size == old.stat().st_size
    if not same or abs(new.stat().st_mtime - old.stat().st_mtime) > 2:
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(old, new)
        shutil.copystat(old, new)
        ends |= 1
for path in set(tree(dest)) - done:
    ends |= 2
    if "/MIR" in words:
        (dest / path).unlink()
sys.exit(ends)
"""
