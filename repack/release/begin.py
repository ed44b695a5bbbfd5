"""Begin a label: write its file from what the command line, a lock or an environment says.

The label is solved once before the file is written, so that what is misspelt shows here and the
target profile is the one that the packages need.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from repack.conda.match_spec import spec_fault
from repack.conda.subdir import PLATFORMS, host_subdir
from repack.errors import UnsolvableError, UsageError
from repack.label import files
from repack.label.without_file import UnwrittenLabel
from repack.label.write import LabelText, write_label
from repack.names import LabelName
from repack.release.session import BuildSession
from repack.solve.resolve import SolveContext, read_label_request, solve_all
from repack.solve.wheels import WheelSettings
from repack.store.store import Store
from repack.structs import Value
from repack.urls import secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.label.label import Label
    from repack.progress import Progress
    from repack.settings import Settings


class NewLabel(Value, frozen=True):
    """A label file that was begun.

    Attributes:
        path: where it belongs.
        text: what it says.
        platforms: the profiles that it proposes, as far as they differ from the defaults.
        packages: how many packages each platform gets; empty where nothing was solved.
    """

    path: Path
    text: str
    platforms: Mapping[str, Mapping[str, str | None]]
    packages: Mapping[str, int]


def begin_label(name: str, settings: Settings, source: Path | None, progress: Progress) -> NewLabel:
    """Compose the file of label ``name``; nothing is written but upstream's repodata.

    Args:
        settings: with ``channels``, ``packages``, ``platforms`` and ``env_file``.
        source: a lock or environment file that says which packages.

    Raises:
        UsageError: it has a file already, something is missing, or a channel's URL holds a secret.
        LabelError: what was said makes no label.
        UnsolvableError: for another reason than the profile.
        FetchError: a channel cannot be read.
    """
    label_name = LabelName(name)
    text = _with_source(_of_settings(label_name, settings), source, settings)
    if settings.env_file is not None:
        text = _of_environment(label_name, settings)
    for channel in text.channels:
        if "${" not in channel and secrets_in_url(channel):
            variable = _variable(label_name)
            hint = f"export {variable}=… and write '${{{variable}}}' in its place, in single quotes"
            raise UsageError("a channel's URL holds a secret, and the file would", hint=hint)
    if not text.channels:
        raise UsageError("no channel was named", hint=f"repack init {name} -c CHANNEL PACKAGE…")
    if not text.packages and text.source is None:
        raise UsageError("no package was named", hint=f"repack init {name} -c CHANNEL PACKAGE…")
    packages: dict[str, int] = {}
    if settings.env_file is None:
        text, packages = _solved(text, settings, progress)
    path = settings.labels_dir / f"{label_name}.yaml"
    return NewLabel(path, write_label(text), text.platforms, packages)


def _variable(name: LabelName) -> str:
    return f"{name.upper().translate(_NO_VARIABLE)}_TOKEN"


_NO_VARIABLE: Final = str.maketrans(".-", "__")


def _of_settings(name: LabelName, settings: Settings) -> LabelText:
    channels = tuple(
        os.path.abspath(text) if text.startswith(".") else text  # noqa: PTH100 - a text stays one
        for text in settings.channels
    )
    return LabelText(name, channels, settings.packages, settings.platforms)


def _with_source(text: LabelText, source: Path | None, settings: Settings) -> LabelText:
    """``text`` with the packages of ``source``, and what it says of channels and platforms."""
    platforms = text.platforms
    if source is not None:
        if text.packages:
            hint = "leave out --from, or the packages"
            raise UsageError("both packages and --from are given", hint=hint)
        named, locked = files.survey_source(source, tuple(text.platforms) or PLATFORMS)
        channels = text.channels or named
        platforms = platforms or {s: {} for s in PLATFORMS if s in locked}
        folder = settings.labels_dir.absolute()
        path = os.path.relpath(source.absolute(), folder).replace(os.sep, "/")
        text = replace(text, channels=channels, source=path)
    return replace(text, platforms=platforms or {host_subdir() or PLATFORMS[0]: {}})


def _of_environment(name: LabelName, settings: Settings) -> LabelText:
    """A label for what somebody installed in a prepared environment."""
    from repack.solve.from_environment import label_of_environment, requested_specs

    label = label_of_environment(str(name), settings)
    packages = settings.packages or requested_specs(settings)
    platforms = {subdir: profile.overrides for subdir, profile in label.platforms.items()}
    channels = tuple(_without_secret(url, _variable(name)) for url in label.channels)
    return LabelText(name, channels, packages, platforms)


def _without_secret(url: str, variable: str) -> str:
    for secret in sorted(secrets_in_url(url), key=len, reverse=True):
        url = url.replace(secret, f"${{{variable}}}")
    return url


def _solved(
    text: LabelText, settings: Settings, progress: Progress
) -> tuple[LabelText, dict[str, int]]:
    """``text`` with the profile that the packages need, and how many there are."""
    store = Store(settings.store_dir)
    wheels = WheelSettings(settings.environment, settings.home, store.root / "uv")
    session = BuildSession.open(settings)
    context = SolveContext(store, session.repodata, progress, wheels)
    label = _label(text, settings)
    try:
        records, _ = solve_all(label, read_label_request(label), context)
    except UnsolvableError as error:
        if not error.needs or any(subdir not in error.needs for subdir in error.explanations):
            raise
        platforms = {
            subdir: {**values, **error.needs.get(subdir, {})}
            for subdir, values in text.platforms.items()
        }
        notes = tuple(problem.what for problem in error.problems)
        text = replace(text, platforms=platforms, notes=notes)
        label = _label(text, settings)
        records, _ = solve_all(label, read_label_request(label), context)
    return text, {subdir: len(group) for subdir, group in records.items()}


def _label(text: LabelText, settings: Settings) -> Label:
    source = None
    if text.source is not None:
        source = os.path.normpath(settings.labels_dir.absolute() / text.source)
    request = UnwrittenLabel(
        "the command line", text.name, text.channels, text.platforms, text.packages, source=source
    )
    return files.compose(request, settings.environment, spec_fault)
