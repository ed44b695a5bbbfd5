#!/usr/bin/env python3
"""Install this channel's packages into an environment of their own, without network.

    python repack/install.py [--prefix PREFIX] [--conda CONDA] [--key KEY] [--update | --uninstall]
                             [--no-health-check] [--any-date] [--json]

install.sh and install.cmd find a conda and a Python and call this. It checks the channel
(repack/verify.py), makes the environment, sets it offline (PREFIX/.condarc names this channel and
no other), lets conda install, compares the result with repack/install.json, and runs the label's
health check in it, if the release has one.

PREFIX is .conda/envs/LABEL in the home folder if it is not given; the environment's path is the
last line on standard output, or "prefix" in the document of --json. --update brings an environment up to date, --uninstall removes one
that this program made. Ends with 0 when the environment holds exactly what the channel says,
1 conda failed, 2 wrong usage, 3 no conda here, 6 the channel is damaged or its signature is wrong,
7 the environment is not what the channel says, or its health check failed.

Needs nothing but Python 3.6 or newer and a conda (4.3 or newer), mamba or micromamba. Reads no
other conda configuration: lists in condarc files are merged, so a package cache, a pin or a
channel of one's own would get in.
"""

import os
import sys

if __name__ == "__main__":
    # From this Python alone: not argparse.py beside this file, in PYTHONPATH or the current folder
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[:1]
    sys.path[:] = [p for p in sys.path if p.startswith((sys.base_prefix, sys.base_exec_prefix))]
    for name in ("install_folders", "installed_paths"):  # from source, never from __pycache__
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
        sys.modules[name] = type(sys)(name)
        with open(source, "rb") as opened:
            exec(compile(opened.read(), source, "exec"), sys.modules[name].__dict__)  # noqa: S102 - of this channel, as an import is

import argparse
import contextlib
import json
import platform
import re
import shutil
import subprocess

from install_folders import (
    WINDOWS,
    channel_url,
    condarc,
    copy_channel,
    health_check_of,
    inside,
    label_in,
    long_paths_enabled,
    on_share,
    patiently,
    plain,
    problems_in,
    quoted,
    remove_tree,
    run_health_check,
    survives,
    too_long,
    variables,
    write_text,
)
from installed_paths import compare, faults, stray_links

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNFINISHED = ".repack-unfinished"
MADE = os.path.join(".repack", "made.json")  # says that we made it, and for which label

# conda merges every condarc it finds and has no option against it, so it is told to find one.
DRIVER = (
    "import os, sys; sys.argv[0] = 'conda'; del sys.path[0]; "
    "import conda.base.constants as constants; constants.SEARCH_PATH = (os.environ['CONDARC'],); "
    "from conda.cli import main; sys.exit(main())"
)
PROBE = "import sys; del sys.path[0]; import conda.base.constants"


