"""Offline conda channels, proved installable before they are published.

>>> import repack
>>> outcome = repack.build("halkbank", labels_dir="labels", prove="solved")  # doctest: +SKIP
>>> outcome.release, outcome.changed  # doctest: +SKIP
(1, True)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from repack.version import __version__

if TYPE_CHECKING:
    from typing import Unpack

    from repack.errors import (
        BusyError,
        DefaultsError,
        FetchError,
        FolderError,
        IntegrityError,
        KeyRefusedError,
        LabelError,
        PlaceError,
        ProblemsError,
        ProofError,
        RepackError,
        SignatureError,
        SigningDateError,
        SpaceError,
        UnsolvableError,
        UsageError,
    )
    from repack.progress import Progress
    from repack.release.outcome import Outcome, PlatformResult
    from repack.settings import Options

__all__ = [
    "BusyError",
    "DefaultsError",
    "FetchError",
    "FolderError",
    "IntegrityError",
    "KeyRefusedError",
    "LabelError",
    "Options",
    "Outcome",
    "PlaceError",
    "PlatformResult",
    "ProblemsError",
    "Progress",
    "ProofError",
    "RepackError",
    "SignatureError",
    "SigningDateError",
    "SpaceError",
    "UnsolvableError",
    "UsageError",
    "__version__",
    "build",
]

_MODULES = {
    "Options": "repack.settings",
    "Outcome": "repack.release.outcome",
    "PlatformResult": "repack.release.outcome",
    "Progress": "repack.progress",
}


def __getattr__(name: str) -> object:
    """A public name when it is asked for: ``repack --help`` must not pay for what it imports."""
    if name in __all__:
        return getattr(import_module(_MODULES.get(name, "repack.errors")), name)
    raise AttributeError(f"module 'repack' has no attribute {name!r}")


def build(label: str, **options: Unpack[Options]) -> Outcome:
    """Build the channel of a label, prove it, publish it.

    An unchanged label makes no new release and touches nothing.

    Args:
        label: the label's name; its file is ``LABELS_DIR/NAME.yaml`` or ``.json``.
        options: see :class:`Options`.

    Returns:
        What was done: release number, packages added and removed, proofs, warnings.

    Raises:
        RepackError: whatever went wrong, by who must act; carries the exit code of
            the command line. What was published before still is.
    """
    from repack.progress import SILENT
    from repack.release.line import build as run_line
    from repack.release.preview import preview
    from repack.settings import Settings

    run = preview if options.get("dry_run") else run_line
    return run(label, Settings.of(options), options.get("progress", SILENT))
