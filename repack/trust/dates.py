"""The date that metadata is signed with.

One wrong date would reach every target: what is signed in the future is refused there, and what is
signed in the past expires too early. A date before the last signing, or more than a day from this
machine's clock (``SOURCE_DATE_EPOCH``, a clock that was never set, a ceremony's file that lay about),
is signed only with a consent that names both dates, so that it cannot be given once for all.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from repack import host
from repack.errors import SigningDateError
from repack.timestamps import stamp

if TYPE_CHECKING:
    from datetime import datetime

OPTION: Final = "--yes-i-checked-the-date"
_TOLERANCE: Final = timedelta(days=1)


def check_signing_date(
    date: datetime,
    last: datetime | None,
    consent: str | None,
    clock: datetime | None = None,
) -> None:
    """Check the date to sign with.

    Args:
        date: what is going to be signed.
        last: the date of the last signing, if there was one.
        consent: ``DATE/OTHER``, both as days: the one to sign with and the one it disagrees with.
        clock: this machine's clock, if not the present moment.

    Raises:
        SigningDateError: it disagrees with ``last`` or the clock, and ``consent`` does not say so.
    """
    clock = clock or host.now()
    conflicts = {}
    if last is not None and date < last:
        conflicts["the last signing"] = last
    if abs(date - clock) > _TOLERANCE:
        conflicts["this machine's clock"] = clock
    if not conflicts:
        return
    name, other = max(conflicts.items(), key=lambda conflict: abs(conflict[1] - date))
    expected = f"{date:%Y-%m-%d}/{other:%Y-%m-%d}"
    if consent != expected:
        raise SigningDateError(
            f"the date to sign with, {stamp(date)}, disagrees with {name}, {stamp(other)}",
            expected="a date not before the last signing, within a day of this machine's clock",
            got=None if consent is None else f"{OPTION} {consent}",
            hint=f"set the clock or SOURCE_DATE_EPOCH; if it is meant: {OPTION} {expected}",
        )
