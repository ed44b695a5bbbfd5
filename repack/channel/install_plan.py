"""What a release brings to one target: its packages there, and what the label asks for.

What the label asks for stands in the signed manifest as ``target``; a manifest without it asks for
nothing, so that releases of an older repack install as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from msgspec import Struct

from repack.codec.canonical import encode_rows, loads
from repack.codec.decode import Document, decode, encode
from repack.conda.record import ARCHIVE_SUFFIXES
from repack.conda.subdir import NOARCH, package_name
from repack.errors import IntegrityError
from repack.file_entry import FileEntry
from repack.label.label import AfterInstall, bundle_names, numbered_names
from repack.names import Digest, RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.channel.manifest import Manifest
    from repack.label.label import Label
    from repack.names import LabelName

__all__ = ["AfterInstall", "InstallPlan", "TargetPolicy", "compose_install_plan"]

TARGET: Final = "target"
"""The field of the manifest that holds the target policy."""
LIMIT: Final = 64 << 20


class TargetPolicy(Document, frozen=True):
    """What a label asks of a target; as a document, the manifest's field.

    Attributes:
        after_install: what follows an update of packages.
        after_bundles: what follows one of bundles alone; None: the same.
        bundles: the names of the bundles' packages, where ``after_bundles`` is given.
        license: ``none``, or whatever else a later repack knows: then a licence is needed.
    """

    after_install: AfterInstall = "none"
    health_check: tuple[str, ...] = ()
    license: str = "none"
    after_bundles: AfterInstall | None = None
    bundles: tuple[str, ...] = ()

    @classmethod
    def of_label(cls, label: Label) -> TargetPolicy:
        """What the label file says."""
        license_ = "required" if label.license == "required" else "none"
        bundles = tuple(sorted(bundle_names(label))) if label.after_bundles else ()
        return cls(label.after_install, label.health_check, license_, label.after_bundles, bundles)

    @property
    def needs_license(self) -> bool:
        """Whether the device must have a licence before anything is installed."""
        return self.license != "none"

    def to_json(self) -> dict[str, object]:
        """The manifest's field."""
        fields = {**encode(self), "health_check": list(self.health_check)}
        if self.after_bundles is None:
            del fields["after_bundles"], fields["bundles"]
            return fields
        return {**fields, "bundles": list(self.bundles)}


class _PlanFile(Document, frozen=True):
    """The file of an install plan; a package is path, SHA-256 and size."""

    format: Literal[1]
    release: int
    platform: str
    target: TargetPolicy
    packages: tuple[tuple[RelPath, Digest, int], ...]


class InstallPlan(Struct, frozen=True):
    """A release as one target gets it."""

    release: int
    platform: str
    policy: TargetPolicy
    packages: tuple[FileEntry, ...]

    def action_after(self, before: InstallPlan | None, label: LabelName) -> AfterInstall:
        """What has to follow a switch between this release and ``before``, in either direction.

        The packages that carry the release's number always differ and count for nothing.

        Args:
            before: what runs; None on a new target, where everything is new.
        """
        policy = self.policy
        if policy.after_bundles is None:
            return policy.after_install
        old = {(p.path, p.sha256) for p in before.packages} if before is not None else set()
        differing = old ^ {(p.path, p.sha256) for p in self.packages}
        names = {package_name(path) for path, _ in differing} - numbered_names(label)
        words = [policy.after_install] if names - {*policy.bundles} else []
        if not words or names & {*policy.bundles}:
            words.append(policy.after_bundles)
        return max(words, key=get_args(AfterInstall).index)

    def to_bytes(self) -> bytes:
        """The file that a target keeps."""
        packages = tuple((entry.path, entry.sha256, entry.size) for entry in self.packages)
        document = encode(_PlanFile(1, self.release, self.platform, self.policy, packages))
        rows = [list(row) for row in document["packages"]]
        return encode_rows({**document, "target": self.policy.to_json(), "packages": rows})

    @classmethod
    def parse(cls, data: bytes, where: object) -> InstallPlan:
        """Read :meth:`to_bytes`.

        Raises:
            IntegrityError: it is not that.
        """
        file = decode(_PlanFile, loads(data, where, LIMIT), where, "install plan")
        entries = (FileEntry(path, size, sha256) for path, sha256, size in file.packages)
        return cls(file.release, file.platform, file.target, tuple(entries))


def compose_install_plan(
    manifest: Manifest, plan: Mapping[str, Any], platform: str, where: object
) -> InstallPlan:
    """Put together what a release brings to targets of ``platform``.

    Args:
        manifest: verified.
        plan: ``repack/install.json`` of the same release: the packages of each platform by
            ``name-version-build``.

    Raises:
        IntegrityError: the plan names a package that the manifest does not.
    """
    try:
        dists = [str(dist) for dist in plan["subdirs"][platform]["packages"]]
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"no packages are listed for {platform}", where=where) from error
    entry_by_path = manifest.packages
    packages = []
    for dist in sorted(dists):
        paths = [f"{s}/{dist}{suffix}" for s in (platform, NOARCH) for suffix in ARCHIVE_SUFFIXES]
        path = next((RelPath(path) for path in paths if path in entry_by_path), None)
        if path is None:
            raise IntegrityError("a package is not in the manifest", where=where, got=dist[:200])
        packages.append(entry_by_path[path])
    target = manifest.extra.get(TARGET)
    policy = TargetPolicy() if target is None else decode(TargetPolicy, target, where, TARGET)
    return InstallPlan(manifest.release, platform, policy, tuple(packages))
