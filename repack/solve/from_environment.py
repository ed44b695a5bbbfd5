"""Packages of a prepared environment, in place of a solved label; and the label, where no file is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.conda.dependencies import dependency_name
from repack.conda.match_spec import spec_fault
from repack.conda.virtual_packages import (
    TargetProfile,
    environment_overrides,
    measured_overrides,
)
from repack.errors import LabelError, Problem, UsageError
from repack.inputs.prepared_environment import PackageAccess, harvest, read_env_info
from repack.label import files
from repack.label.variables import fill
from repack.label.without_file import UnwrittenLabel
from repack.solve import lockfile
from repack.solve.environment_wheels import wheels_of_environment
from repack.solve.solution import Solution, SolveRequest
from repack.upstream.channel_tokens import ChannelTokens, configured_urls, is_hidden
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.inputs.conda_info import EnvInfo
    from repack.label.label import Label
    from repack.settings import Settings
    from repack.solve.resolve import Baseline, SolveContext

_CHANNELS: Final = "REPACK_CHANNELS"
_SUBDIR: Final = re.compile(r"/(noarch|(linux|osx|win)-[a-z0-9]+)/?\Z")


def label_of_environment(name: str, settings: Settings) -> Label:
    """The label that a prepared environment stands for where no file defines one.

    Channels, platform, target profile and package format are those of ``conda info --json``;
    ``CONDA_OVERRIDE_*`` of the environment variables weigh more than what conda measured.

    Raises:
        UsageError: the file is no ``conda info --json`` of an active environment, or names no
            channels.
        LabelError: what it holds makes no label.
    """
    env_file = _env_file(settings)
    info = read_env_info(env_file)
    listed = settings.environment.get(_CHANNELS, "").split()
    tokens = _tokens(info, (), settings)
    named = settings.channels or tuple(dict.fromkeys(map(tokens.restore, _channels(info))))
    channels = named or tuple(listed)
    if not channels:
        raise UsageError(
            "the file names no channels", where=env_file, hint=f"set {_CHANNELS}, or write a label"
        )
    overrides: dict[str, str | None] = {
        **measured_overrides(info.subdir, info.virtual_packages),
        **environment_overrides(info.subdir, settings.environment),
    }
    profile = TargetProfile.of(info.subdir, conda=info.conda_version)
    request = UnwrittenLabel(
        where=str(env_file),
        name=name,
        channels=channels,
        platforms={info.subdir: {**overrides, "conda": info.conda_version}},
        package_format="keep" if profile.reads_conda_archives else "tar.bz2",
    )
    return files.compose(request, settings.environment, spec_fault, "env")


def requested_specs(settings: Settings) -> tuple[str, ...]:
    """The packages of a prepared environment that no other needs, by name and version.

    Raises: as :func:`solution_of_environment` does.
    """
    access = PackageAccess(is_stored=lambda _sha256, _size: True)
    records = harvest(_env_file(settings), access=access).records
    needed = {dependency_name(spec) for record in records for spec in record.depends}
    roots = (record for record in records if record.name not in {*needed, "pip"})
    return tuple(f"{record.name} =={record.version}" for record in roots)


def solution_of_environment(
    label: Label, settings: Settings, baseline: Baseline, context: SolveContext
) -> Solution:
    """Exactly the packages of the environment that ``settings.env_file`` describes.

    Archives found in its package caches go into the store; the rest is left to be fetched. What pip
    installed comes as wheels, by the label's policy.

    Raises:
        LabelError: the label is for other platforms than the environment, or a distribution is none
            that a wheel can stand for.
        UsageError: the file is no ``conda info --json``.
        FetchError: packages can neither be found nor fetched.
    """
    env_file = _env_file(settings)
    store, upstream = context.store, context.repodata.upstream
    info = read_env_info(env_file)
    profile = _profile(info.subdir, env_file, label)
    tokens = _tokens(info, label.channels, settings)
    hidden = {redact_url(url) for url in info.channels if is_hidden(url)}

    def find_url(url: str) -> str | None:
        place = _SUBDIR.sub("", url.rpartition("/")[0])
        full = tokens.restore(url)
        needs_token = full == redact_url(url) and any(
            _SUBDIR.sub("", channel) == place for channel in hidden
        )
        return None if needs_token and upstream.network.credential(url) is None else full

    taken = harvest(env_file, context.progress, PackageAccess(find_url, store.contains))
    for sha256, archive in taken.archives.items():
        if not store.contains(sha256, archive.stat().st_size):
            store.add(archive, sha256)
    specs = tuple(f"{r.name} =={r.version} {r.build}" for r in taken.records)
    add_pip = label.add_pip and any(record.name == "pip" for record in taken.records)
    request = SolveRequest(profile, specs, add_pip=add_pip)
    records = {taken.subdir: taken.records}
    wheels = wheels_of_environment(label, taken, request, baseline, context.wheel_settings)
    if wheels.pins:
        listed = ", ".join(f"{pin.name} {pin.version}" for pin in wheels.pins)
        context.progress.note(f"as wheels, since conda did not install them: {listed}")
    lock = lockfile.write_lock(
        label.channels, {profile: taken.records}, {taken.subdir: wheels.pins}
    )
    warnings = (*label.notes, *_differences(label, info), *taken.warnings, *wheels.warnings)
    return Solution(
        {taken.subdir: request},
        records,
        lock,
        "harvested",
        warnings,
        taken.secrets,
        wheels={taken.subdir: wheels.pins},
    )


def _env_file(settings: Settings) -> Path:
    if settings.env_file is None:
        raise UsageError("no environment is given", hint="say --env envinfo.json")
    return settings.env_file


def _channels(info: EnvInfo) -> tuple[str, ...]:
    """The channels that conda lists once per platform, without their secrets."""
    return tuple(dict.fromkeys(_SUBDIR.sub("", redact_url(url)) for url in info.channels))


def _tokens(info: EnvInfo, channels: tuple[str, ...], settings: Settings) -> ChannelTokens:
    """The secrets of channels: the label's, REPACK_CHANNELS', then conda's configuration."""
    listed = []
    for text in settings.environment.get(_CHANNELS, "").split():
        filled = fill(text, files.Variables(settings.environment, Path.cwd()))
        if filled.faults:
            raise LabelError([Problem(_CHANNELS, what, hint) for what, hint in filled.faults])
        listed.append(filled.text)
    rc_paths = [Path(info.prefix) / ".condarc", *map(Path, info.config_files)]
    configured = configured_urls(rc_paths, settings.environment, settings.home)
    return ChannelTokens.of_urls((*channels, *listed, *configured))