class Stop(Exception):
    """The end: an exit code and what to tell."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def say(text):
    """Print a line; what a file name could make of a terminal is escaped."""
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(text))
    sys.stderr.write("%s\n" % text)
    sys.stderr.flush()


# --- which program installs, and which Python runs it


def find_conda(given):
    """CONDA, CONDA_EXE or what PATH has, as (path, kind)."""
    for name in (given, os.environ.get("CONDA_EXE"), "conda", "mamba", "micromamba"):
        path = shutil.which(name) if name else None
        if path:
            word = os.path.basename(path).lower()
            return os.path.abspath(path), ("mamba" if "mamba" in word else "conda")
        if name and name == given:
            raise Stop(3, "no program %s" % given)
    raise Stop(
        3,
        "no conda, mamba or micromamba here: install Miniconda or Miniforge first, "
        "or say where it is with CONDA_EXE",
    )


def python_of(conda):
    """The Python that conda runs in, or None where it cannot be told."""
    bin_dir = os.path.dirname(conda)
    names = ["python", os.path.join(os.pardir, "bin", "python")]
    if WINDOWS:
        names = [os.path.join(up, "python.exe") for up in (os.pardir, "", "../..")]
    with open(conda, "rb") as stream:
        first = re.match(rb"#!\s*(/\S*python[0-9.]*)\s", stream.readline(4096))
    found = [os.fsdecode(first.group(1))] if first else []
    found += [os.path.join(bin_dir, name) for name in names]
    for python in found:
        if os.path.isfile(python) and quiet([*plain(python), PROBE]):
            return os.path.normpath(python)
    return None


def quiet(command):
    with open(os.devnull, "wb") as nothing:
        try:
            return subprocess.call(command, stdout=nothing, stderr=nothing, cwd=ROOT) == 0
        except OSError:
            return False


# --- the environment


def open_prefix(prefix, update):
    """Make an empty environment; True when it is new. An installation cut short starts again."""
    meta = os.path.join(prefix, "conda-meta")
    if os.pathsep in prefix:
        raise Stop(2, "conda takes no environment with %r in its path" % os.pathsep)
    if os.path.exists(os.path.join(prefix, UNFINISHED)):
        remove_tree(prefix)
    if os.path.isdir(meta):
        if not update:
            raise Stop(2, "there is an environment in %s already: add --update" % quoted(prefix))
        return False
    if os.path.exists(prefix) and (not os.path.isdir(prefix) or os.listdir(prefix)):
        raise Stop(2, "%s is in use and no environment" % prefix)
    os.makedirs(prefix, exist_ok=True)
    # `conda create` refuses a last folder with a space, `#` or `:`; `conda install` into an empty
    # environment doesn't, and an environment is a folder with a history.
    for path in (os.path.join(prefix, UNFINISHED), os.path.join(meta, "history")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    return True


def place_channel(prefix):
    """The folder to install from: this one, or a copy where conda cannot or should not use it.

    A share may be gone when conda is next asked, and what reads every package over it is slow.
    """
    if survives(ROOT, WINDOWS) and (not on_share(ROOT) or on_share(prefix)):
        return ROOT
    copy = os.path.join(prefix, ".repack", "channel")
    if not survives(copy, WINDOWS):
        raise Stop(2, "conda can use neither %s nor %s as a channel" % (ROOT, copy))
    say("Copying the channel from %s to %s." % (ROOT, copy))
    damaged = copy_channel(ROOT, copy, ("noarch", here()))
    if damaged:
        raise Stop(6, "not what was released when it was copied: %s" % damaged)
    return copy


def run(conda, kind, prefix, url, specs):
    """Let conda install ``specs``; True when it says it did."""
    python = python_of(conda) if kind == "conda" else None
    common = ["--yes", "--prefix", prefix, "--override-channels", "--channel", url, *specs]
    if kind == "mamba":
        # With --offline, mamba below 2.1.1 doesn't read file:// channels; there is no other here.
        command = [conda, "install", "--no-rc", *common]
    else:
        command = [*plain(python), DRIVER] if python else [conda]
        command += ["install", "--offline", *common]
    settings = variables(prefix, python)
    if kind == "mamba":
        settings["CONDA_PKGS_DIRS"] = os.path.join(prefix, "pkgs")
        settings["MAMBA_ROOT_PREFIX"] = prefix
    return subprocess.call(command, env=settings, cwd=prefix, stdout=sys.stderr.fileno()) == 0


# --- the line


def here():
    machine = platform.machine().lower()
    system = {"linux": "linux", "win32": "win", "darwin": "osx"}.get(sys.platform, sys.platform)
    return "%s-%s" % (system, {"amd64": "64", "x86_64": "64"}.get(machine, machine))


def verify(arguments):
    """Let the channel's own checker look at every file first."""
    checker = os.path.join(ROOT, "repack", "verify.py")
    if not os.path.isfile(checker):
        say("This channel has no repack/verify.py: its files are not checked.")
        if arguments.key:
            raise Stop(6, "a key was given and there is nothing to check with it")
        return
    command = [sys.executable, "-I", "-B", checker, ROOT]
    command += ["--key", arguments.key, "--require-signature"] if arguments.key else []
    command += ["--any-date"] if arguments.any_date else []
    command += ["--tidy", "--json"]  # removes what deltas left over, where it may write
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    said = child.communicate()[0].decode("utf-8", "replace").strip()
    for line in problems_in(said):
        say(line)
    if child.returncode:
        code = 6 if child.returncode == 6 else 2
        raise Stop(
            code,
            "the channel is not what was released, so nothing was installed. Copy it again; if "
            "that does not help, ask whoever gave it to you",
        )


