"""Reads a label file.

All mistakes of a file are reported at once, each with its line. A text is taken as it is spelt, so a
version must be quoted where YAML would make a number of it. No message holds a secret.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

from repack.codec.document import parse_document
from repack.codec.schema import check_schema
from repack.codec.tree import Line, ProblemList, Scalar, Table, View
from repack.conda.match_spec import normalize_spec
from repack.conda.spdx import LicencePolicy
from repack.conda.subdir import PLATFORMS
from repack.conda.virtual_packages import read_profile
from repack.errors import UsageError
from repack.inputs.source import Source
from repack.inputs.wheel_policy import WheelMode, WheelPolicy
from repack.label.advisories import read_advisories
from repack.label.channels import ChannelFault, read_channel
from repack.label.label import BundleSpec, Installer, Label, LabelSigning
from repack.label.on_target import read_after_install, read_bootstrap
from repack.label.schema import SCHEMA
from repack.label.variables import fill
from repack.names import Digest, LabelName
from repack.structs import Value
from repack.urls import redact_text, remember_secrets, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.codec.tree import Node
    from repack.conda.virtual_packages import TargetProfile
    from repack.label.label import PackageFormat

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
        folder_fault: says why a folder cannot be packed, or None when it can.
    """

    hidden_fields: ClassVar = ("environment",)

    environment: Mapping[str, str]
    check_spec: Callable[[str], str | None]
    locate: Callable[[str], str]
    expect_name: str | None = None
    packages_from: PackagesFrom = "label"
    folder_fault: Callable[[str], str | None] = lambda _path: None


def parse_label(data: bytes, where: str, context: LabelContext) -> Label:
    """Read a label file, YAML or, when ``where`` ends in ``.json``, JSON.

    Raises:
        LabelError: it has mistakes; holds all of them.
    """
    return label_of_tree(parse_document(data, where, MAX_LABEL), where, context)


def label_of_tree(tree: Node, where: str, context: LabelContext) -> Label:
    """A label from the tree of its file, or of what stands for one.

    Raises:
        LabelError: it has mistakes; holds all of them.
    """
    problems = ProblemList(where)
    check_schema(tree, SCHEMA, problems)
    if not isinstance(tree, Table):
        raise problems.error()
    return _Reader(View(tree), problems, context).read()


