"""Links packages into a prefix, by rattler."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from repack.conda.rattler import run_async, to_rattler_records
from repack.errors import IntegrityError
from repack.fs import atomic, beneath
from repack.prefix.compare import check_prefix
from repack.urls import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.archive.installed_paths import CheckedEnvironment


class _LinkReporter:
    """Counts linked packages for a progress bar; rattler calls it from its own threads."""

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done

    def on_link_complete(self, index: int) -> None:
        """One more package is linked."""
        del index
        self._done(1)


def load() -> bool:
    """Load rattler, and say whether it runs on this machine."""
    try:
        import rattler  # noqa: F401 - the next import of it finds it
    except ImportError:  # there is no wheel for this system, or one for another
        return False
    return True


def link(
    packages: CheckedEnvironment,
    prefix: Path,
    cache: Path,
    done: Callable[[int], None],
    *,
    written: str | None = None,
) -> None:
    """Install ``packages``, whose URLs name local files, into a new prefix.

    Link scripts are not run. ``cache`` is rattler's package cache, shared by all labels, so that
    a package is extracted once. ``written`` is the prefix that stands in the files, if not ``prefix``.

    Raises:
        IntegrityError: an archive cannot be extracted or linked, or the prefix is not what the
            packages say.
    """
    import rattler
    from rattler import exceptions as rx

    with tempfile.TemporaryDirectory(prefix="repack-link-") as name:
        rattler_records = to_rattler_records(packages.records, Path(name))
        try:
            run_async(
                rattler.install(
                    rattler_records,
                    prefix,
                    cache_dir=cache,
                    installed_packages=[],
                    show_progress=False,
                    execute_link_scripts=False,
                    alternative_target_prefix=written,
                    reporter=_LinkReporter(done),  # type: ignore[arg-type]
                )
            )
        except (
            rx.InstallerError,
            rx.LinkError,
            rx.ExtractError,
            rx.TransactionError,
            rx.IoError,
        ) as error:
            text = redact_text(str(error))
            if "no space left" in text.lower():
                raise atomic.from_os_error(
                    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), prefix
                ) from None
            raise IntegrityError("the packages cannot be linked", got=text) from None
    # rattler writes these by temporary files, which nobody but their owner may read.
    with atomic.os_errors_at(prefix):
        for entry in beneath.scan(prefix / "conda-meta"):
            if entry.name.endswith(".json"):
                beneath.set_mode(prefix / "conda-meta" / entry.name, 0o644)
    check_prefix(prefix, packages)
