"""Folders, for install.py.

How conda names them, how long they may be on Windows, how they are copied and removed there while a
virus scanner holds their files.

Needs nothing but Python 3.6 or newer.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import time
from urllib.parse import quote

WINDOWS = os.name == "nt"
PATH_LIMIT = 259  # of a path on Windows without long paths: MAX_PATH less the closing zero

SUBDIR = re.compile(
    r"(noarch|emscripten-wasm32|wasi-wasm32|zos-z|freebsd-64|(linux|osx|win)-[a-z0-9]+)\Z",
    re.IGNORECASE,
)
ARCHIVE = (".conda", ".tar.bz2", ".json")
# What says where conda is and what the machine has; every other CONDA_* is configuration.
KEPT = re.compile(r"CONDA_(OVERRIDE_.*|EXE|PYTHON_EXE|ROOT.*|DLL_.*)\Z", re.IGNORECASE)
NOWHERE = "http://127.0.0.1:9"  # the discard port: what honours a proxy setting gets nowhere


# --- the channel's URL: as repack.urls.channel_url, which the tests compare it with


def channel_url(path, windows):
    if windows:
        parts = [part for part in path.replace("/", "\\").split("\\") if part]
        unc = path.replace("/", "\\").startswith("\\\\")
        if unc and parts[0] == "?":
            unc = parts[1].upper() == "UNC"
            parts = parts[2:] if unc else parts[1:]
        root = parts[0] if unc else "/" + parts[0].upper()
        parts = parts[1:]
    else:
        root, parts = "", [part for part in path.split("/") if part]
    return "/".join(["file://" + root] + [encode(part) for part in parts or [""]])


def encode(part):
    encoded = quote(part, safe="", errors="surrogateescape").replace("~", "%7E")
    if part == "t" or SUBDIR.match(part):
        return "%%%02X%s" % (ord(part[0]), encoded[1:])
    if part.lower().endswith(ARCHIVE):
        return encoded.replace(".", "%2E")
    return encoded


def survives(path, windows):
    """Whether conda finds ``path`` again after decoding a part of its URL and parsing that anew.

    It decodes the last folder, on a share every folder (conda.models.channel, 4.4 to 26.7).
    """
    parts = [part for part in re.split(r"[\\/]" if windows else "/", path) if part]
    unc = windows and path.replace("/", "\\").startswith("\\\\")
    return not any(
        part == "t"
        or SUBDIR.match(part)
        or part.lower().endswith(ARCHIVE)
        or re.search(r"[#?@\\]|::|%[0-9A-Fa-f]{2}", part)
        for part in (parts[1:] if unc else parts[-1:])
    )


# --- how long paths get


def too_long(prefix, paths):
    """Why the label's files do not fit below ``prefix`` on Windows, or None where they do."""
    cached = paths["longest_root"] < paths["longest_prefix"]
    allowed = min(paths["longest_root"], paths["longest_prefix"])
    given = len(prefix.encode("utf-16-le", "surrogatepass")) // 2
    if given <= allowed:
        return None
    return "%s has %d characters, and %d is the most for %s, which Windows takes up to %d of" % (
        prefix,
        given,
        allowed,
        paths["cached" if cached else "linked"],
        PATH_LIMIT,
    )


def long_paths_enabled():
    """Whether this Windows lets programs use long paths."""
    try:
        import winreg

        with winreg.OpenKey(
            winreg.HKEY_LOCAL_MACHINE, "SYSTEM\\CurrentControlSet\\Control\\FileSystem"
        ) as key:
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except (ImportError, OSError):
        return False


# --- shares


def on_share(path, windows=WINDOWS):
    """Whether ``path`` is on another machine, by its name or by its drive."""
    if not windows:
        return False
    path = path.replace("/", "\\")
    if path[:4] in ("\\\\?\\", "\\\\.\\"):
        path = "\\\\" + path[8:] if path[4:8].upper() == "UNC\\" else path[4:]
    if path.startswith("\\\\"):
        return True
    if os.name != "nt":
        return False
    import ctypes

    remote = 4  # DRIVE_REMOTE
    return ctypes.windll.kernel32.GetDriveTypeW(path[:3]) == remote


