"""What goes into a channel: records with their archives and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from repack.archive.installed_paths import InstalledPackage, check_environment
from repack.archive.path_length import PathLengths
from repack.conda.record import merge_records
from repack.conda.subdir import NOARCH
from repack.errors import IntegrityError
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.archive.facts import Facts
    from repack.archive.installed_paths import CheckedEnvironment
    from repack.conda.record import Record
    from repack.names import Digest, RelPath


class ChannelPackage(Struct, frozen=True):
    """One package: its record as the channel will carry it, and the facts of its archive."""

    record: Record
    facts: Facts


class ChannelContents(Struct, frozen=True):
    """All packages of a channel.

    Attributes:
        items: by path in the channel.
        records_by_subdir: per subdir of the label what is installed there, ``noarch`` included.
    """

    items: Mapping[RelPath, ChannelPackage]
    records_by_subdir: Mapping[str, tuple[Record, ...]]

    @classmethod
    def of(
        cls, records_by_subdir: Mapping[str, tuple[Record, ...]], facts: Mapping[Digest, Facts]
    ) -> ChannelContents:
        """Put the subdirs' records together; ``facts`` are by SHA-256.

        Raises:
            IntegrityError: one name with two contents.
        """
        merged = merge_records(
            record for records in records_by_subdir.values() for record in records
        )
        items = {
            path: ChannelPackage(record, facts[record.sha256]) for path, record in merged.items()
        }
        return cls(items, records_by_subdir)

    def with_packages(
        self, records: Iterable[Record], facts: Mapping[Digest, Facts]
    ) -> ChannelContents:
        """Add the label's own packages; those of ``noarch`` to every subdir."""
        own = tuple(records)
        records_by_subdir = {
            subdir: tuple(
                sorted(
                    (*upstream, *(r for r in own if r.subdir in (NOARCH, subdir))),
                    key=lambda record: record.path,
                )
            )
            for subdir, upstream in self.records_by_subdir.items()
        }
        facts_by_digest = {item.record.sha256: item.facts for item in self.items.values()}
        return ChannelContents.of(records_by_subdir, {**facts_by_digest, **facts})

    @property
    def subdirs(self) -> tuple[str, ...]:
        """The folders of the channel, ``noarch`` first."""
        return (NOARCH, *sorted(self.records_by_subdir))

    def reach(self, subdir: str) -> PathLengths | None:
        """How long paths get on Windows; None for other platforms."""
        if not subdir.startswith("win-"):
            return None
        items = (self.items[record.path] for record in self.records_by_subdir[subdir])
        return PathLengths.of((item.record, item.facts) for item in items)

    def checked(self, subdir: str) -> CheckedEnvironment:
        """Everything that is installed on ``subdir``, which stays under the prefix.

        Raises:
            IntegrityError: a package, or several together, would write or point out of it.
        """
        items = [self.items[record.path] for record in self.records_by_subdir[subdir]]
        return check_environment(((item.record, item.facts) for item in items), subdir)

    def installed(self, subdir: str) -> tuple[InstalledPackage, ...]:
        """What is put into a prefix of ``subdir`` besides plain files."""
        items = (self.items[record.path] for record in self.records_by_subdir[subdir])
        return tuple(InstalledPackage.of(item.record, item.facts) for item in items)

    def records(self, subdir: str) -> tuple[Record, ...]:
        """The records of one folder."""
        return tuple(i.record for i in self.items.values() if i.record.subdir == subdir)


def check_same_content(before: Mapping[str, str], records: Iterable[Record]) -> None:
    """Make sure no name that was ever published comes back with other bytes.

    Args:
        before: path -> SHA-256 of what past releases published.

    Raises:
        IntegrityError: naming the first such package.
    """
    for record in records:
        sha256 = before.get(record.path, record.sha256)
        if sha256 != record.sha256:
            raise IntegrityError(
                f"{record.fn} was published with other content before",
                where=redact_url(record.url),
                expected=sha256,
                got=record.sha256,
                hint="upstream replaced a file under its name; ask for a new build number there",
            )