def check_length(prefix, paths):
    """Refuse a prefix in which Windows could not make the longest path; better now than halfway."""
    problem = too_long(prefix, paths) if paths else None
    if problem is None:
        return
    if not long_paths_enabled():
        raise Stop(
            2,
            "%s; take a shorter --prefix, or let an administrator set LongPathsEnabled to 1 in "
            "HKLM\\SYSTEM\\CurrentControlSet\\Control\\FileSystem" % problem,
        )
    say("warning: %s; LongPathsEnabled is set, but old programs may not reach all files" % problem)


def read_plan():
    with open(os.path.join(ROOT, "repack", "install.json"), encoding="utf-8") as stream:
        return json.load(stream)


def prefix_of(arguments, plan):
    home = os.path.join(os.path.expanduser("~"), ".conda", "envs", plan["label"])
    return os.path.abspath(os.path.expanduser(arguments.prefix or home))


def install(arguments):
    plan = read_plan()
    subdir = here()
    if subdir not in plan["subdirs"]:
        raise Stop(2, "this channel is for %s, not for %s" % (", ".join(plan["subdirs"]), subdir))
    prefix = prefix_of(arguments, plan)
    conda, kind = find_conda(arguments.conda)
    verify(arguments)
    problems = faults(plan["subdirs"][subdir].get("installed") or {}, subdir)
    if problems:
        raise Stop(6, "packages would leave the environment: %s" % "; ".join(problems[:5]))
    check_length(prefix, plan["subdirs"][subdir].get("paths"))
    new = open_prefix(prefix, arguments.update)
    try:
        fill(prefix, new, (conda, kind), plan)
        arguments.health = check_health(prefix, new, arguments)
    except BaseException:
        if new:
            # What cannot be removed is marked as unfinished; the error that led here is the news.
            with contextlib.suppress(OSError):
                remove_tree(prefix)
        raise
    return prefix


def fill(prefix, new, tool, plan):
    wanted = plan["subdirs"][here()]
    url = channel_url(place_channel(prefix), WINDOWS)
    write_text(os.path.join(prefix, ".condarc"), condarc(url, plan))
    say("Installing %s with %s into %s." % (plan["label"], tool[0], prefix))
    done = run(tool[0], tool[1], prefix, url, wanted["specs"])
    if not done:
        raise Stop(1, "conda could not install; what it says is above")
    missing, extra = compare(prefix, wanted["packages"], new)
    if missing:
        # Some condas leave out the pip that others add; whatever it is, it is in the channel.
        run(tool[0], tool[1], prefix, url, ["=".join(dist.rsplit("-", 2)) for dist in missing])
        missing, extra = compare(prefix, wanted["packages"], new)
    if missing or extra:
        raise Stop(7, "wrong environment: missing %s; not asked for %s" % (missing, extra))
    stray = stray_links(prefix, wanted.get("installed"), here(), tool[0]) if new else []
    if stray:
        raise Stop(7, "wrong environment: %s" % "; ".join(stray[:5]))
    with contextlib.suppress(OSError):
        remove_tree(os.path.join(prefix, "pkgs"))
    if new:
        os.makedirs(os.path.join(prefix, ".repack"), exist_ok=True)
        write_text(os.path.join(prefix, MADE), json.dumps({"label": plan["label"]}) + "\n")


