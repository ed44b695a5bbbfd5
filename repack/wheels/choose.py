"""Choose wheels that no lock names: uv resolves them for the target, beside the conda packages.

uv is a program of its own, asked through files and its environment: `uv pip compile` for a foreign
platform and Python, wheels only. What conda installs already is a constraint with its exact version,
so that both fit together; such distributions are then left to conda. Its output is a pylock.toml
(PEP 751) with URL, size and SHA-256 of each wheel.
"""

from __future__ import annotations

import configparser
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from repack.errors import IntegrityError, UnsolvableError, UsageError
from repack.fs import atomic, beneath
from repack.inputs.pins import WheelPin, wheel_pin
from repack.structs import Value
from repack.urls import redact_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from repack.conda.record import Record
    from repack.conda.virtual_packages import TargetProfile
    from repack.wheels.names import NameMapping
    from repack.wheels.requirements import Machine

_TIMEOUT: Final = 600
_MAX_OUTPUT: Final = 64 << 20
_GLIBC_STEPS: Final = (17, 28, *range(31, 41))
_SIMPLE: Final = re.compile(r"[a-z0-9-]+(==[0-9][0-9a-z.]*(\+[0-9a-z.]+)?)?")


class WheelRequest(Value, frozen=True):
    """What is asked of the index for one subdir.

    Attributes:
        requirements: PEP 508 texts; wheels on disk are given as pins instead.
        local: wheels on disk that the label names.
        records: the conda packages of the subdir.
        index: the index's URL, secrets included, or None for uv's own default.
        environment: variables for uv: proxies, certificates, its settings.
        cache: a folder for what uv fetched of the index.
    """

    hidden_fields: ClassVar = ("index", "environment")

    requirements: tuple[str, ...]
    local: tuple[WheelPin, ...]
    records: Sequence[Record]
    profile: TargetProfile
    machine: Machine
    index: str | None
    environment: Mapping[str, str]
    cache: Path
    exclude_newer: dt.datetime | None = None


def choose_wheels(request: WheelRequest, names: NameMapping) -> tuple[WheelPin, ...]:
    """The wheels that serve the requirements beside the conda packages, sorted by name.

    Raises:
        UnsolvableError: with uv's own explanation.
        UsageError: uv is not installed.
        IntegrityError: a distribution has no wheel for the target, or none with a hash.
    """
    if not request.requirements and not request.local:
        return ()
    named = requirement_names(request.requirements) | {pin.name for pin in request.local}
    from_conda = {
        name: record
        for name, record in _distributions(request.records, names).items()
        if name not in named
    }
    try:
        text = _compile(
            request, "constraints", [f"{n}=={r.version}" for n, r in from_conda.items()]
        )
    except UnsolvableError:
        # The index may lack what conda brings. Left out, it fits or not when all is solved at last.
        text = _compile(request, "excludes", list(from_conda))
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise IntegrityError("what uv answered is no pylock.toml", got=fault) from fault
    pins = {pin.name: pin for pin in request.local}
    for row in document.get("packages", ()):
        name = canonicalize_name(str(row.get("name", "")))
        if name not in from_conda and name not in pins:
            pins[name] = _pin(row, request.profile.subdir)
    return tuple(pins[name] for name in sorted(pins))


def local_wheel(path: str) -> WheelPin:
    """The pin of a wheel on disk.

    Raises:
        PlaceError: it cannot be read.
        IntegrityError: its name is none of a wheel.
    """
    file = Path(path)
    digest = hashlib.sha256()
    with atomic.os_errors_at(file), beneath.reading(file) as stream:
        while chunk := stream.read(atomic.CHUNK):
            digest.update(chunk)
    try:
        pin = wheel_pin(file.absolute().as_uri(), digest.hexdigest())
    except ValueError as fault:
        raise IntegrityError(str(fault), where=path) from fault
    return WheelPin(pin.name, pin.version, file.name, pin.sha256, pin.url, is_direct=True)


def requirement_names(requirements: Iterable[str]) -> frozenset[str]:
    """The distributions that somebody asked for by name."""
    return frozenset(canonicalize_name(Requirement(text).name) for text in requirements)


def satisfies(pins: Iterable[WheelPin], requirements: Iterable[str]) -> bool:
    """Whether each requirement is one of the pins, in a version that it allows."""
    version_by_name = {pin.name: pin.version for pin in pins}
    try:
        parsed = [Requirement(text) for text in requirements]
    except InvalidRequirement:
        return False
    return all(
        (version := version_by_name.get(canonicalize_name(one.name))) is not None
        and one.specifier.contains(version, prereleases=True)
        for one in parsed
    )


