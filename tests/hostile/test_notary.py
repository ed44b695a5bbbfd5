"""Notarisations write their own folder only, and an envelope of odd types is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from repack.cli.main import run
from repack.errors import IntegrityError, RepackError
from repack.keys.keyring import Keyring
from repack.provenance.notarize import Notary, notarize
from repack.provenance.statement import verify_envelope
from tests.licensing import NOW
from tests.small_channel import channel_at

SIGNER = CryptoSigner.generate_ed25519()
ODD = (1.5, True, None, 7, "x", "\x1b[2J", [], {}, [[]], ["x"], {"": None})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def outside(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files(folder).items() if not name.startswith("out/")}


def renamed(channel: Path, name: str) -> None:
    path = channel / "repack/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "id": name}))


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/b", "..", "C:evil", "con", "A\n"])
def test_a_label_is_no_way_out_of_the_folder(tmp_path, name):
    channel = channel_at(tmp_path / "channels" / "halkbank")
    renamed(channel, name)
    before = files(tmp_path)
    notary = Notary(tmp_path / "out", "urn:test", {}, [SIGNER], [SIGNER.public_key], "keys")
    with pytest.raises(IntegrityError, match="the manifest is no label's"):
        notarize(channel, notary, NOW)
    assert outside(tmp_path) == before


def test_nothing_but_out_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    channel_at(tmp_path / "channels" / "halkbank")
    before = files(tmp_path)
    assert run(["notarize", "channels/halkbank", "--out", "out"]) == 6
    assert "there is no key set" in capsys.readouterr().err
    assert files(tmp_path) == before
    Keyring.open_or_create(Path("keys/halkbank"), {})
    before = files(tmp_path)
    assert run(["notarize", "channels/halkbank", "--out", "out"]) == 0
    assert outside(tmp_path) == before
    assert {"out/halkbank-1.json", "out/halkbank-1.intoto.json", "out/log.jsonl"} < set(
        files(tmp_path)
    )


def places(document, at=()):
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


def test_an_envelope_of_odd_types_is_refused(tmp_path):
    channel = channel_at(tmp_path / "channels" / "halkbank")
    notary = Notary(tmp_path / "out", "urn:test", {}, [SIGNER], [SIGNER.public_key], "keys")
    data = notarize(channel, notary, NOW).envelope.read_bytes()
    verify_envelope(data, [SIGNER.public_key], "envelope")
    count = 0
    for place in places(json.loads(data)):
        for odd in ODD:
            document = json.loads(data)
            spot = document
            for key in place[:-1]:
                spot = spot[key]
            spot[place[-1]] = odd
            with pytest.raises(RepackError) as refused:
                verify_envelope(json.dumps(document).encode(), [SIGNER.public_key], "envelope")
            assert refused.value.exit_code == 6, (place, odd)
            count += 1
    assert count >= 66