def check_health(prefix, new, arguments):
    """Run the label's health check; what it came to, in a word. A new environment is whole then."""
    command = health_check_of(os.path.join(ROOT, "repack", "manifest.json"))
    state = "skipped" if arguments.no_health_check else "passed"
    if command and state == "passed":
        say("Running the health check: %s" % " ".join(map(quoted, command)))
        problem = run_health_check(command, prefix)
        if problem:
            left = "" if new else "; the environment was updated all the same"
            raise Stop(7, "the health check failed: %s%s" % (problem, left))
    if new:
        patiently(os.remove, os.path.join(prefix, UNFINISHED))
    return state if command else "none"


def uninstall(arguments):
    """Remove the environment, if it is one that this program made for this label."""
    plan = read_plan()
    prefix = os.path.realpath(prefix_of(arguments, plan))
    if not os.path.isdir(prefix):
        raise Stop(2, "there is no environment in %s" % prefix)
    label = label_in(os.path.join(prefix, MADE))
    if label is None and not os.path.exists(os.path.join(prefix, UNFINISHED)):
        raise Stop(2, "%s was not made by this installer: it is left as it is" % prefix)
    if label not in (None, plan["label"]):
        raise Stop(2, "%s is the environment of %s, not of %s" % (prefix, label, plan["label"]))
    for path in (sys.executable, ROOT, os.getcwd()):
        if inside(path, prefix):
            raise Stop(2, "%s is in use: %s lies in it" % (prefix, path))
    if os.path.isdir(os.path.join(prefix, "envs")) and os.listdir(os.path.join(prefix, "envs")):
        raise Stop(2, "there are other environments in %s: remove them first" % prefix)
    say("Removing %s." % prefix)
    # The mark goes last: what is cut short here is an environment to be made or removed again.
    open(os.path.join(prefix, UNFINISHED), "wb").close()
    remove_tree(prefix, last=UNFINISHED)
    return prefix


def main():
    parser = argparse.ArgumentParser(
        prog="install", description="Install this channel's packages without network."
    )
    parser.add_argument("--prefix", help="the environment; default: ~/.conda/envs/LABEL")
    parser.add_argument("--conda", help="the program to use; default: CONDA_EXE, else on PATH")
    parser.add_argument("--key", help="also check the signature: env:NAME, file:PATH, hex:... ")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="PREFIX may be there already")
    what.add_argument("--uninstall", action="store_true", help="remove what this program made")
    parser.add_argument("--no-health-check", action="store_true", help="do not run the label's")
    parser.add_argument("--any-date", action="store_true", help="this machine's clock is wrong")
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    arguments = parser.parse_args()
    arguments.health = None
    code, text, prefix = carry_out(arguments)
    if code:
        say("error: %s." % text.rstrip("."))
    elif arguments.uninstall:
        say("Done: %s is removed." % prefix)
    else:
        checked = {"passed": "its health check passed", "skipped": "its health check was skipped"}
        state = checked.get(arguments.health, "it has no health check")
        say("Done: the environment is what was released, and %s." % state)
        say("Use it with:\n    conda activate %s" % quoted(prefix))
    if arguments.json:
        document = {"status": "error" if code else "ok", "code": code, "prefix": prefix}
        document.update(health_check=arguments.health, error=text)
        print(json.dumps(document))
    elif not code:
        sys.stdout.buffer.write(os.fsencode(prefix) + b"\n")
    return code


def carry_out(arguments):
    """Exit code, what went wrong and the environment."""
    try:
        return 0, None, uninstall(arguments) if arguments.uninstall else install(arguments)
    except Stop as stop:
        return stop.code, str(stop), None
    except KeyboardInterrupt:
        return 130, "interrupted", None
    except (OSError, ValueError, KeyError) as error:
        return 1, "%s: %s" % (type(error).__name__, error), None


if __name__ == "__main__":
    sys.exit(main())
