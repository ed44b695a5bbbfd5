"""A vendor's channel, its thieves, and a target that remembers what it took."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import JSONSerializer

from repack.agent.accept import InstallRequest, accept
from repack.agent.context import AgentContext
from repack.agent.medium import Medium
from repack.agent.state import State
from repack.agent.storage import RememberedClock
from repack.channel.folder import Channels
from repack.timestamps import stamp
from repack.trust.metadata import SIGNED_AT
from repack.trust.operations import TrustContext
from repack.trust.sign import Signing
from tests import channels

LABEL = "halkbank"
DAY = timedelta(days=1)


class Site:
    """A vendor's channel, and a target that takes releases from it."""

    def __init__(self, root):
        self.ring = channels.keyring(root / "keys ü")
        self.place = Channels(root / "channels")
        self.channel = self.place.published(LABEL)
        self.metadata = self.channel / "repack/metadata"
        self.number = 0
        self.genuine = {}
        self.release()
        pinned = root / "root.json"
        pinned.write_bytes((self.metadata / "1.root.json").read_bytes())
        self.config = root / "target.toml"
        self.config.write_text(
            f'[provision]\nlabel = "{LABEL}"\ntype = "ci"\nplatform = "linux-64"\n'
            f'[storage]\nroot = "{root / "opt"}"\n[trust]\nroot = "{pinned}"\n'
            f'[log]\npath = "{root / "log"}"\n'
        )

    def release(self, moment=None):
        self.number += 1
        signing = Signing(None, self.ring)
        channels.build(self.channel, signing, number=self.number, moment=moment)

    def office(self, **changes):
        return replace(TrustContext(self.place, LABEL, self.ring, channels.now()), **changes)

    def context(self, clock=channels.now, step=None):
        context = AgentContext.of([self.config], {}, lambda _label: None)
        settings = context.settings if step is None else replace(context.settings, clock_step=step)
        return replace(context, clock=clock, settings=settings)

    def take(self, clock=channels.now, step=None):
        """What ``repack target install`` does before it reads a package."""
        context = self.context(clock, step)
        medium, storage = Medium.find(self.channel, LABEL), context.storage
        accepted = accept(context, medium, State(), InstallRequest(None, storage.trust))
        storage.save_clock(RememberedClock(accepted.floor, accepted.clock_reset))
        return accepted.candidates[0].number

    @property
    def floor(self):
        return self.context().storage.clock().floor

    def steal(self, role, signed_at, version=None):
        """Sign the metadata of ``role`` again with its stolen key."""
        path = self.metadata / f"{role}.json"
        self.genuine.setdefault(path, path.read_bytes())
        metadata = Metadata.from_bytes(path.read_bytes())
        metadata.signed.version = version or metadata.signed.version + 1
        metadata.signed.expires = signed_at + 400 * DAY
        metadata.signed.unrecognized_fields[SIGNED_AT] = stamp(signed_at)
        (keyid,) = self.ring.keyset.keys_of(role).keys
        metadata.sign(self.ring.signer(keyid))
        path.write_bytes(metadata.to_bytes(JSONSerializer()))

    def restore(self):
        """The vendor's own metadata again, of which the thief had a copy."""
        for path, data in self.genuine.items():
            path.write_bytes(data)
