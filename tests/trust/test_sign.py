"""What signing makes, and that a TUF client which knows nothing of repack accepts it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from repack.channel.manifest import Artifact, Release
from repack.channel.scripts import verifier
from repack.errors import IntegrityError
from repack.file_entry import FileEntry
from repack.keys.shared_key import SharedKey
from repack.names import Digest, Digest384, LabelName, RelPath
from repack.trust.sign import Contents, Signing, outlook, sign
from tests import channels

KEY = SharedKey("oem-updates", bytes(range(32)))


class PlainFiles(FetcherInterface):
    """The least that python-tuf needs to read a folder."""

    def _fetch(self, url):
        path = Path(url)
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        yield path.read_bytes()


def test_a_foreign_client_gets_the_manifest(tmp_path):
    channel = channels.build(tmp_path / "c", Signing(KEY, channels.keyring(tmp_path / "k")))
    folder, state = channel / "repack/metadata", tmp_path / "state"
    state.mkdir()
    client = Updater(
        str(state),
        str(folder),
        str(state),
        str(channel / "repack"),
        fetcher=PlainFiles(),
        bootstrap=(folder / "1.root.json").read_bytes(),
    )
    target = client.get_targetinfo("releases/1/manifest.json")
    assert target is not None
    assert target.custom == {
        "label": "halkbank",
        "release": 1,
        "platforms": ["noarch", "linux-64", "win-64"],
        "tags": [],
        "type": "ci",
    }
    got = Path(client.download_target(target)).read_bytes()
    assert got == (channel / "repack/manifest.json").read_bytes()
    assert client.get_targetinfo("releases/2/manifest.json") is None


def release_of(count):
    entries = [
        FileEntry(RelPath(f"linux-64/p{number}-1-0.conda"), number, Digest(f"{number:064x}"))
        for number in range(count)
    ]
    artifacts = [
        Artifact(one.path, number, one.sha256, Digest384(f"{number:096x}"))
        for number, one in enumerate(entries)
    ]
    return Contents(entries, artifacts)


def test_three_hundred_packages_are_signed_at_once(tmp_path, monkeypatch):
    signed = []
    sign_bytes = CryptoSigner.sign

    def counted(signer, payload):
        signed.append(len(payload))
        return sign_bytes(signer, payload)

    monkeypatch.setattr(CryptoSigner, "sign", counted)
    ring = channels.keyring(tmp_path / "k")
    release = Release(LabelName("bank"), 1, ("linux-64",), "2026-11-20T12:00:00Z")
    made = sign(release, release_of(300), Signing(KEY, ring), None, channels.now())
    assert 0 < len(signed) < 20  # roles, not packages
    assert len(json.loads(made[RelPath("repack/manifest.json")])["artifacts"]) == 300


def test_same_input_same_bytes():
    release = Release(LabelName("bank"), 1, ("linux-64",), "2026-11-20T12:00:00Z")
    backwards = Contents(
        *(list(reversed(part)) for part in (release_of(5).files, release_of(5).artifacts))
    )
    one = sign(release, release_of(5), Signing(KEY), None, channels.now())
    assert one == sign(release, backwards, Signing(KEY), None, channels.now())


def test_the_chain_of_hashes():
    release = Release(LabelName("bank"), 1, ("linux-64",), "x", {"proof": {"linux-64": "solved"}})
    made = sign(release, release_of(2), Signing(), None, channels.now())
    manifest = json.loads(made[RelPath("repack/manifest.json")])
    listed = made[RelPath(manifest["integrity_manifest"]["path"])]
    assert manifest["integrity_manifest"]["sha256"] == hashlib.sha256(listed).hexdigest()
    assert [row["path"] for row in json.loads(listed)["files"]] == [
        "linux-64/p0-1-0.conda",
        "linux-64/p1-1-0.conda",
    ]
    assert manifest["proof"] == {"linux-64": "solved"}
    assert "signature" not in manifest


def test_two_files_of_one_name_are_refused():
    release = Release(LabelName("bank"), 1, ("linux-64",), "x")
    files = [
        FileEntry(RelPath("A"), 0, Digest("0" * 64)),
        FileEntry(RelPath("a"), 0, Digest("0" * 64)),
    ]
    with pytest.raises(IntegrityError, match="twice"):
        sign(release, Contents(files, []), Signing(), None, channels.now())


def test_the_verifier_travels():
    assert verifier() == {"repack/verify.py": channels.VERIFY.read_bytes()}


def test_outlook_of_odd_files_is_no_error():
    for data in (b"", b"[]", b"{}", b'{"signed": []}', b'{"signed": {"_type": "ci"}}'):
        assert outlook({"ci.json": data}, channels.now()) == ()
    assert outlook(None, channels.now()) == ()


def test_secrets_of_a_key_in_the_forms_people_write():
    found = Signing(KEY).secrets
    assert KEY.secret.hex() in found
    assert Signing().secrets == frozenset()