class _Reader:
    """Takes the tree apart; ``problems`` holds what the schema check found."""

    def __init__(self, top: View, problems: ProblemList, context: LabelContext) -> None:
        self._top = top
        self._problems = problems
        self._context = context
        self._secrets: set[str] = set()
        self._notes: list[str] = []

    def read(self) -> Label:
        top = self._top
        name = self._name()
        channels = self._channels()
        packages, constraints = self._specs("packages"), self._specs("constraints")
        source = self._source()
        platforms = self._platforms()
        exclude_newer = self._exclude_newer()
        bundles = self._bundles()
        signing = self._signing()
        installers = self._installers()
        wheels = self._wheels()
        advisories = read_advisories(top.view("advisories"), self._path, self._problems)
        bootstrap = read_bootstrap(top, platforms, self._problems)
        self._problems.end()
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
            **read_after_install(top),
            health_check=top.words("health_check"),
            signing=signing,
            agent=top.flag("agent", default=False),
            installers=installers,
            bootstrap=bootstrap,
            strict=top.flag("strict", default=False),
            licences=LicencePolicy(
                licences.words("deny"),
                cast('Literal["warn", "deny"]', licences.word("unknown", "warn")),
            ),
            wheels=wheels,
            advisories=advisories,
            license=cast('Literal["none", "required"]', top.word("license", "none")),
            keep_releases=top.number("keep_releases") or 3,
            secrets=frozenset(self._secrets),
            notes=tuple(self._notes),
            places=self._places(),
        )

    def _places(self) -> dict[str, str]:
        """Where stands what a solve may fail at."""
        place, top = self._problems.place, self._top
        places = {key: place(line) for key, line, _ in top.entries()}
        for key in ("packages", "constraints"):
            for line in top.lines(key):
                places[f"{key}:{normalize_spec(line.text)}"] = place(line.line)
        for subdir, number, _ in top.view("platforms").entries():
            places[f"platforms:{subdir}"] = place(number)
        return places

    def _name(self) -> str:
        line = self._top.text("label")
        if line is None:
            return ""
        try:
            LabelName(line.text)
        except UsageError as error:
            self._problems.add(line.line, error.what, error.hint)
        expected = self._context.expect_name
        if expected is not None and line.text != expected:
            self._problems.add(
                line.line,
                f"the label calls itself {line.text[:64]!r}, its file {expected!r}",
                "rename one of them",
            )
        return line.text

    def _fill(self, line: Line) -> str | None:
        """``line`` with its variables filled in; its secrets are remembered."""
        filled = fill(line.text, self._context.environment)
        for what, hint in filled.faults:
            self._problems.add(line.line, what, hint)
        self._secrets |= filled.secrets
        remember_secrets(filled.secrets)
        if filled.faults:
            return None
        self._secrets.update(secrets_in_url(filled.text))
        return filled.text

    def _path(self, line: Line) -> str:
        """``line`` as an absolute path. Its variables hide nothing: it is a path."""
        filled = fill(line.text, self._context.environment)
        for what, hint in filled.faults:
            self._problems.add(line.line, what, hint)
        if not filled.faults and not filled.text.isprintable():
            # "C:\\temp" in double quotes holds a tab.
            self._problems.add(
                line.line,
                f"the path {filled.text[:60]!r} holds a control character",
                "write it in single quotes, or with / instead of \\",
            )
            return ""
        return "" if filled.faults else self._context.locate(filled.text)

    def _channels(self) -> tuple[str, ...]:
        line_by_url: dict[str, int] = {}
        for line in self._top.lines("channels"):
            text = self._fill(line)
            if text is None:
                continue
            try:
                url = read_channel(text, self._context.locate)
            except ChannelFault as fault:
                self._problems.add(line.line, redact_text(fault.what, self._secrets), fault.hint)
                continue
            if url in line_by_url:
                first = f"first on line {line_by_url[url]}"
                self._problems.add(line.line, "the channel stands here twice", first)
            line_by_url.setdefault(url, line.line)
        return tuple(line_by_url)

    def _specs(self, key: str) -> tuple[str, ...]:
        specs: dict[str, None] = {}
        for line in self._top.lines(key):
            text = normalize_spec(line.text)
            self._check_spec(key, Line(text, line.line))
            specs[text] = None
        return tuple(specs)

    def _check_spec(self, key: str, spec: Line) -> None:
        text, line = spec.text, spec.line
        if not text:
            self._problems.add(line, f"'{key}' holds an empty text")
        elif "::" in text or _IN_BRACKETS.search(text):
            self._problems.add(
                line,
                f"{text[:80]!r} names a channel",
                f"write {text.rsplit('::', 1)[-1][:60]!r}; the order of 'channels' decides"
                if "::" in text
                else "leave the channel out; the order of 'channels' decides",
            )
        elif fault := self._context.check_spec(text):
            reason = " ".join(fault.split())[:160]
            self._problems.add(line, f"{text[:80]!r} is no MatchSpec: {reason}")

    def _source(self) -> Source | None:
        top, has_source = self._top, self._top.has("from")
        if has_source and top.has("packages"):
            self._problems.add(top.line, "both 'packages' and 'from' are given", "keep one of them")
        elif not has_source and not top.has("packages") and self._context.packages_from == "label":
            self._problems.add(
                top.line, "'packages' is missing", "or 'from:' a lock or environment file"
            )
        if not has_source:
            return None
        table = top.view("from")
        file = top.text("from") or table.text("file")
        files = (file,) if file else top.lines("from")
        return Source(
            paths=tuple(self._path(line) for line in files),
            environment=table.word("environment", "default"),
            categories=table.words("categories") or ("main",),
        )

    def _platforms(self) -> dict[str, TargetProfile]:
        table = self._top.view("platforms")
        profiles: dict[str, TargetProfile] = {}
        for subdir, line, value in table.entries():
            if subdir in PLATFORMS:
                table_of_subdir = View(value if isinstance(value, Table) else Table(line, ()))
                profiles[subdir] = self._profile(subdir, table_of_subdir)
        return profiles

    def _profile(self, subdir: str, table: View) -> TargetProfile:
        profile = read_profile(subdir, table, self._problems)
        if not profile.reads_conda_archives and self._top.word("package_format", "keep") == "keep":
            self._notes.append(
                f"{subdir}: conda {profile.conda} cannot read .conda packages;"
                " say package_format: tar.bz2"
            )
        return profile

    def _exclude_newer(self) -> dt.datetime | None:
        line = self._top.text("exclude_newer")
        if line is None:
            return None
        try:
            moment = dt.datetime.fromisoformat(line.text)
            if re.fullmatch(r"[0-9-]+", line.text):
                # A day counts as a whole, as in pixi and uv: what was built on it is not newer.
                moment += dt.timedelta(days=1)
            return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self._problems.add(
                line.line,
                f"'exclude_newer' must be a day or a time, not {line.text[:60]!r}",
                "such as 2026-11-01 or 2026-11-01T12:00:00Z",
            )
            return None

    def _bundles(self) -> dict[str, BundleSpec]:
        bundles: dict[str, BundleSpec] = {}
        for name, _, value in self._top.view("bundles").entries():
            if not isinstance(value, Table):
                continue
            table = View(value)
            path = table.text("path")
            if (
                path
                and (place := self._path(path))
                and (fault := self._context.folder_fault(place))
            ):
                self._problems.add(
                    path.line, f"bundle {name!r}: {fault}", "name a folder with files"
                )
            bundles[name] = BundleSpec(
                path=self._path(path) if path else "",
                version=table.word("version", ""),
                compression_level=table.number("compression_level"),
                license=table.word("license", "") or None,
            )
        return bundles

    def _signing(self) -> LabelSigning | None:
        if not self._top.has("signing"):
            return None
        table = self._top.view("signing")
        hmac, keys = table.text("hmac"), table.text("keys")
        reference = _KEY_REFERENCE.match(hmac.text) if hmac else None
        if hmac and reference and reference[1] == "env":
            variable = hmac.text[reference.end(1) + 1 :]
            if variable not in self._context.environment:
                what = f"variable {variable} is not set"
                self._problems.add(hmac.line, what, f"export {variable}=…")
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

    def _wheels(self) -> WheelPolicy:
        if mode := self._top.text("wheels"):
            return WheelPolicy(cast("WheelMode", mode.text))
        table = self._top.view("wheels")
        index = table.text("index")
        return WheelPolicy(
            index=self._fill(index) if index else None,
            packages=tuple(
                text for line in table.lines("packages") if (text := self._wheel_package(line))
            ),
            names={
                key: value.text
                for key, _, value in table.view("names").entries()
                if isinstance(value, Scalar)
            },
            instead=cast('Literal["conda", "wheel"]', table.word("instead", "conda")),
        )

    def _wheel_package(self, line: Line) -> str | None:
        """A requirement, or the absolute path of a wheel; None for what is neither."""
        if line.text.endswith(".whl") and " @ " not in line.text:
            return self._path(line)
        # Imported when there is one: most labels have none.
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(line.text)
        except InvalidRequirement:
            what = f"{line.text[:80]!r} is neither a requirement nor a wheel"
            self._problems.add(line.line, what, "write 'NAME ==VERSION', or the path of a .whl")
            return None
        if requirement.url:
            what = f"{line.text[:80]!r} names a URL"
            self._problems.add(line.line, what, "put the wheel beside the label and name its path")
        return line.text

    def _installers(self) -> tuple[Installer, ...]:
        installers: list[Installer] = []
        for table in self._top.views("installers"):
            line, digest = table.text("url"), table.word("sha256", "")
            url = self._fill(line) if line else None
            if line and url and not _INSTALLER_URL.match(url):
                shown = redact_text(url, self._secrets)[:120]
                self._problems.add(line.line, f"{shown!r} is no URL of a file")
            if url and re.fullmatch("[0-9A-Fa-f]{64}", digest):
                installers.append(Installer(url, Digest(digest)))
        return tuple(installers)
