"""Reads a label file.

Rules of this module: all mistakes of a file are told at once, each with its line; a text is taken
as spelt, so a version must be quoted where YAML would make a number of it; a secret never stands
in a message.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

from repack.codec.document import parse_document
from repack.codec.schema import check_schema
from repack.codec.tree import Line, ProblemList, Table, View
from repack.conda.match_spec import normalize_spec
from repack.conda.spdx import LicencePolicy
from repack.conda.subdir import PLATFORMS
from repack.conda.virtual_packages import read_profile
from repack.errors import UsageError
from repack.inputs.source import Source
from repack.label.channels import ChannelFault, read_channel
from repack.label.label import BundleSpec, Installer, Label, LabelSigning
from repack.label.schema import SCHEMA
from repack.label.variables import fill
from repack.names import Digest, LabelName
from repack.structs import Value
from repack.urls import redact_text, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.conda.virtual_packages import TargetProfile
    from repack.label.label import AfterInstall, PackageFormat

PackagesFrom = Literal["label", "env"]

MAX_LABEL: Final = 1 << 20
_IN_BRACKETS: Final = re.compile(r"\[[^\]]*\b(channel|url)\s*=")
_KEY_REFERENCE: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:@-]*=)?(env|file):\S")
_INSTALLER_URL: Final = re.compile(r"(https?://[^/\s]+|file://[^/\s]*)/\S+\Z")


class LabelContext(Value, frozen=True):
    """What a label file is read with.

    Attributes:
        environment: the variables that ``${NAME}`` may name.
        check_spec: says why a text is no MatchSpec, or None when it is one.
        locate: makes a path of the file absolute.
        expect_name: the name that the file must give itself.
        packages_from: ``env`` when a prepared environment brings the packages.
    """

    hidden_fields: ClassVar = ("environment",)

    environment: Mapping[str, str]
    check_spec: Callable[[str], str | None]
    locate: Callable[[str], str]
    expect_name: str | None = None
    packages_from: PackagesFrom = "label"


def parse_label(data: bytes, where: str, around: LabelContext) -> Label:
    """Read a label file, YAML or, when ``where`` ends in ``.json``, JSON.

    Raises:
        LabelError: it has mistakes; holds all of them.
    """
    tree = parse_document(data, where, MAX_LABEL)
    findings = ProblemList(where)
    check_schema(tree, SCHEMA, findings)
    if not isinstance(tree, Table):
        raise findings.error()
    return _Reader(View(tree), findings, around).read()


class _Reader:
    """Takes the tree apart; ``findings`` has what its schema found already."""

    def __init__(self, top: View, findings: ProblemList, around: LabelContext) -> None:
        self._top = top
        self._findings = findings
        self._around = around
        self._secrets: set[str] = set()
        self._notes: list[str] = []

    def read(self) -> Label:
        top = self._top
        name = self._name()
        channels = self._channels()
        packages = self._specs("packages")
        source = self._source()
        platforms = self._platforms()
        constraints = self._specs("constraints")
        exclude_newer = self._exclude_newer()
        bundles = self._bundles()
        signing = self._signing()
        installers = self._installers()
        self._findings.end()
        licences = top.view("licences")
        return Label(
            name=LabelName(name),
            description=top.word("description", ""),
            channels=channels,
            packages=packages,
            source=source,
            platforms=platforms,
            constraints=constraints,
            exclude_newer=exclude_newer,
            package_format=cast("PackageFormat", top.word("package_format", "keep")),
            add_pip=top.flag("add_pip", default=True),
            bundles=bundles,
            after_install=cast("AfterInstall", top.word("after_install", "none")),
            health_check=top.words("health_check"),
            signing=signing,
            agent=top.flag("agent", default=False),
            installers=installers,
            strict=top.flag("strict", default=False),
            licences=LicencePolicy(
                licences.words("deny"),
                cast('Literal["warn", "deny"]', licences.word("unknown", "warn")),
            ),
            license=cast('Literal["none", "required"]', top.word("license", "none")),
            keep_releases=top.number("keep_releases") or 3,
            secrets=frozenset(self._secrets),
            notes=tuple(self._notes),
        )

    def _name(self) -> str:
        given = self._top.text("label")
        if given is None:
            return ""
        try:
            LabelName(given.text)
        except UsageError as error:
            self._findings.add(given.line, error.what, error.hint)
        expected = self._around.expect_name
        if expected is not None and given.text != expected:
            self._findings.add(
                given.line,
                f"the label calls itself {given.text[:64]!r}, its file {expected!r}",
                "rename one of them",
            )
        return given.text

    def _fill(self, given: Line) -> str | None:
        """``given`` with its variables filled in; its secrets are remembered."""
        filled = fill(given.text, self._around.environment)
        for what, hint in filled.faults:
            self._findings.add(given.line, what, hint)
        self._secrets |= filled.secrets
        if filled.faults:
            return None
        self._secrets.update(secrets_in_url(filled.text))
        return filled.text

    def _path(self, given: Line) -> str:
        """``given`` as an absolute path. Its variables hide nothing: it is a path."""
        filled = fill(given.text, self._around.environment)
        for what, hint in filled.faults:
            self._findings.add(given.line, what, hint)
        return "" if filled.faults else self._around.locate(filled.text)

    def _channels(self) -> tuple[str, ...]:
        found: dict[str, int] = {}
        for given in self._top.lines("channels"):
            text = self._fill(given)
            if text is None:
                continue
            try:
                url = read_channel(text, self._around.locate)
            except ChannelFault as fault:
                self._findings.add(given.line, redact_text(fault.what, self._secrets), fault.hint)
                continue
            if url in found:
                first = f"first on line {found[url]}"
                self._findings.add(given.line, "the channel stands here twice", first)
            found.setdefault(url, given.line)
        return tuple(found)

    def _specs(self, key: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for given in self._top.lines(key):
            text = normalize_spec(given.text)
            self._check_spec(key, Line(text, given.line))
            found[text] = None
        return tuple(found)

    def _check_spec(self, key: str, given: Line) -> None:
        text, line = given.text, given.line
        if not text:
            self._findings.add(line, f"'{key}' holds an empty text")
        elif "::" in text or _IN_BRACKETS.search(text):
            self._findings.add(
                line,
                f"{text[:80]!r} names a channel",
                f"write {text.rsplit('::', 1)[-1][:60]!r}; the order of 'channels' decides"
                if "::" in text
                else "leave the channel out; the order of 'channels' decides",
            )
        elif fault := self._around.check_spec(text):
            reason = " ".join(fault.split())[:160]
            self._findings.add(line, f"{text[:80]!r} is no MatchSpec: {reason}")

    def _source(self) -> Source | None:
        top, has_source = self._top, self._top.has("from")
        if has_source and top.has("packages"):
            self._findings.add(top.line, "both 'packages' and 'from' are given", "keep one of them")
        elif not has_source and not top.has("packages") and self._around.packages_from == "label":
            self._findings.add(
                top.line, "'packages' is missing", "or 'from:' a lock or environment file"
            )
        if not has_source:
            return None
        table = top.view("from")
        one = top.text("from") or table.text("file")
        given = (one,) if one else top.lines("from")
        return Source(
            paths=tuple(self._path(line) for line in given),
            environment=table.word("environment", "default"),
            categories=table.words("categories") or ("main",),
        )

    def _platforms(self) -> dict[str, TargetProfile]:
        table = self._top.view("platforms")
        found: dict[str, TargetProfile] = {}
        for subdir, line, value in table.entries():
            if subdir in PLATFORMS:
                profile = View(value if isinstance(value, Table) else Table(line, ()))
                found[subdir] = self._profile(subdir, profile)
        return found

    def _profile(self, subdir: str, table: View) -> TargetProfile:
        profile = read_profile(subdir, table, self._findings)
        if not profile.reads_conda_archives and self._top.word("package_format", "keep") == "keep":
            self._notes.append(
                f"{subdir}: conda {profile.conda} cannot read .conda packages;"
                " say package_format: tar.bz2"
            )
        return profile

    def _exclude_newer(self) -> dt.datetime | None:
        given = self._top.text("exclude_newer")
        if given is None:
            return None
        try:
            moment = dt.datetime.fromisoformat(given.text)
            if re.fullmatch(r"[0-9-]+", given.text):
                # A day counts as a whole, as in pixi and uv: what was built on it is not newer.
                moment += dt.timedelta(days=1)
            return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self._findings.add(
                given.line,
                f"'exclude_newer' must be a day or a time, not {given.text[:60]!r}",
                "such as 2026-11-01 or 2026-11-01T12:00:00Z",
            )
            return None

    def _bundles(self) -> dict[str, BundleSpec]:
        found: dict[str, BundleSpec] = {}
        for name, _, value in self._top.view("bundles").entries():
            if not isinstance(value, Table):
                continue
            table = View(value)
            path = table.text("path")
            found[name] = BundleSpec(
                path=self._path(path) if path else "",
                version=table.word("version", ""),
                compression_level=table.number("compression_level"),
                license=table.word("license", "") or None,
            )
        return found

    def _signing(self) -> LabelSigning | None:
        if not self._top.has("signing"):
            return None
        table = self._top.view("signing")
        hmac, keys = table.text("hmac"), table.text("keys")
        reference = _KEY_REFERENCE.match(hmac.text) if hmac else None
        if hmac and reference and reference[1] == "env":
            variable = hmac.text[reference.end(1) + 1 :]
            if variable not in self._around.environment:
                what = f"variable {variable} is not set"
                self._findings.add(hmac.line, what, f"export {variable}=…")
        if hmac and not reference:
            self._secrets.add(re.split(r"[=:]", hmac.text.rstrip("="))[-1])
            self._secrets.add(hmac.text)
            self._notes.append("signing.hmac holds the key itself; name env:… or file:… instead")
        return LabelSigning(
            hmac=hmac.text if hmac else None,
            key_id=table.word("key_id", "") or None,
            keys=self._path(keys) if keys else None,
            expiry=table.view("expiry").numbers(),
            thresholds=table.view("thresholds").numbers(),
        )

    def _installers(self) -> tuple[Installer, ...]:
        found: list[Installer] = []
        for table in self._top.views("installers"):
            given, digest = table.text("url"), table.word("sha256", "")
            url = self._fill(given) if given else None
            if given and url and not _INSTALLER_URL.match(url):
                shown = redact_text(url, self._secrets)[:120]
                self._findings.add(given.line, f"{shown!r} is no URL of a file")
            if url and re.fullmatch("[0-9A-Fa-f]{64}", digest):
                found.append(Installer(url, Digest(digest)))
        return tuple(found)
