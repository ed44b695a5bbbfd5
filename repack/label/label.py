"""A label: one customer's distribution. Its file is read by :mod:`repack.label.reader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from msgspec import Struct, field

from repack.advisories.policy import AdvisoryPolicy
from repack.conda.spdx import LicencePolicy
from repack.inputs.wheel_policy import WheelPolicy
from repack.structs import Value

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from repack.conda.virtual_packages import TargetProfile
    from repack.inputs.source import Source
    from repack.names import Digest, LabelName
from typing import TYPE_CHECKING

from repack.label.agent import AGENT_PACKAGE

PackageFormat = Literal["keep", "tar.bz2"]
Bootstrap = Literal["none", "repack"]
AfterInstall = Literal["none", "restart", "reboot"]


class BundleSpec(Struct, frozen=True):
    """A folder to pack; ``path`` is absolute."""

    path: str
    version: str
    compression_level: int | None = None
    license: str | None = None


class LabelSigning(Value, frozen=True):
    """How releases are signed; what is None or missing has the signer's defaults.

    Attributes:
        hmac: the shared key, ``[KEYID=]env:NAME`` and so on; not read yet, never shown.
        key_id: the name of that key in manifests.
        keys: folder of the signing keys, absolute.
        expiry: days per role.
        thresholds: signatures per role.
    """

    hidden_fields: ClassVar = ("hmac",)

    hmac: str | None = None
    key_id: str | None = None
    keys: str | None = None
    expiry: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, int] = field(default_factory=dict)


class Installer(Value, frozen=True):
    """A file that a bare target needs first."""

    hidden_fields: ClassVar = ("url",)

    url: str
    sha256: Digest


class Label(Value, frozen=True):
    """What to build, for whom.

    Attributes:
        channels: URLs in priority order, secrets included.
        packages: MatchSpecs; empty when ``source`` or a prepared environment says which.
        platforms: target profiles by subdir.
        exclude_newer: later packages do not exist; in UTC.
        secrets: every secret in this label, to be hidden in texts and searched for in channels.
        after_install: what a target does after an update of packages.
        after_bundles: the same after one of bundles alone; None: what ``after_install`` says.
        bootstrap: what a target with nothing on it starts from.
        notes: what the reader found worth a warning.
        places: where in the file stands what a solve may fail at, for messages: by ``packages:SPEC``,
            ``constraints:SPEC``, ``platforms:SUBDIR`` and key.
    """

    hidden_fields: ClassVar = (
        "channels",
        "secrets",
    )
    uncompared_fields: ClassVar = ("places",)

    name: LabelName
    channels: tuple[str, ...]
    platforms: Mapping[str, TargetProfile]
    packages: tuple[str, ...] = ()
    description: str = ""
    source: Source | None = None
    constraints: tuple[str, ...] = ()
    exclude_newer: dt.datetime | None = None
    package_format: PackageFormat = "keep"
    add_pip: bool = True
    bundles: Mapping[str, BundleSpec] = field(default_factory=dict)
    after_install: AfterInstall = "none"
    after_bundles: AfterInstall | None = None
    health_check: tuple[str, ...] = ()
    signing: LabelSigning | None = None
    agent: bool = False
    installers: tuple[Installer, ...] = ()
    bootstrap: Bootstrap = "none"
    strict: bool = False
    licences: LicencePolicy = field(default_factory=LicencePolicy)
    advisories: AdvisoryPolicy = field(default_factory=AdvisoryPolicy)
    wheels: WheelPolicy = field(default_factory=WheelPolicy)
    license: Literal["none", "required"] = "none"
    keep_releases: int = 3
    secrets: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)


def numbered_names(label: LabelName) -> frozenset[str]:
    """The names of the packages that carry the release's number."""
    return frozenset({str(label), f"{label}-manifest"})


def bundle_names(label: Label) -> frozenset[str]:
    """The names of the packages that a label's bundles become."""
    return frozenset(f"{label.name}-{name}" for name in label.bundles)


def package_names(label: Label) -> frozenset[str]:
    """The names of all packages that repack makes for a label."""
    parts = ("manifest", *label.bundles)
    agent = {AGENT_PACKAGE} if label.agent else set()
    return frozenset({str(label.name), *(f"{label.name}-{part}" for part in parts)} | agent)
