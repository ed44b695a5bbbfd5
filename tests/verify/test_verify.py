"""Channels that are sound, and everything that is found in those that are not."""

from __future__ import annotations

import bz2
import json
import tracemalloc
from datetime import timedelta

import pytest
import zstandard

from repack.errors import IntegrityError, UsageError
from repack.keys.shared_key import SharedKey
from repack.trust.sign import Signing
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels

KEY = SharedKey("oem-updates", bytes(range(32)))
OTHER = SharedKey("oem-updates", bytes(32))
SIGNED = Requirements(need="signature")


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return channels.keyring(tmp_path_factory.mktemp("keys") / "halkbank")


@pytest.fixture
def signing(ring):
    return Signing(KEY, ring)


@pytest.fixture
def channel(tmp_path, signing):
    return channels.build(tmp_path / "with spaces ü" / "halkbank", signing)


def check(channel, demand=Requirements()):  # noqa: B008 - frozen
    return verify(channel, demand, channels.now())


def paths(verdict):
    return {finding.path for finding in verdict.findings}


def test_unsigned_channel_says_so_and_is_checked(tmp_path):
    channel = channels.build(tmp_path / "c")
    verdict = check(channel)
    assert (verdict.exit_code, verdict.signed_by, verdict.findings) == (0, "unsigned", [])
    assert check(channel, SIGNED).exit_code == 6
    assert check(channel, Requirements(key=KEY)).exit_code == 6
    channels.flip(channel / "noarch/b-1-0.tar.bz2")
    assert check(channel).exit_code == 6


def test_signed_channel(channel):
    root = (channel / "repack/metadata/1.root.json").read_bytes()
    verdict = check(channel, Requirements(KEY, root, "signature"))
    assert verdict.exit_code == 0, verdict.to_json()
    assert verdict.signature == "good"
    assert verdict.metadata == "pinned"
    assert verdict.development
    assert verdict.signed_by == "shared key oem-updates and development keys"
    assert verdict.files == 28


def test_without_key_or_pinned_root_the_verdict_says_what_was_not_checked(channel):
    verdict = check(channel, SIGNED)
    assert verdict.exit_code == 0
    assert verdict.signature == "unchecked"
    assert verdict.metadata == "unpinned"
    assert "not checked" in verdict.signed_by
    assert "not pinned" in verdict.signed_by


def test_signature_required_but_no_way_to_check_it(tmp_path):
    channel = channels.build(tmp_path / "c", Signing(KEY))
    assert check(channel).exit_code == 0
    assert "not checked" in check(channel, SIGNED).refusals[0].what
    assert check(channel, Requirements(KEY, need="signature")).exit_code == 0


def test_another_key(channel):
    verdict = check(channel, Requirements(OTHER))
    assert verdict.exit_code == 6
    assert verdict.signature == "bad"


def test_root_of_another_label(channel, tmp_path):
    ring = channels.keyring(tmp_path / "other")
    other = channels.build(tmp_path / "other channel", Signing(None, ring), label="other")
    root = (other / "repack/metadata/1.root.json").read_bytes()
    assert check(channel, Requirements(root=root)).refusals[0].kind == "root-chain"


def test_pinned_root_but_no_metadata(tmp_path, channel):
    root = (channel / "repack/metadata/1.root.json").read_bytes()
    plain = channels.build(tmp_path / "plain", Signing(KEY))
    assert check(plain, Requirements(root=root)).exit_code == 6


def outcome(channel):
    """Exit code, and all that is said."""
    try:
        verdict = check(channel, Requirements(KEY, need="signature"))
    except IntegrityError as error:
        return error.exit_code, error.text()
    return verdict.exit_code, json.dumps(verdict.to_json())


def all_files(channel):
    return sorted(path for path in channel.rglob("*") if path.is_file())


