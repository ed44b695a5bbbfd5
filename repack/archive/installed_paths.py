"""Whether all that the packages of an environment install lies under its prefix.

A client writes files, links, folders, entry points and byte code where the packages say. Two things
lead out of a prefix: a path that is absolute or has ``..``, and a link through which a later package
is written. So every path is checked by itself, and then every link of the environment is resolved
among the links of all its packages. Where no link leads out, no path that is written through links
does, in whatever order the packages are linked.

``repack/shipped/installed_paths.py`` is the same rule for a target without repack; both are tested
with the same cases. Sources: CEP 34 and CEP 17 (``python_site_packages_path``); conda,
``conda/core/path_actions.py``; rattler, ``install/entry_point.rs``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.archive.members import check_names, is_safe
from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from repack.archive.facts import Facts
    from repack.conda.record import Record

SITE_PACKAGES: Final = "python_site_packages_path"
_COMMAND: Final = re.compile(r"[^/\\:\0\r\n]+")
_SHORTCUT_NAMES: Final = frozenset({"menu_name", "name", "CFBundleName"})
_STEPS: Final = 20_000  # of resolving one link; packages in use need a few dozen
_FOLDS_CASE: Final = ("win-", "osx-")


class InstalledPackage(Struct, frozen=True):
    """What one package puts into a prefix besides plain files, whose names are checked as read.

    Attributes:
        dist: ``name-version-build``.
        links: the target of each symbolic link by its path in the archive.
        entry_points: the commands that a client makes for it.
        noarch_python: whether its ``site-packages/`` and ``python-scripts/`` are moved.
        site_packages: of python itself: where the modules of others go.
    """

    dist: str
    links: Mapping[str, str] = {}
    entry_points: tuple[str, ...] = ()
    noarch_python: bool = False
    site_packages: str | None = None

    @classmethod
    def of(cls, record: Record, facts: Facts) -> InstalledPackage:
        """What the archive of ``record`` installs."""
        return cls(
            dist=record.dist,
            links=facts.links,
            entry_points=facts.entry_points,
            noarch_python=facts.noarch == "python",
            site_packages=_site_packages(record) if record.name == "python" else None,
        )

    def to_json(self) -> dict[str, object]:
        """Its part of ``install.json``; only what is not the default."""
        fields = {
            "links": dict(self.links),
            "entry_points": list(self.entry_points),
            "noarch_python": self.noarch_python,
            "site_packages": self.site_packages,
        }
        return {name: value for name, value in fields.items() if value}


class CheckedEnvironment(Struct, frozen=True):
    """Packages of which :func:`check_environment` says that they stay under any prefix.

    Attributes:
        records: the packages.
        links: every link that is in the prefix afterwards, with its targets.
    """

    records: tuple[Record, ...]
    links: Mapping[str, frozenset[str]]

    def at(self, url_of: Callable[[Record], str]) -> CheckedEnvironment:
        """The same packages, to be read from other places."""
        records = tuple(replace(record, url=url_of(record)) for record in self.records)
        return replace(self, records=records)


def check_environment(packages: Iterable[tuple[Record, Facts]], subdir: str) -> CheckedEnvironment:
    """Check all packages that one environment of ``subdir`` is made of, together.

    Raises:
        IntegrityError: something would be written, or points, out of the prefix.
    """
    pairs = list(packages)
    installed = [InstalledPackage.of(record, facts) for record, facts in pairs]
    links = check_installed(installed, subdir)
    return CheckedEnvironment(tuple(record for record, _ in pairs), links)


def check_installed(packages: Iterable[InstalledPackage], subdir: str) -> dict[str, frozenset[str]]:
    """Check packages together, and return all links by where they are in the prefix.

    Raises:
        IntegrityError: something would be written, or points, out of the prefix.
    """
    packages = list(packages)
    for package in packages:
        for command in package.entry_points:
            check_command(command, package.dist)
        if package.site_packages is not None:
            check_site_packages(package.site_packages, package.dist)
    modules = next((p.site_packages for p in packages if p.site_packages), "site-packages")
    scripts = "Scripts" if subdir.startswith("win-") else "bin"
    links: dict[str, set[str]] = {}
    owners: dict[str, str] = {}
    for package in packages:
        for path, target in package.links.items():
            check_names([path])
            place = _moved(path, modules, scripts) if package.noarch_python else path
            links.setdefault(place, set()).add(target)
            owners[place] = package.dist
    for path, target in _leading_out(links, fold=subdir.startswith(_FOLDS_CASE)):
        raise IntegrityError(
            "a link leads out of the environment, by itself or through other packages' links",
            where=owners[path],
            expected="a target under the prefix",
            got=f"{path} -> {target[:200]}",
            hint="ask whoever runs the upstream channel; do not install this package",
        )
    return {path: frozenset(targets) for path, targets in links.items()}


def check_command(command: str, where: object) -> None:
    """Check the name of an entry point, which is a file in ``bin``.

    Raises:
        IntegrityError: it is no plain file name.
    """
    if not _COMMAND.fullmatch(command) or command in {".", ".."}:
        raise IntegrityError(
            "an entry point is no plain file name", where=where, got=repr(command[:200])
        )


def check_site_packages(path: object, where: object) -> None:
    """Check where a python wants the modules of other packages.

    rattler ends the whole process on an absolute path here, so it must not see one.

    Raises:
        IntegrityError: it is no relative path that stays inside.
    """
    if not isinstance(path, str) or ":" in path or not is_safe(path):
        raise IntegrityError(
            f"{SITE_PACKAGES} leads out of the environment",
            where=where,
            expected="a relative path with '/' between its parts and no '.' or '..' among them",
            got=repr(path)[:200],
            hint="ask whoever runs the upstream channel; do not install this package",
        )


def check_shortcuts(document: object, where: str) -> None:
    """Check the names in a menu file: menuinst makes files of them in the user's menus.

    Raises:
        IntegrityError: a name has a separator, so its file would lie anywhere.
    """
    for name in _names(document):
        if "/" in name or "\\" in name or "\0" in name or name.strip() in {".", ".."}:
            raise IntegrityError(
                "a menu file makes a shortcut outside the menus", where=where, got=repr(name[:200])
            )


def _names(node: Any) -> Iterator[str]:
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in _SHORTCUT_NAMES and isinstance(value, str):
                    yield value
                elif key in _SHORTCUT_NAMES and isinstance(value, dict):
                    yield from (text for text in value.values() if isinstance(text, str))
                elif isinstance(value, (dict, list)):
                    pending.append(value)


def _site_packages(record: Record) -> str:
    stated = record.raw.get(SITE_PACKAGES)
    if stated is not None:
        return str(stated)
    if record.subdir.startswith("win-"):
        return "Lib/site-packages"
    return f"lib/python{'.'.join(record.version.split('.')[:2])}/site-packages"


def _moved(path: str, modules: str, scripts: str) -> str:
    """Where a file of a ``noarch: python`` package is in a prefix."""
    folder, _, below = path.partition("/")
    if below and folder == "site-packages":
        return f"{modules}/{below}"
    return f"{scripts}/{below}" if below and folder == "python-scripts" else path


def _leading_out(links: Mapping[str, Iterable[str]], *, fold: bool) -> Iterator[tuple[str, str]]:
    """The links that can lead out of the prefix, each with its target."""
    known: dict[str, set[str]] = {}
    for path, targets in links.items():
        known.setdefault(path.lower() if fold else path, set()).update(targets)
    for path, targets in links.items():
        for target in sorted(targets):
            if not _stays_inside(path, target, known, fold=fold):
                yield path, target


def _stays_inside(
    path: str, target: str, links: Mapping[str, Iterable[str]], *, fold: bool
) -> bool:
    """Resolve ``target`` in every way that may become true.

    Of several packages that bring the same path, any may win; a link of one may be a folder of
    another. So where a link is, it is followed to each of its targets, and also not followed.
    """
    if _is_absolute(target):
        return False
    pending = [(tuple(path.split("/")[:-1]), tuple(target.replace("\\", "/").split("/")))]
    seen = set(pending)
    while pending:
        resolved, parts = pending.pop()
        while parts:
            part, parts = parts[0], parts[1:]
            if part == ".." and not resolved:
                return False
            if part in {"", ".", ".."}:
                resolved = resolved[:-1] if part == ".." else resolved
                continue
            resolved = (*resolved, part)
            key = "/".join(resolved)
            for other in links.get(key.lower() if fold else key, ()):
                state = (resolved[:-1], (*other.replace("\\", "/").split("/"), *parts))
                if state not in seen:
                    seen.add(state)
                    pending.append(state)
        if len(seen) > _STEPS or any(len(parts) > _STEPS for _, parts in pending):
            return False
    return True


def _is_absolute(target: str) -> bool:
    return not target or target.startswith(("/", "\\")) or target[1:2] == ":"