def user_index(environment: Mapping[str, str], home: Path) -> str | None:
    """The index of the user's pip settings: the environment, then pip's files.

    Source: pip, "Configuration".
    """
    if url := environment.get("PIP_INDEX_URL"):
        return url
    files = [home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf")]
    if sys.platform == "win32":
        files = [Path(environment.get("APPDATA", str(home))) / "pip/pip.ini", home / "pip/pip.ini"]
    if named := environment.get("PIP_CONFIG_FILE"):
        files.insert(0, Path(named))
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
            if parser.has_option("global", "index-url"):
                return parser.get("global", "index-url")
        except (OSError, ValueError, configparser.Error):
            continue
    return None


def _compile(request: WheelRequest, option: str, rows: list[str]) -> str:
    """Run uv and return its pylock.toml.

    Args:
        option: ``constraints`` or ``excludes``: what ``rows`` are to uv.
    """
    uv = _find_uv(request.environment)
    with tempfile.TemporaryDirectory(prefix="repack-wheels-") as folder:
        root = Path(folder)
        lines = [*request.requirements, *(f"{p.name} @ {p.url}" for p in request.local)]
        (root / "requirements.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
        # A version that PEP 440 does not know bounds nothing.
        known = [row for row in sorted(rows) if _SIMPLE.fullmatch(row)]
        (root / "conda.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
        command = [
            *(uv, "pip", "compile", "requirements.in", f"--{option}", "conda.txt", "--refresh"),
            *("--python-version", request.machine.python, "--only-binary", ":all:", "--no-config"),
            *("--python-platform", uv_platform(request.profile), "--no-progress", "--quiet"),
            *("--no-header", "--format", "pylock.toml", "--output-file", "pylock.toml"),
        ]
        if request.exclude_newer is not None:
            command += ["--exclude-newer", request.exclude_newer.isoformat()]
        environment = {**request.environment, "UV_CACHE_DIR": str(request.cache)}
        if request.index is not None:
            # Not among the arguments, which every user of the machine can read.
            environment["UV_DEFAULT_INDEX"] = request.index
        try:
            done = subprocess.run(
                command,
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise UsageError("uv cannot be run", where=uv, got=fault) from fault
        if done.returncode:
            said = redact_text(done.stderr.decode(errors="replace").strip())
            raise UnsolvableError(request.profile.subdir, f"wheels: {said[-4000:]}")
        return atomic.read(root / "pylock.toml", _MAX_OUTPUT).decode()


def uv_platform(profile: TargetProfile) -> str:
    """What uv calls a target: the newest platform it knows that the target still is.

    Raises:
        UsageError: uv resolves for no such platform.
    """
    subdir = profile.subdir
    fixed = {
        "win-64": "x86_64-pc-windows-msvc",
        "win-32": "i686-pc-windows-msvc",
        "win-arm64": "aarch64-pc-windows-msvc",
        "osx-64": "x86_64-apple-darwin",
        "osx-arm64": "aarch64-apple-darwin",
    }
    if subdir in fixed:
        return fixed[subdir]
    architecture = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}.get(subdir)
    if architecture is None:
        raise UsageError(
            f"wheels cannot be chosen for {subdir}", hint="lock them, or take conda packages"
        )
    offered = next((p.version for p in profile.virtual_packages if p.name == "__glibc"), "2.17")
    minor = int(offered.split(".")[1]) if offered.startswith("2.") else 17
    step = max((one for one in _GLIBC_STEPS if one <= minor), default=17)
    return f"{architecture}-manylinux_2_{step}"


def _find_uv(environment: Mapping[str, str]) -> str:
    beside = Path(sys.executable).with_name("uv.exe" if sys.platform == "win32" else "uv")
    uv = str(beside) if beside.exists() else shutil.which("uv", path=environment.get("PATH"))
    if uv is None:
        raise UsageError(
            "wheels that are not locked are chosen by uv, which is not here",
            hint="pip install 'repack[wheels]', or lock them",
        )
    return uv


def _distributions(records: Iterable[Record], names: NameMapping) -> dict[str, Record]:
    """The distributions that conda packages bring, as far as their names tell."""
    return {
        name: record
        for record in records
        if record.name != "python"
        for name in names.pypi_names(record.name)
    }


def _pin(row: Mapping[str, object], subdir: str) -> WheelPin:
    """A package of pylock.toml."""
    name, version = str(row.get("name", "")), str(row.get("version", ""))
    wheels = row.get("wheels")
    wheel = wheels[0] if isinstance(wheels, list) and wheels else row.get("archive")
    if not isinstance(wheel, dict):
        raise IntegrityError(
            f"{name} {version} has no wheel for {subdir}",
            hint=f"make one (pip wheel {name}=={version}) and name it in 'wheels:', or a recipe",
        )
    hashes = wheel.get("hashes")
    sha256 = str(hashes.get("sha256", "")) if isinstance(hashes, dict) else ""
    try:
        return wheel_pin(str(wheel.get("url") or wheel.get("path")), sha256, name, version)
    except ValueError as fault:
        raise IntegrityError(str(fault)) from fault


def path_of_url(url: str) -> Path | None:
    """The path of a ``file:`` URL, or None for others."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