def inside(path, folder):
    """Whether ``path`` is ``folder`` or lies in it."""
    path, folder = (os.path.normcase(os.path.realpath(one)) for one in (path, folder))
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


# --- what is written, copied, removed

REPARSE = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT
# A virus scanner or an indexer opens what has just been written, and for that moment Windows lets
# nobody rename or remove it: access denied, sharing and lock violations, folder not empty.
HELD = (5, 32, 33, 145)
WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def patiently(action, *given, **more):
    """Do it; again, after longer and longer waits, while somebody else holds the file."""
    for wait in more.pop("waits", WAITS):
        try:
            return action(*given, **more)
        except OSError as error:
            if getattr(error, "winerror", None) not in HELD:
                raise
        time.sleep(wait)
    return action(*given, **more)


def write_text(path, text):
    """Write a file of ASCII that is there whole or not at all."""
    beside = path + ".new"
    with open(beside, "w", encoding="ascii", newline="\n") as stream:
        stream.write(text)
    patiently(os.replace, beside, path)


def remove_tree(folder, last=None):
    """Remove a folder, the entry called ``last`` after all others."""
    names = sorted(os.listdir(folder), key=lambda name: name == last)
    for name in names:
        path = os.path.join(folder, name)
        found = os.lstat(path)
        # A junction is a folder to most calls: what it leads to is somebody else's.
        link = stat.S_ISLNK(found.st_mode) or getattr(found, "st_file_attributes", 0) & REPARSE
        if os.path.isdir(path) and not link:
            remove_tree(path)
        elif WINDOWS and os.path.isdir(path):
            patiently(os.rmdir, path)
        else:
            if WINDOWS and not link:
                os.chmod(path, stat.S_IWRITE)  # what is read-only cannot be removed there
            patiently(os.remove, path)
    patiently(os.rmdir, folder)


def copy_channel(root, copy, subdirs):
    """Copy the packages and their lists; returns what is not what integrity.json says.

    The old copy stays until the new one is whole.
    """
    wanted = listed(root)
    fresh, damaged = copy + ".new", []
    if os.path.isdir(fresh):
        remove_tree(fresh)
    for subdir in subdirs:
        os.makedirs(os.path.join(fresh, subdir))
        for name in sorted(os.listdir(os.path.join(root, subdir))):
            source, path = os.path.join(root, subdir, name), "%s/%s" % (subdir, name)
            if os.path.isfile(source):
                sha256 = patiently(copy_file, source, os.path.join(fresh, subdir, name))
                if wanted.get(path, sha256) != sha256:
                    damaged.append(path)
    if damaged:
        remove_tree(fresh)
        return ", ".join(damaged[:5])
    if os.path.isdir(copy):
        remove_tree(copy)
    patiently(os.rename, fresh, copy)
    return None


def listed(root):
    """SHA-256 by path of what the channel's checker has looked at, where there is a list."""
    try:
        with open(os.path.join(root, "repack", "integrity.json"), encoding="utf-8") as stream:
            return {row["path"]: row["sha256"] for row in json.load(stream)["files"]}
    except FileNotFoundError:
        return {}


def copy_file(source, target):
    """Copy a file, and return the SHA-256 of what was read."""
    sha256 = hashlib.sha256()
    with open(source, "rb") as reader, open(target, "wb") as writer:
        for data in iter(lambda: reader.read(1 << 20), b""):
            sha256.update(data)
            writer.write(data)
    return sha256.hexdigest()


# --- other programs


def plain(python):
    """A Python that takes its program as an argument; conda's may be 2.7, which knows no -I."""
    return [python, "-E", "-s", "-c"]


def problems_in(said):
    """What ``verify.py --json`` found, and its notes; ``said`` itself if it is no such thing."""
    try:
        found = json.loads(said)
        if found["problems"]:
            return found["problems"] + found.get("notes", [])
        text = "The channel is what was released: %(release)s, %(files)d files; signature: "
        text += "%(signature)s; public keys: %(public_keys)s."
        return [*found.get("notes", []), text % found]
    except (ValueError, KeyError, TypeError):
        return [said]


