"""What stands at the top of a medium: the page, the verifier, the plain ways to check and to copy."""

from __future__ import annotations

import hashlib
import html
from importlib import resources
from typing import TYPE_CHECKING, Final

from repack.channel import integrity
from repack.channel.layout import INTEGRITY_PATH
from repack.channel.releases import extra_files
from repack.channel.scripts import sync_scripts
from repack.codec.sha256sums import SUMS, format_sums
from repack.display import amount
from repack.errors import IntegrityError
from repack.fs import atomic, beneath, digests
from repack.fs.litter import is_litter
from repack.fs.walk import entries, read_or_none
from repack.medium import folder
from repack.medium.contents import INSTALLERS, NOTARY, OEM, PAGE
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.medium.contents import ListedRelease
    from repack.names import Digest

CHECK_SHA256: Final = "check-sha256.cmd"
_MARK: Final = b'<meta name="generator" content="repack medium">'
_OLD_CHECKLIST: Final = "CHECKLIST.md"
_OLD_TITLE: Final = b"# Checklist of this medium"


def put_top_files(root: Path, time: str) -> None:
    """Write everything that stands at the top of a medium.

    Args:
        time: of writing, for people.

    Raises:
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    windows = _shipped(CHECK_SHA256).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    texts = {
        RelPath("verify.py"): _shipped("verify.py"),
        RelPath(CHECK_SHA256): windows,
        **sync_scripts(),
    }
    for name, data in texts.items():
        atomic.write(root / name, data, atomic.file_mode(name))
    put_page(root, time)


def put_page(root: Path, time: str) -> None:
    """Write the page of what is on a medium now, and the list of hashes. As :func:`put_top_files`."""
    releases, installers = folder.inventory(root), folder.read_sums(root / INSTALLERS)
    verifier = hashlib.sha256(_shipped("verify.py")).hexdigest()
    marks = {"@MADE@": html.escape(time), "@VERIFIER@": verifier, **_parts(releases, installers)}
    text = _shipped("medium.html").decode()
    for mark, part in marks.items():
        text = text.replace(mark, part)
    atomic.write(root / PAGE, text.encode())
    if _starts_with(root / _OLD_CHECKLIST, _OLD_TITLE):
        atomic.remove(root / _OLD_CHECKLIST)
    put_sums(root)


def _parts(releases: Sequence[ListedRelease], installers: Mapping[str, str]) -> dict[str, str]:
    """The parts of the page that differ from medium to medium."""
    labels = list(dict.fromkeys(release.label for release in releases))
    install, share = [], []
    for label in labels:
        name = html.escape(label)
        install.append(
            f"<h3>{name} into an environment of its own</h3>\n<p>On Linux, in the medium's folder:</p>\n"
            f'<pre tabindex="0"><code>sh "{name}/install.sh"</code></pre>\n<p>On Windows:</p>\n'
            f'<pre tabindex="0"><code>"{name}\\install.cmd"</code></pre>'
        )
        share.append(
            f'<pre tabindex="0"><code>sh sync.sh "{name}" "/mnt/share/{name}"</code></pre>\n'
            f'<pre tabindex="0"><code>sync.cmd "{name}" "\\\\server\\share\\{name}"</code></pre>'
        )
    files = [
        f"<li><code>{INSTALLERS}/{html.escape(name)}</code>, SHA-256 "
        f'<code class="hash">{html.escape(digest)}</code></li>'
        for name, digest in installers.items()
    ]
    none = "<p>Nothing: no label on this medium brings an installer.</p>"
    return {
        "@RELEASES@": "\n".join(map(_row, releases)),
        "@INSTALL@": "\n".join(install),
        "@SHARE@": "\n".join(share),
        "@INSTALLERS@": "<ul>\n" + "\n".join(files) + "\n</ul>" if files else none,
    }


def _row(release: ListedRelease) -> str:
    label = html.escape(release.label)
    return (
        f'<tr><th scope="row"><a href="{label}/index.html">{label} {release.release}</a></th>'
        f'<td data-name="Platforms">{html.escape(", ".join(release.platforms))}</td>'
        f'<td data-name="Packages">{release.packages}, {amount(release.bytes)}</td>'
        f'<td data-name="Signed for">{html.escape(release.signed_for)}</td>'
        f'<td data-name="Good until">{html.escape(release.expires)}</td></tr>\n'
        f'<tr><td colspan="5">SHA-256 of the manifest of {label} {release.release}: '
        f'<code class="hash">{release.sha256}</code></td></tr>'
    )


def put_sums(root: Path) -> None:
    """Write ``SHA256SUMS`` of all that repack wrote to a medium, for ``sha256sum -c``.

    What a release lists is taken from its list: the files were compared with it when they were
    copied, and a file that was damaged since does not get its damage confirmed.

    Raises:
        SpaceError: the medium is full.
        PlaceError: it cannot be written or read.
    """
    listed: dict[str, str] = {}
    names = [channel.name for channel in folder.channels(root)]
    for name in names:
        listed |= {f"{name}/{path}": digest for path, digest in _listed(root / name).items()}
    sums = {
        path: listed.get(path) or digests.digest(root / path)[0]
        for path in sorted(_files(root, (*names, INSTALLERS, OEM, NOTARY)))
    }
    atomic.write(root / SUMS, format_sums(sums))


def _listed(channel: Path) -> dict[str, Digest]:
    """What the releases in a channel say that its files are."""
    owned = {str(path): entry.sha256 for path, entry in extra_files(channel).items()}
    try:
        data = read_or_none(channel / INTEGRITY_PATH, integrity.MAX_BYTES) or b""
        standing = integrity.parse(data, channel / INTEGRITY_PATH)
    except IntegrityError:
        return {}
    return {**owned, **{str(path): entry.sha256 for path, entry in standing.items()}}


def _files(root: Path, folders: Sequence[str]) -> list[str]:
    """The plain files that repack wrote: in ``folders``, and at the top."""
    top = (PAGE, "verify.py", "sync.sh", "sync.cmd", CHECK_SHA256)
    paths = [name for name in top if beneath.is_file(root / name)]
    for name in folders:
        if beneath.is_folder(root / name):
            paths += [
                f"{name}/{path}"
                for path, entry in entries(root / name)
                if entry.kind == "file" and not is_litter(path.rpartition("/")[2])
            ]
    return paths


def is_medium(root: Path) -> bool:
    """Whether a folder has the page, or the checklist, that repack writes at the top of a medium."""
    return _starts_with(root / PAGE, _shipped("medium.html").split(_MARK)[0] + _MARK) or (
        _starts_with(root / _OLD_CHECKLIST, _OLD_TITLE)
    )


def _starts_with(path: Path, text: bytes) -> bool:
    with atomic.os_errors_at(path):
        if not beneath.is_file(path):
            return False
        with beneath.reading(path) as stream:
            return bool(stream.read(len(text)) == text)


def _shipped(name: str) -> bytes:
    return resources.files("repack.shipped").joinpath(name).read_bytes()
