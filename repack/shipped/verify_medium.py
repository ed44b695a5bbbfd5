#!/usr/bin/env python3
"""Check everything on this medium: every channel by its own repack/verify.py, every other file.

    python verify.py [--key KEY] [--require-signature]

Ends with 0 when all is well, 6 when something is wrong, 2 when there is nothing to check.
A package that a channel lacks may lie in another channel of the medium, where the medium has no
links; it is looked for there. Python 3.6 is enough; nothing is written.
"""

import hashlib
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))


def sha256(path):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for data in iter(lambda: stream.read(1 << 20), b""):
                digest.update(data)
    except OSError as error:
        return error.strerror
    return digest.hexdigest()


def rows_of(path):
    """Path -> SHA-256 in an integrity.json."""
    try:
        with open(path, "rb") as stream:
            return {
                row["path"]: row["sha256"]
                for row in json.loads(stream.read().decode("utf-8"))["files"]
            }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def beside(channel):
    """Path in the channel -> SHA-256 of what its other releases own."""
    base, found = os.path.join(channel, "repack", "releases"), {}
    for number in os.listdir(base) if os.path.isdir(base) else ():
        own = "repack/releases/%s/" % number
        try:
            with open(os.path.join(base, number, "manifest.json"), "rb") as stream:
                data = stream.read()
            pin = json.loads(data.decode("utf-8"))["integrity_manifest"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        listing = os.path.join(base, number, "repack", "integrity.json")
        if sha256(listing) != pin:
            continue
        found[own + "repack/integrity.json"] = pin
        found[own + "manifest.json"] = hashlib.sha256(data).hexdigest()
        for path, digest in rows_of(listing).items():
            kept = os.path.exists(os.path.join(channel, *(own + path).split("/")))
            found[own + path if kept else path] = digest
    return found


def lies_elsewhere(wanted, path, channel, channels):
    places = [os.path.join(other, *path.split("/")) for other in channels if other != channel]
    return any(os.path.isfile(place) and sha256(place) == wanted for place in places)


def check_channel(channel, channels, arguments):
    program = os.path.join(channel, "repack", "verify.py")
    command = [sys.executable, "-B", program, channel, "--json", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    said = child.communicate()[0]
    if child.returncode not in (0, 6):
        raise SystemExit(child.returncode)
    result = json.loads(said.decode())
    owned, wanted = beside(channel), rows_of(os.path.join(channel, "repack", "integrity.json"))
    problems = [
        text for text in result["problems"] if text[:7] != "extra: " or text[7:] not in owned
    ]
    for path, digest in sorted(owned.items()):
        got = sha256(os.path.join(channel, *path.split("/")))
        if got != digest:
            wanted[path] = digest
            exists = os.path.exists(os.path.join(channel, *path.split("/")))
            problems.append("%s: %s" % ("changed" if exists else "missing", path))
    problems = sorted(
        text
        for text in set(problems)
        if text[:9] != "missing: "
        or not lies_elsewhere(wanted.get(text[9:]), text[9:], channel, channels)
    )
    state = "error" if problems else "ok"
    text = "%s: %s; %d files, %d bytes; signature: %s"
    print(text % (result["release"], state, result["files"], result["bytes"], result["signature"]))
    return problems


def folders():
    """Those that have a SHA256SUMS: installers, and oem/LABEL."""
    oem = os.path.join(ROOT, "oem")
    labels = sorted(os.listdir(oem)) if os.path.isdir(oem) else ()
    return ["installers"] + ["oem/" + label for label in labels]


def check_sums(name_of_folder):
    folder, problems = os.path.join(ROOT, *name_of_folder.split("/")), []
    sums = os.path.join(folder, "SHA256SUMS")
    if os.path.isfile(sums):
        with open(sums, "rb") as stream:
            rows = stream.read().decode("utf-8").splitlines()
        for row in rows:
            wanted, name = row.split("  ", 1)
            got = sha256(os.path.join(folder, name))
            if got != wanted:
                problems.append("changed: %s/%s: now %s" % (name_of_folder, name, got))
    return problems


def main():
    found = (os.path.join(ROOT, name) for name in sorted(os.listdir(ROOT)))
    channels = [
        path for path in found if os.path.isfile(os.path.join(path, "repack/manifest.json"))
    ]
    if not channels:
        print("there is no channel beside " + __file__)
        return 2
    problems = [problem for folder in folders() for problem in check_sums(folder)]
    for channel in channels:
        name = os.path.basename(channel)
        problems += [name + ": " + text for text in check_channel(channel, channels, sys.argv[1:])]
    for problem in problems:
        print(problem.encode("ascii", "backslashreplace").decode())
    print("error" if problems else "ok")
    return 6 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
