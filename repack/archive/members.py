"""Which names and links a package archive may hold, and which of them Windows cannot.

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
# A text of lower-case names without any of these holds nothing that _SUSPECT matches. To look for
# them takes a third of its time.
_ODD: Final = re.compile(r'[<>:"|?*\\\x00-\x09\x0b-\x1f]')
_ODD_END: Final = ("./", " /", ".\n", " \n")
_DEVICE: Final = re.compile(r"[/\n](?:con|prn|aux|nul|com\d|lpt\d)[^\S\n]*[./\n]")
_SYMLINK_HOPS: Final = 40
SHOWN: Final = 20  # of a list of findings, so that no list gets out of hand


def check_names(names: Sequence[str]) -> None:
    """Check that no name leads out of the folder it is unpacked to.

    Raises:
        IntegrityError: a name is absolute, has an empty part, ``.``, ``..``, a drive or a line end.
    """
    # With a slash before and after each name, absolute paths and empty parts both show as "//".
    text = "/" + "/\n/".join(names) + "/" if names else ""
    if (
        any(bad in text for bad in _UNSAFE)
        or (":" in text and _DRIVE.search(text))
        or text.count("\n") >= max(len(names), 1)
    ):
        unsafe = next(name for name in names if not is_safe(name))
        raise IntegrityError(
            "a path in the archive leads out of its folder, or differs between systems",
            expected="a relative path with '/' between its parts and no '.' or '..' among them",
            got=repr(unsafe[:200]),
        )


def is_safe(name: str) -> bool:
    """Whether one name stays in the folder it is unpacked to."""
    text = f"/{name}/"
    return not (any(bad in text for bad in (*_UNSAFE, "\n")) or _DRIVE.match(text))


def check_links(symlinks: Mapping[str, str], names: Collection[str]) -> None:
    """Check that no symbolic link leads out of the archive, and that no file lies below one.

    A file below a link is written to where the link points, which may be anywhere.

    Args:
        symlinks: the target of each link by its name.
        names: all members but folders.

    Raises:
        IntegrityError: names the link or the folder.
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
    """Resolve ``target`` as an operating system does, through other links of the archive."""
    hops = 0
    resolved = name.split("/")[:-1]
    pending = target.split("/")[::-1]
    if target.startswith("/") or not target:
        return False
    while pending:
        part = pending.pop()
        if part in {"", "."}:
            continue
        if part != "..":
            resolved.append(part)
        elif resolved:
            resolved.pop()
        else:
            return False
        link_target = symlinks.get("/".join(resolved)) if part != ".." else None
        if link_target is not None:
            hops += 1  # Linux gives up after 40 links too (ELOOP)
            if hops > _SYMLINK_HOPS or link_target.startswith("/"):
                return False
            resolved.pop()
            pending += link_target.split("/")[::-1]
    return True


def case_twins(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of files of which a case-insensitive file system can hold only one; the first few.

    Folders that differ in case only are no twins: Windows merges them.
    """
    # lower() approximates the table of NTFS; casefold() would report ß and ss, which NTFS keeps.
    lowered = "\n".join(names).lower().split("\n")
    folders: set[str] = set()
    for parent in {low.rpartition("/")[0] for low in lowered}:
        folder = parent
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
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
    faults: dict[str, str] = {}
    for match in _SUSPECT.finditer(joined):
        name = names[joined.count("\n", 0, match.start())]
        for part in name.split("/"):
            if fault := windows_fault(part):
                faults[name] = f"{name}: {part!r} {fault}"
        if len(faults) == SHOWN:
            break
    return tuple(faults.values())
