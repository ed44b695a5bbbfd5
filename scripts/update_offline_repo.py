"""Make the offline channel ROOT/LABEL anew from a list of packages.

    update-offline-repo LABEL TOKEN ROOT PACKAGE...

Where packages come from stands in update-offline-repo.conf beside this file: the vendor's channels, in
which {token} and {label} are filled in, the platforms with what their machines have, and the format.
The first run makes that file, with comments. TOKEN may be `-`: then it is taken from the variable
TOKEN, where a list of processes does not show it. It is handed on as a variable and written nowhere.
A PACKAGE is a MatchSpec: ratingpro "pytho >=4.1".

REPACK_CHANNELS (URLs between spaces, ${TOKEN} is filled in) and REPACK_PLATFORMS ('linux-64 win-64')
weigh more than the file. CONDA_OVERRIDE_GLIBC and the like count where the file says nothing.

Solves afresh every time. For channels that live on, write labels/LABEL.yaml and use `repack label`,
which keeps a lock. Needs Python 3.8 or newer and repackenv.py beside it, and finds repack as that does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if sys.version_info < (3, 8):
    sys.exit(
        "update_offline_repo.py needs Python 3.8 or newer; this is Python " + sys.version.split()[0]
    )

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from repackenv import Stop, find_repack  # type: ignore[import-not-found]

CONF = Path(__file__).resolve().parent / "update-offline-repo.conf"
USAGE = "usage: update-offline-repo LABEL TOKEN ROOT PACKAGE..."
UNSOLVABLE = 4
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
VIRTUAL = {
    "linux-64": ("__archspec", "__cuda", "__glibc", "__linux", "__unix"),
    "win-64": ("__archspec", "__cuda", "__win"),
}
TEMPLATE = """\
# Settings of update-offline-repo. Lines that start with # are comments.

# Where packages come from: one channel a line, the most important one first.
# {{token}} is the customer's token and {{label}} the customer, as on the command line.
{channels}

# For which machines, a line each: linux-64 or win-64, then what their oldest machine has, if it is
# more or less than glibc 2.17 and kernel 3.10: __glibc, __linux, __cuda, __archspec, __win.
# conda=VERSION is the oldest conda there; below 4.7 packages become .tar.bz2.
# platform = linux-64 __glibc=2.28 __cuda=12.4
# platform = win-64 conda=4.4.11
{platforms}

# keep, or tar.bz2 for conda below 4.7 even if no platform says so.
# package_format = tar.bz2
"""
EXAMPLES = (
    "# channel = https://conda.anaconda.org/t/{token}/VENDOR/channel/{label}\n"
    "# channel = https://conda.anaconda.org/t/{token}/VENDOR\n"
    "# channel = https://conda.anaconda.org/VENDOR"
)


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    # So that the folder with the label file goes, too.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        typed, token, root, wanted = words_of(arguments)
        label = label_of(typed, wanted)
        repack, variables = find_repack()
        variables = {**os.environ, **variables}
        if token != "-":
            variables["TOKEN"] = token
        code = build([*repack, "label", label["label"], "--channels-dir", root], label, variables)
    except Stop as reason:
        print("error:", reason, file=sys.stderr)
        return 2
    except OSError as error:
        print("error:", error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if code == UNSOLVABLE:
        where = "the line `platform = linux-64 __glibc=2.28` of " + str(CONF)
        print("note: platforms.linux-64.__glibc and the like are", where, file=sys.stderr)
    return code


def words_of(arguments: list[str]) -> tuple[str, str, str, list[str]]:
    """Label, token, root and packages.

    Raises:
        Stop: some are missing.
    """
    if len(arguments) < 4:
        raise Stop(USAGE)
    return arguments[0], arguments[1], arguments[2], arguments[3:]


def build(command: list[str], label: dict[str, Any], variables: dict[str, str]) -> int:
    """Let repack build a label; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="repack-") as labels:
        path = Path(labels, label["label"] + ".json")
        path.write_text(json.dumps(label), encoding="utf-8")
        return subprocess.run([*command, "--labels-dir", labels], env=variables).returncode


