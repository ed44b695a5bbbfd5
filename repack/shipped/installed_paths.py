"""Whether all that the packages of an environment install lies under its prefix, for install.py.

The same rule as repack/archive/installed_paths.py, for the list in repack/install.json: every link
is resolved among the links of all packages, and none may lead out. Both are tested with the same
cases.

Needs nothing but Python 3.6 or newer.
"""

import os
import re

COMMAND = re.compile(r"[^/\\:\0\r\n]+\Z")
DRIVE = re.compile(r"[A-Za-z]:")
STEPS = 20000  # of resolving one link; packages in use need a few dozen
OF_OLD_CONDA = ("bin/conda", "bin/activate", "bin/deactivate")
OF_CLIENTS = (
    "conda-meta",
    "__clobbers__",
    ".repack",
    "pkgs",
)  # what clients and we add to a prefix


def faults(packages, subdir):
    """What would be written, or points, out of a prefix; a line each.

    ``packages`` has by ``name-version-build`` the links, entry points, whether the package is
    ``noarch: python``, and for python the folder of modules; as install.json says.
    """
    found, modules = [], "site-packages"
    for dist, package in sorted(packages.items()):
        found += [
            "%s: an entry point is no plain file name: %r" % (dist, command[:200])
            for command in package.get("entry_points", ())
            if not COMMAND.match(command) or command in (".", "..")
        ]
        place = package.get("site_packages")
        if place is not None:
            modules = place
            if not is_safe(place) or ":" in place:
                found.append("%s: modules would go to %r" % (dist, place[:200]))
    links = all_links(packages, modules, "Scripts" if subdir.startswith("win-") else "bin")
    fold = subdir.startswith(("win-", "osx-"))
    known = {}
    for path, targets in links.items():
        known.setdefault(path.lower() if fold else path, set()).update(targets)
    for path, targets in sorted(links.items()):
        found += [
            "a link leads out: %r -> %r" % (path[:200], target[:200])
            for target in sorted(targets)
            if not is_safe(path) or not stays_inside(path, target, known, fold)
        ]
    return found


def all_links(packages, modules, scripts):
    """Every link by where it is in a prefix, with its targets."""
    links = {}
    for package in packages.values():
        for path, target in package.get("links", {}).items():
            noarch = package.get("noarch_python")
            place = moved(path, modules, scripts) if noarch else path
            links.setdefault(place, set()).add(target)
    return links


def moved(path, modules, scripts):
    """Where a file of a ``noarch: python`` package is in a prefix."""
    folder, _, below = path.partition("/")
    if below and folder == "site-packages":
        return "%s/%s" % (modules, below)
    return "%s/%s" % (scripts, below) if below and folder == "python-scripts" else path


def is_safe(path):
    """Whether a path is relative and has no odd parts."""
    text = "/%s/" % path
    odd = ("//", "/./", "/../", "\\", "\0", "\r", "\n")
    return not any(bad in text for bad in odd) and not DRIVE.match(path)


def stays_inside(path, target, links, fold):
    """Resolve ``target`` in every way that may become true: any package's link may win, or none."""
    if is_absolute(target):
        return False
    pending = [(tuple(path.split("/")[:-1]), tuple(target.replace("\\", "/").split("/")))]
    seen = set(pending)
    while pending:
        resolved, parts = pending.pop()
        while parts:
            part, parts = parts[0], parts[1:]
            if part == ".." and not resolved:
                return False
            if part in ("", ".", ".."):
                resolved = resolved[:-1] if part == ".." else resolved
                continue
            resolved += (part,)
            key = "/".join(resolved)
            for other in links.get(key.lower() if fold else key, ()):
                state = (resolved[:-1], tuple(other.replace("\\", "/").split("/")) + parts)
                if state not in seen:
                    seen.add(state)
                    pending.append(state)
        if len(seen) > STEPS or any(len(parts) > STEPS for _, parts in pending):
            return False
    return True


def is_absolute(target):
    return not target or target.startswith(("/", "\\")) or target[1:2] == ":"


def stray_links(prefix, packages, subdir, conda):
    """Links in a prefix that lead out of it, or that no package brings; a line each.

    ``packages`` is None where install.json has no such list; ``conda`` is the program that made the
    prefix. conda up to 4.3 links itself into every prefix (conda/install.py: symlink_conda).
    """
    links, found = None, []
    if packages is not None:
        places = [p["site_packages"] for p in packages.values() if p.get("site_packages")]
        scripts = "Scripts" if subdir.startswith("win-") else "bin"
        links = all_links(packages, places[0] if places else "site-packages", scripts)
    root = os.path.realpath(prefix)
    inside = root.rstrip(os.sep) + os.sep
    for path in entries(root):
        if not os.path.islink(path):
            continue
        name = os.path.relpath(path, root).replace(os.sep, "/")
        target = os.path.realpath(path)
        if name in OF_OLD_CONDA and name not in (links or {}) and is_beside(path, conda):
            continue
        if target != root and not target.startswith(inside):
            found.append("%s leads out" % name)
        elif links is not None and name not in links and name.split("/")[0] not in OF_CLIENTS:
            found.append("%s is on no list" % name)
    return found


def is_beside(link, program):
    """Whether a link names a file of its own name in the folder of a program."""
    folder, name = os.path.split(os.readlink(link))
    home = os.path.realpath(os.path.dirname(os.path.abspath(program)))
    return name == os.path.basename(link) and os.path.realpath(folder) == home


def compare(prefix, wanted, new):
    """Say which packages are missing, and in a new environment which are too many."""
    names = os.listdir(os.path.join(prefix, "conda-meta"))
    have = {name[:-5] for name in names if name.endswith(".json") and name.count("-") >= 2}
    missing = sorted(set(wanted) - have)
    return missing, (sorted(have - set(wanted)) if new else [])


def entries(folder):
    """Every path below ``folder``; a folder that cannot be listed is an error."""
    folders = [folder]
    while folders:
        folder = folders.pop()
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                folders.append(path)
            yield path
