"""The demo itself; ``scripts/demo.py`` makes the environment it runs in.

It ends with an error if anything did not work, hot-fixes included: the archives of ``pandas`` and
``requests`` ask for versions nobody has, only their upstream records are right.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from scripts import upstream
from scripts.projects import VENDOR, pack_project
from scripts.serving import serving

ROOT: Final = Path(__file__).resolve().parent.parent
DEMO: Final = ROOT / ".demo"
LABEL: Final = "halkbank"
TOKEN: Final = "hb-" + "5ecret" * 4
REQUEST: Final = upstream.Request(
    requirements=("numpy", "pandas", "requests"),
    hotfixes=(
        upstream.Hotfix("pandas", wrong="numpy <1.0"),
        upstream.Hotfix("requests", wrong="urllib3 <1.0"),
    ),
    kinds={"six": ".tar.bz2"},
)
INSTALLED: Final = ("ratingpro", "pip", "tabulate")
USE: Final = """
import importlib.metadata, socket, ratingpro, pandas, tabulate
ratingpro.main()
wheel = importlib.metadata.distribution("tabulate")
print(f"{wheel.name} {wheel.version}, a wheel, installed by {wheel.read_text('INSTALLER').strip()}")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=0.2)
except OSError as error:
    print(f"network: {error}")
"""


def main() -> int:
    """Make the upstream, build the label, install it offline, use it."""
    begin = time.monotonic()
    channels = DEMO / "upstreams"
    if not (channels / "upstream").exists():
        say(f"what is made lies in {DEMO} (550 MB besides the environment); remove it at the end")
    say("packing the upstream channels (numpy, pandas, requests, CPython; pytho, ratingpro)")
    fresh = upstream.build(channels / "upstream", REQUEST)
    make_vendor(channels / "prometeia")
    say("repack label halkbank")
    with serving(channels, "prometeia", TOKEN, port()) as address:
        result = build_label(address)
    channel = Path(result["channel"])
    say("installing from the folder alone")
    prefix = DEMO / "scratch" / "prefix"
    shutil.rmtree(prefix.parent, ignore_errors=True)
    cut = without_network()
    run([*cut, sys.executable, "-m", "scripts.install", channel, prefix, *INSTALLED])
    said = run([*cut, prefix / "bin" / "python", "-I", "-c", USE])
    said += run([*cut, prefix / "bin" / "python", "-I", "-m", "pip", "check"])
    summary(result, said, bool(cut))
    how = "cold" if fresh else "warm"
    print(f"done in {time.monotonic() - begin:.1f} s ({how}, without making the environment)\n")
    print(outlook(channel, prefix))
    return 0


def outlook(channel: Path, prefix: Path) -> str:
    """What to open and to type next; every command works as it stands."""
    program = shlex.quote(str(Path(sys.executable).with_name("repack")))
    places = f"--channels-dir {shlex.quote(str(DEMO / 'channels'))}"
    return "\n".join(
        [
            "open in a browser:",
            f"  {(channel / 'index.html').as_uri()}",
            "look, and check:",
            f"  {program} --help",
            f"  {program} history {LABEL} {places}",
            f"  {program} verify {shlex.quote(str(channel))}",
            f"  {shlex.quote(str(prefix / 'bin' / 'python'))} -c 'import ratingpro; ratingpro.main()'",
            "then your own label: docs/tutorial.md; all of this away again:",
            f"  rm -rf {shlex.quote(str(DEMO))}",
        ]
    )


def say(text: str) -> None:
    """Progress, for people."""
    print(f"* {text}", file=sys.stderr, flush=True)


def make_vendor(channel: Path) -> None:
    """The vendor's private channel, made anew each time: the same bytes as before."""
    shutil.rmtree(channel, ignore_errors=True)
    for project in ("pytho", "ratingpro"):
        pack_project(VENDOR / project, channel)
    upstream.index(channel)


def port() -> int:
    """A free port, the one of the last run if possible: it is part of the channels' names."""
    kept = DEMO / "port.txt"
    for wanted in (int(kept.read_text("ascii")) if kept.exists() else 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            number = int(probe.getsockname()[1])
            kept.write_text(str(number), "ascii")
            return number
    raise SystemExit("no free port on 127.0.0.1")


def build_label(address: str) -> dict[str, Any]:
    """Run ``repack label`` as a person would and return what its ``--json`` says."""
    labels = DEMO / "labels"
    labels.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "labels" / f"{LABEL}.yaml", labels / f"{LABEL}.yaml")
    command = [sys.executable, "-m", "repack", "label", LABEL, "--json"]
    command += ["--labels-dir", str(labels), "--channels-dir", str(DEMO / "channels")]
    command += ["--store", str(DEMO / "store")]
    variables = {"PROMETEIA_URL": address, "HALKBANK_TOKEN": TOKEN}
    result: dict[str, Any] = json.loads(run(command, variables))
    return result


def without_network() -> list[str]:
    """The words that run a command with no network, if this machine allows it."""
    words = ["unshare", "--user", "--map-root-user", "--net", "--"]
    if shutil.which("unshare") and subprocess.run([*words, "true"], check=False).returncode == 0:
        return words
    return []


def run(command: list[Any], variables: dict[str, str] | None = None) -> str:
    """Run a command and return its output.

    Raises:
        SystemExit: it failed; what it said was printed.
    """
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise SystemExit(f"the demo failed: exit code {done.returncode} of {command[-1]}")
    return done.stdout


def summary(result: dict[str, Any], said: str, cut: bool) -> None:  # noqa: FBT001 - printed only
    """Say what was made and how far it was proved."""
    change = "made" if result["changed"] else "unchanged, nothing done"
    print(f"\nlabel {result['label']}, release {result['release']} ({change})")
    print(f"  channel   {result['channel']}")
    for subdir, facts in result["platforms"].items():
        size = f"{facts['bytes'] / 1e6:.1f} MB"
        print(f"  {subdir:9} {facts['packages']} packages, {size}, proof: {facts['proof']}")
    print(f"  fetched   {result['bytes_fetched'] / 1e6:.1f} MB in {result['seconds']:.1f} s")
    network = "network cut" if cut else "network NOT cut: this machine does not let us"
    print(f"installed by py-rattler from the folder alone ({network}); in there:")
    print("".join(f"  {line}\n" for line in said.splitlines()), end="")
    for name in ("conda-index", "conda-build"):
        path = shutil.which(name)
        print(f"{name}: {path or 'not here, so nothing was indexed anew as a customer may'}")
    print("win-64 is solved only: its python is a stand-in, and nothing here can run it.")


if __name__ == "__main__":
    sys.exit(main())
