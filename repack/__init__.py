"""Offline conda channels, proved installable before they are published.

>>> import repack
>>> outcome = repack.build("halkbank", labels_dir="labels", prove="solved")  # doctest: +SKIP
>>> outcome.release, outcome.changed  # doctest: +SKIP
(1, True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from os import PathLike
    from typing import Unpack

    from repack.progress import Progress
    from repack.release.outcome import Outcome

__version__ = "0.1.0"
__all__ = ["Options", "__version__", "build"]


class Options(TypedDict, total=False):
    """What :func:`build` may be told; the names are those of ``repack label``.

    Attributes:
        labels_dir: folder of label files, ``labels`` if not given.
        channels_dir: folder of published channels, ``channels`` if not given.
        store: package store, in the user's cache folder if not given.
        env: ``conda info --json`` of a prepared environment, to take instead of solving.
        prove: ``linked`` (also install where the platform is this machine's) or ``solved``.
        update: solve afresh even if the lock still fits.
        dry_run: only say what would change.
        environment: variables for secrets, proxies and the health check; the process's if not
            given.
        now: the moment that goes into a new release; the present if not given.
        progress: hears what is being done.
    """

    labels_dir: str | PathLike[str]
    channels_dir: str | PathLike[str]
    store: str | PathLike[str]
    env: str | PathLike[str]
    prove: Literal["linked", "solved"]
    update: bool
    dry_run: bool
    environment: Mapping[str, str]
    now: dt.datetime
    progress: Progress


def build(label: str, **options: Unpack[Options]) -> Outcome:
    """Build the channel of a label, prove it, publish it.

    An unchanged label makes no new release and touches nothing.

    Args:
        label: the label's name; its file is ``LABELS_DIR/NAME.yaml`` or ``.json``.
        options: see :class:`Options`.

    Returns:
        What was done: release number, packages added and removed, proofs, warnings.

    Raises:
        repack.errors.RepackError: whatever went wrong, by who must act; carries the exit code of
            the command line. What was published before still is.
    """
    from repack.progress import SILENT
    from repack.release.line import build as make
    from repack.release.line import preview
    from repack.settings import Settings

    run = preview if options.get("dry_run") else make
    return run(label, Settings.of(options), options.get("progress", SILENT))
