"""What the builds of several labels in one process share: upstream, its repodata, answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from msgspec import Struct

from repack.solve.upstream_repodata import UpstreamRepodata
from repack.store.store import Store
from repack.upstream.client import Upstream

if TYPE_CHECKING:
    from repack.settings import Settings


class BuildSession(Struct, frozen=True):
    """Opened once, used by many builds, one after the other.

    Upstream is asked once per channel, connections stay open, and a question that was solved is not
    solved again. What was asked stays as it was to the end of the session.

    Attributes:
        writes_overview: whether each build that publishes renews the page of all labels; with many
            labels whoever opened the session does it once.
    """

    upstream: Upstream
    repodata: UpstreamRepodata
    writes_overview: bool = True

    @classmethod
    def open(cls, settings: Settings, *, writes_overview: bool = True) -> Self:
        """Read the machine's settings; nothing is asked for yet.

        Raises:
            UsageError: a configuration file cannot be understood.
        """
        upstream = Upstream.from_environment(settings.environment, settings.home)
        repodata = UpstreamRepodata(Store(settings.store_dir).repodata_cache, upstream)
        return cls(upstream, repodata, writes_overview)