def label_in(path):
    """The label that an environment was made for by install.py, or None."""
    try:
        with open(path, encoding="utf-8") as stream:
            return str(json.load(stream)["label"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- what conda and the label are told


def condarc(url, plan):
    """PREFIX/.condarc: for this installation, and for what conda does there when it is active."""
    settings = [
        ("channels", [url]),
        ("default_channels", []),
        ("offline", True),
        ("add_pip_as_python_dependency", plan["add_pip"]),
        ("use_only_tar_bz2", plan["package_format"] == "tar.bz2"),
        # A cache of one's own is a second, hidden channel to `--offline`.
        ("pkgs_dirs", ["$CONDA_PREFIX/pkgs"]),
        ("allow_softlinks", False),
        # The one solver that works offline in every conda there is.
        ("solver", "classic"),
        ("repodata_fns", ["repodata.json"]),
        ("local_repodata_ttl", 0),
        ("auto_update_conda", False),
        ("notify_outdated_conda", False),
        ("number_channel_notices", 0),
        ("report_errors", False),
        ("anaconda_anon_usage", False),
        ("plugins", {"use_sharded_repodata": False}),
    ]
    lines = ["# Written by repack: this environment takes packages from one channel only."]
    lines += ["%s: %s" % (key, json.dumps(value)) for key, value in settings]
    return "\n".join(lines) + "\n"


def variables(prefix, python):
    """The environment conda runs in: no configuration but ours, no network."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if KEPT.match(name) or not name.upper().startswith("CONDA")
    }
    for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
        kept[name] = kept[name.upper()] = NOWHERE
    kept["no_proxy"] = kept["NO_PROXY"] = ""
    kept["CONDARC"] = os.path.join(prefix, ".condarc")
    kept["CONDA_PREFIX"] = prefix
    kept["CONDA_NO_PLUGINS"] = "true"
    if (kept.get("LC_ALL") or kept.get("LC_CTYPE") or kept.get("LANG") or "C") in ("C", "POSIX"):
        kept["LC_ALL"] = "C.UTF-8"  # else Python 3.6 can say no path that is not ASCII
    if WINDOWS and python:
        base = os.path.dirname(python)
        folders = ["", "Library\\mingw-w64\\bin", "Library\\usr\\bin", "Library\\bin", "Scripts"]
        kept["PATH"] = ";".join([os.path.join(base, f) for f in folders] + [kept.get("PATH", "")])
    return kept


def health_check_of(manifest):
    """The command that the release's manifest names, or []."""
    try:
        with open(manifest, encoding="utf-8") as stream:
            command = json.load(stream)["target"]["health_check"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(word) for word in command]


def run_health_check(command, prefix, timeout=600):
    """Run it in the environment; what is wrong, or None."""
    folders = [prefix, "Library\\mingw-w64\\bin", "Library\\usr\\bin", "Library\\bin", "Scripts"]
    folders = folders if WINDOWS else ["bin"]
    path = [os.path.join(prefix, name) for name in folders] + [os.environ.get("PATH", "")]
    names = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LD_PRELOAD")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    kept.update(PATH=os.pathsep.join(path), CONDA_PREFIX=prefix)
    program = shutil.which(command[0], path=kept["PATH"])
    if program is None:
        return "there is no program %s" % quoted(command[0])
    with open(os.devnull, "rb") as nothing:
        try:
            child = subprocess.Popen(
                [program, *command[1:]],
                env=kept,
                cwd=prefix,
                stdin=nothing,
                stdout=2,  # stdout is for the result
            )
        except OSError as error:
            return "it cannot start: %s" % error.strerror
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return "it took more than %d s" % timeout
    return "it ended with %d; what it said is above" % code if code else None


def quoted(text):
    """For typing it: in quotes where the shell of this system needs some."""
    if not WINDOWS:
        return shlex.quote(text)
    return text if re.match(r"[\w.:\\+-]+\Z", text) else '"%s"' % text