def label_of(typed: str, packages: list[str]) -> dict[str, Any]:
    """The label that the command line and the settings describe.

    Raises:
        Stop: they make none.
    """
    name = typed.lower()
    if not NAME.match(name):
        raise Stop("no label name: " + typed)
    if name != typed:
        print(f"note: the channel of {typed} is called {name}", file=sys.stderr)
    settings = read_settings()
    channels = [
        c.replace("{token}", "${TOKEN}").replace("{label}", typed) for c in settings["channel"]
    ]
    platforms = dict(profile(words) for words in settings["platform"])
    label = {"label": name, "channels": channels, "platforms": platforms, "packages": packages}
    formats = settings["package_format"]
    if formats:
        label["package_format"] = formats[-1]
    elif any(is_old(values.get("conda")) for values in platforms.values()):
        label["package_format"] = "tar.bz2"
    return label


def read_settings() -> dict[str, list[str]]:
    """The values of the settings file by key, variables first; makes the file if it isn't there.

    Raises:
        Stop: there are no channels, or a line is no setting.
    """
    channels = os.environ.get("REPACK_CHANNELS", "").split()
    platforms = os.environ.get("REPACK_PLATFORMS", "").split()
    if not CONF.exists():
        write_template(channels, platforms)
    settings: dict[str, list[str]] = {"channel": [], "platform": [], "package_format": []}
    text = CONF.read_text(encoding="utf-8-sig") if CONF.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or key.startswith("#"):
            continue
        if key not in settings or not equals or not value:
            keys = ", ".join(settings)
            raise Stop(f"{CONF}:{number}: not `KEY = VALUE` with one of {keys}")
        settings[key].append(value)
    settings["channel"] = channels or settings["channel"]
    settings["platform"] = platforms or settings["platform"] or [host()]
    if not settings["channel"]:
        raise Stop(
            f"no channels are set: write the vendor's into {CONF}, as its comments say, or set"
            " REPACK_CHANNELS"
        )
    return settings


def write_template(channels: list[str], platforms: list[str]) -> None:
    """Make the settings file; what the variables say now goes into it."""
    lines = ["channel = " + url.replace("${TOKEN}", "{token}") for url in channels]
    text = TEMPLATE.format(
        channels="\n".join(lines) or EXAMPLES,
        platforms="\n".join("platform = " + p for p in platforms or [host()]),
    )
    try:
        CONF.write_text(text, encoding="utf-8")
    except OSError as error:
        print("note: the settings file cannot be made:", error, file=sys.stderr)
    else:
        print("note: made", CONF, file=sys.stderr)


def profile(text: str) -> tuple[str, dict[str, str | None]]:
    """A platform and what its machines have, as a label says it.

    Raises:
        Stop: it is no platform with values.
    """
    subdir, *words = text.split()
    if subdir not in VIRTUAL:
        raise Stop(f"no platform: {subdir}; there are {' and '.join(VIRTUAL)}")
    values: dict[str, str | None] = {}
    for name in VIRTUAL[subdir]:
        override = os.environ.get("CONDA_OVERRIDE_" + name[2:].upper())
        if override is not None:
            values[name] = override.strip() or None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in (*VIRTUAL[subdir], "conda"):
            raise Stop(f"platform {subdir}: {word} is not NAME=VALUE")
        values[name] = value or None
    return subdir, values


def is_old(conda: str | None) -> bool:
    """Whether a conda cannot read ``.conda`` packages."""
    numbers = re.findall(r"[0-9]+", conda or "")[:2]
    return bool(numbers) and [int(number) for number in numbers] < [4, 7]


def host() -> str:
    """The platform of this machine."""
    return "win-64" if sys.platform in ("win32", "cygwin", "msys") else "linux-64"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