def _differences(label: Label, info: EnvInfo) -> Iterator[str]:
    """What the label says otherwise than the environment; the label decides."""
    theirs, ours = _channels(info), tuple(map(redact_url, label.channels))
    if theirs and set(theirs) != set(ours):
        yield (
            f"the environment's channels are {', '.join(theirs)}, the label's {', '.join(ours)};"
            " the label decides"
        )
    measured = {p.name: p for p in info.virtual_packages}
    for package in label.platforms[info.subdir].virtual_packages:
        found = measured.get(package.name)
        if found is not None and found != package:
            yield (
                f"the environment's machine has {found}, the label says {package};"
                " the label decides"
            )
    reads_conda = TargetProfile.of(info.subdir, conda=info.conda_version).reads_conda_archives
    if not reads_conda and label.package_format == "keep":
        yield (
            f"the environment's conda {info.conda} reads no .conda packages, and the label keeps"
            " them; say package_format: tar.bz2 if targets have that conda"
        )


def _profile(subdir: str, env_file: Path, label: Label) -> TargetProfile:
    platforms = label.platforms
    if tuple(platforms) != (subdir,):
        what = f"the environment is for {subdir}, the label for {', '.join(platforms)}"
        hint = f"let `platforms` of the label be {subdir} alone"
        raise LabelError([Problem(str(env_file), what, hint)], where=label.name)
    return platforms[subdir]
