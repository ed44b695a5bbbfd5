"""What may stand in a package archive: names, links, and what Windows makes of them.

The checks run over all names at once, joined by line ends, because a package may have a hundred
thousand of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repack.errors import IntegrityError
from repack.names import windows_fault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_UNSAFE: Final = ("//", "/./", "/../", "\\", "\0", "\r")
_DRIVE: Final = re.compile(r"(?:\A|\n)/[A-Za-z]:")
_SUSPECT: Final = re.compile(
    r'[<>:"|?*\\\x00-\x09\x0b-\x1f]|[. ](?:/|$)|(?:^|/)(?:con|prn|aux|nul|com\d|lpt\d)[^\S\n]*(?:\.|/|$)',
    re.MULTILINE | re.IGNORECASE,
)
# What a text of lower-case names must hold for _SUSPECT to find anything; together a third of its time.
_ODD: Final = re.compile(r'[<>:"|?*\\\x00-\x09\x0b-\x1f]')
_ODD_END: Final = ("./", " /", ".\n", " \n")
_DEVICE: Final = re.compile(r"[/\n](?:con|prn|aux|nul|com\d|lpt\d)[^\S\n]*[./\n]")
_SYMLINK_HOPS: Final = 40
SHOWN: Final = 20  # of a list of findings, so that no list gets out of hand


def check_names(names: Sequence[str]) -> None:
    """See to it that no name leads out of the folder it is unpacked to.

    Raises:
        IntegrityError: one does.
    """
    # Between slashes, an absolute path and an empty part look alike: "//".
    text = "/" + "/\n/".join(names) + "/" if names else ""
    if (
        any(bad in text for bad in _UNSAFE)
        or (":" in text and _DRIVE.search(text))
        or text.count("\n") >= max(len(names), 1)
    ):
        one = next(name for name in names if not _is_safe(name))
        raise IntegrityError(
            "a path in the archive leads out of its folder, or differs between systems",
            expected="a relative path with '/' between its parts and no '.' or '..' among them",
            got=repr(one[:200]),
        )


def _is_safe(name: str) -> bool:
    text = f"/{name}/"
    return not (any(bad in text for bad in (*_UNSAFE, "\n")) or _DRIVE.match(text))


def check_links(symlinks: Mapping[str, str], names: Collection[str]) -> None:
    """See to it that no symbolic link leads out, and that nothing is written through one.

    Raises:
        IntegrityError: one does, or something is.
    """
    if not symlinks:
        return
    for folder in {name.rpartition("/")[0] for name in names}:
        parts = folder.split("/")
        for end in range(1, len(parts) + 1):
            if "/".join(parts[:end]) in symlinks:
                raise IntegrityError("archive writes through its own symbolic link", got=folder)
    for name, target in symlinks.items():
        if not _stays_inside(name, target, symlinks):
            raise IntegrityError(
                "a symbolic link leads out of the archive", got=f"{name} -> {target[:200]}"
            )


def _stays_inside(name: str, target: str, symlinks: Mapping[str, str]) -> bool:
    """Walk to ``target`` as a system would, through other links of the archive."""
    hops = 0
    here = name.split("/")[:-1]
    todo = target.split("/")[::-1]
    if target.startswith("/") or not target:
        return False
    while todo:
        part = todo.pop()
        if part in {"", "."}:
            continue
        if part != "..":
            here.append(part)
        elif here:
            here.pop()
        else:
            return False
        onward = symlinks.get("/".join(here)) if part != ".." else None
        if onward is not None:
            hops += 1
            if hops > _SYMLINK_HOPS or onward.startswith("/"):
                return False
            here.pop()
            todo += onward.split("/")[::-1]
    return True


def case_twins(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of files of which a case-blind file system can hold only one; the first few.

    Folders that differ in case only are no twins: Windows merges them.
    """
    # Lower case stands for NTFS's own table; casefold() would find twins (ß and ss) it has not.
    lowered = "\n".join(names).lower().split("\n")
    folders: set[str] = set()
    for folder in {low.rpartition("/")[0] for low in lowered}:
        rest = folder
        while rest and rest not in folders:
            folders.add(rest)
            rest = rest.rpartition("/")[0]
    if len(set(lowered)) == len(lowered) and folders.isdisjoint(lowered):
        return ()
    first: dict[str, str] = {}
    twins = []
    for name, low in sorted(zip(names, lowered, strict=True)):
        if first.setdefault(low, name) != name:
            twins.append((first[low], name))
        elif low in folders:
            twins.append((name, f"{low}/"))
    return tuple(twins[:SHOWN])


def windows_faults(names: Sequence[str]) -> tuple[str, ...]:
    """The names that Windows cannot hold, each with the reason; the first few."""
    joined = "\n".join(names)
    text = f"\n{joined.lower()}\n"
    if not (_ODD.search(text) or any(end in text for end in _ODD_END) or _DEVICE.search(text)):
        return ()
    found: dict[str, str] = {}
    for hit in _SUSPECT.finditer(joined):
        name = names[joined.count("\n", 0, hit.start())]
        for part in name.split("/"):
            if fault := windows_fault(part):
                found[name] = f"{name}: {part!r} {fault}"
        if len(found) == SHOWN:
            break
    return tuple(found.values())
