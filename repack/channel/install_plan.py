"""What a release brings to one target: its packages there, and what the label asks for.

The label's wishes stand in the signed manifest as ``target``; a manifest without them asks for
nothing, so releases of an older repack install as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec import Struct

from repack.codec.canonical import encode_rows, loads
from repack.conda.record import ARCHIVE_SUFFIXES
from repack.conda.subdir import NOARCH
from repack.errors import IntegrityError, RepackError
from repack.file_entry import FileEntry
from repack.label.label import AfterInstall
from repack.names import Digest, RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.channel.manifest import Manifest
    from repack.label.label import Label

TARGET: Final = "target"
"""The field of the manifest that holds the wishes."""
LIMIT: Final = 64 << 20
_FORMAT: Final = 1


class TargetPolicy(Struct, frozen=True):
    """What a label asks of a target."""

    after_install: AfterInstall = "none"
    health_check: tuple[str, ...] = ()
    needs_license: bool = False

    @classmethod
    def of_label(cls, label: Label) -> TargetPolicy:
        """What the label file says."""
        return cls(label.after_install, label.health_check, label.license == "required")

    @classmethod
    def parse(cls, raw: object, where: object) -> TargetPolicy:
        """Read the manifest's field; fields it does not know are passed over.

        Raises:
            IntegrityError: a field is malformed.
        """
        if raw is None:
            return cls()
        if not isinstance(raw, dict):
            raise IntegrityError(f"{TARGET} is no object", where=where)
        after, check = raw.get("after_install", "none"), raw.get("health_check", [])
        if after not in get_args(AfterInstall):
            raise IntegrityError("unknown after_install", where=where, got=repr(after)[:80])
        if not isinstance(check, list) or not all(isinstance(word, str) for word in check):
            raise IntegrityError("health_check is no list of texts", where=where)
        return cls(after, tuple(check), raw.get("license", "none") != "none")

    def to_json(self) -> dict[str, object]:
        """The manifest's field."""
        return {
            "after_install": self.after_install,
            "health_check": list(self.health_check),
            "license": "required" if self.needs_license else "none",
        }


class InstallPlan(Struct, frozen=True):
    """A release as one target gets it."""

    release: int
    platform: str
    wishes: TargetPolicy
    parcels: tuple[FileEntry, ...]

    def to_bytes(self) -> bytes:
        """The file that a target keeps."""
        document = {
            "format": _FORMAT,
            "release": self.release,
            "platform": self.platform,
            "target": self.wishes.to_json(),
            "packages": [[p.path, p.sha256, p.size] for p in self.parcels],
        }
        return encode_rows(document)

    @classmethod
    def parse(cls, data: bytes, where: object) -> InstallPlan:
        """Read :meth:`to_bytes`.

        Raises:
            IntegrityError: it is not that.
        """
        document: Any = loads(data, where, LIMIT)
        try:
            if document["format"] != _FORMAT:
                raise IntegrityError("unknown format", where=where, got=document["format"])
            return cls(
                release=int(document["release"]),
                platform=str(document["platform"]),
                wishes=TargetPolicy.parse(document["target"], where),
                parcels=tuple(
                    FileEntry(RelPath(path), int(size), Digest(sha256))
                    for path, sha256, size in document["packages"]
                ),
            )
        except RepackError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError("not the packages of a release", where=where) from error


def compose_install_plan(
    manifest: Manifest, plan: Mapping[str, Any], platform: str, where: object
) -> InstallPlan:
    """Put together what a release brings to targets of ``platform``.

    Args:
        manifest: believed.
        plan: ``repack/install.json`` of the same release: the packages of each platform by
            ``name-version-build``.

    Raises:
        IntegrityError: the plan names a package that the manifest does not.
    """
    artifacts = manifest.packages
    parcels = []
    try:
        dists = [str(dist) for dist in plan["subdirs"][platform]["packages"]]
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"no packages are listed for {platform}", where=where) from error
    for dist in sorted(dists):
        paths = [f"{s}/{dist}{suffix}" for s in (platform, NOARCH) for suffix in ARCHIVE_SUFFIXES]
        found = next((artifacts[RelPath(path)] for path in paths if path in artifacts), None)
        if found is None:
            raise IntegrityError("a package is not in the manifest", where=where, got=dist[:200])
        parcels.append(found)
    wishes = TargetPolicy.parse(manifest.extra.get(TARGET), where)
    return InstallPlan(manifest.release, platform, wishes, tuple(parcels))