def test_every_flipped_byte_is_found(channel):
    for path in all_files(channel):
        before = path.read_bytes()
        for where in (0, len(before) // 3, len(before) - 2):
            channels.flip(path, where)
            code, text = outcome(channel)
            assert code in {6, 11, 12, 14}, (path, where)
            assert path.name in text or "/metadata/" in text, (path, text)
            path.write_bytes(before)
    assert check(channel).exit_code == 0


def test_every_missing_file_is_named(channel):
    for path in all_files(channel):
        before = path.read_bytes()
        path.unlink()
        name = path.relative_to(channel).as_posix()
        code, text = outcome(channel)
        assert code == 6
        assert name in text or "no manifest" in text
        path.write_bytes(before)


@pytest.mark.parametrize(
    "name",
    [
        "evil.sh",
        "linux-64/zombie-1-0.conda",
        "repack/metadata/evil.json",
        "repack/releases/7/manifest.json",
        "repack/metadata/2.root.json",
        "osx-64/repodata.json",
    ],
)
def test_every_extra_file_is_named(channel, name):
    (channel / name).parent.mkdir(parents=True, exist_ok=True)
    (channel / name).write_bytes(b"{}")
    verdict = check(channel)
    assert verdict.exit_code in {6, 11}
    assert name in paths(verdict) or "2.root.json" in str(verdict.refusals)


def test_links_are_no_part_of_a_channel(channel):
    (channel / "link").symlink_to("/etc/passwd")
    package = channel / "noarch/b-1-0.tar.bz2"
    package.rename(channel.parent / "elsewhere")
    package.symlink_to(channel.parent / "elsewhere")
    verdict = check(channel)
    assert {"link", "noarch/b-1-0.tar.bz2"} <= paths(verdict)


def test_litter_is_reported_and_does_no_harm(channel):
    for name in (
        "._x",
        "linux-64/.DS_Store",
        "Thumbs.db",
        "System Volume Information/IndexerVolumeGuid",
        "noarch/.cache/cache.db",
    ):
        (channel / name).parent.mkdir(exist_ok=True)
        (channel / name).write_bytes(b"x")
    verdict = check(channel)
    assert verdict.exit_code == 0
    assert len(verdict.litter) == 5


def test_variants_that_disagree(tmp_path):
    channel = channels.build(tmp_path / "c")
    data = (channel / "noarch/repodata.json.bz2").read_bytes()
    (channel / "linux-64/repodata.json.bz2").write_bytes(data)
    (channel / "linux-64/repodata.json.zst").write_bytes(b"no zstd")
    kinds = {(one.kind, one.path) for one in check(channel).findings}
    assert ("contradiction", "linux-64/repodata.json.bz2") in kinds
    assert ("malformed", "linux-64/repodata.json.zst") in kinds


def test_metadata_of_the_release_before(tmp_path, signing):
    channel = channels.build(tmp_path / "c", signing)
    old = {path.name: path.read_bytes() for path in (channel / "repack/metadata").iterdir()}
    channels.build(channel, signing, number=2)
    for name, data in old.items():
        (channel / "repack/metadata" / name).write_bytes(data)
    assert "does not sign for this release" in str(check(channel).findings)


def test_metadata_of_another_content_under_the_same_number(tmp_path, signing):
    channel = channels.build(tmp_path / "c", signing)
    other = channels.build(
        tmp_path / "d", signing, moment=channels.now() - timedelta(days=1), previous={}
    )
    for path in (other / "repack/metadata").iterdir():
        (channel / "repack/metadata" / path.name).write_bytes(path.read_bytes())
    assert "not the manifest that role ci signs" in str(check(channel).findings)


def test_expired_metadata(tmp_path, signing):
    channel = channels.build(tmp_path / "c", signing, moment=channels.now() - timedelta(days=401))
    verdict = check(channel)
    assert verdict.exit_code == 12
    assert verdict.metadata == "bad"


def test_warning_before_expiry(tmp_path, signing):
    channel = channels.build(tmp_path / "c", signing, moment=channels.now() - timedelta(days=380))
    verdict = check(channel)
    assert verdict.exit_code == 0
    assert "timestamp expires" in " ".join(verdict.warnings)


def test_clock_before_the_signing_is_mentioned(channel):
    verdict = verify(channel, Requirements(), channels.now() - timedelta(days=30))
    assert "before the signing" in " ".join(verdict.warnings)


def test_no_folder_and_no_channel(tmp_path):
    with pytest.raises(UsageError):
        check(tmp_path / "nowhere")
    with pytest.raises(IntegrityError, match="no manifest"):
        check(tmp_path)


def rewritten(channel, change):
    """The channel with its unsigned manifest changed."""
    path = channel / "repack/manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return check(channel)


def test_manifest_and_list_that_contradict_each_other(tmp_path):
    channel = channels.build(tmp_path / "c")
    verdict = rewritten(channel, lambda d: d["artifacts"][0].update(size=1))
    assert [one.kind for one in verdict.findings] == ["contradiction"]


def test_manifest_without_a_list(tmp_path):
    channel = channels.build(tmp_path / "c")
    verdict = rewritten(channel, lambda d: d.pop("integrity_manifest"))
    assert "names no integrity list" in str(verdict.findings)


def test_short_keys_are_warned_about(tmp_path):
    key = SharedKey(None, b"short")
    channel = channels.build(tmp_path / "c", Signing(key))
    verdict = check(channel, Requirements(key))
    assert verdict.exit_code == 0
    assert "5 bytes" in verdict.warnings[0]
    assert verdict.signed_by == "shared key without a name"


@pytest.mark.parametrize("suffix", [".bz2", ".zst"])
def test_compression_bombs_are_not_unpacked(tmp_path, suffix):
    channel = channels.build(tmp_path / "c")
    bomb = bytes(200 << 20)
    packed = bz2.compress(bomb) if suffix == ".bz2" else zstandard.compress(bomb)
    (channel / f"noarch/repodata.json{suffix}").write_bytes(packed)
    del bomb
    tracemalloc.start()
    findings = check(channel).findings
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20
    assert ("contradiction", f"noarch/repodata.json{suffix}") in {
        (o.kind, o.path) for o in findings
    }


def test_repodata_followed_by_more(tmp_path):
    channel = channels.build(tmp_path / "c")
    path = channel / "noarch/repodata.json.bz2"
    path.write_bytes(path.read_bytes() + b"more")
    assert ("malformed", "noarch/repodata.json.bz2") in {
        (one.kind, one.path) for one in check(channel).findings
    }
