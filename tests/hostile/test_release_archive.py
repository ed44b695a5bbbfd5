"""Release archives made to hurt: refused with a reason, and nothing written."""

from __future__ import annotations

import gzip
import json
import tarfile
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repack.bundle.archive import Trust
from repack.bundle.archive_reader import peek, read_archive
from repack.errors import IntegrityError, RepackError, SignatureError, UsageError
from repack.keys.shared_key import SharedKey
from tests.releases import (
    FILES,
    KEY,
    archive,
    manifest,
    members,
    plain,
    signature,
    tarball,
)

SIGNED = Trust(KEY)


def refused(path, trust=None, match=None):
    with pytest.raises(IntegrityError, match=match) as caught:
        read_archive(path, trust or Trust())
    assert str(path) in caught.value.text()
    return caught.value


def with_row(**change):
    document = manifest()
    document["artifacts"][0] |= change
    return document


def test_sound_ones_pass(tmp_path):
    read = read_archive(archive(tmp_path / "a", members()), Trust())
    assert (read.manifest.version, read.checked) == ("1.0.0", "unsigned")
    rows = members(signed=signature(manifest()))
    assert read_archive(archive(tmp_path / "b", rows), SIGNED).checked == "verified"
    assert read_archive(archive(tmp_path / "b", rows), Trust()).checked == "not checked"


def test_folders_of_listed_files_are_fine(tmp_path):
    rows = members()
    rows[1:1] = [plain(name, b"", type=tarfile.DIRTYPE) for name in ("models", "models/sub")]
    assert read_archive(archive(tmp_path / "a", rows), Trust()).manifest.artifacts


def test_fields_of_later_versions_are_kept_and_signed(tmp_path):
    document = manifest(note="hello")
    rows = members(document, signed=signature(document))
    assert read_archive(archive(tmp_path / "a", rows), SIGNED).manifest.raw["note"] == "hello"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "models/../../x",
        "/etc/x",
        "models//x",
        "./models/x",
        "C:/x",
        "models\\x",
        "models/.",
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_paths_that_lead_out(tmp_path, name, listed):
    files = {**FILES, name: b"evil"}
    document = manifest(files) if listed else manifest()
    refused(archive(tmp_path / "a", members(document, files)))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
def test_links_devices_and_stranger_things(tmp_path, kind):
    rows = members()
    rows[1] = plain("models/a.bin", b"", type=kind, linkname="/etc/passwd")
    refused(archive(tmp_path / "a", rows))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda rows: rows + rows[1:2], "twice"),
        (lambda rows: rows + rows[:1], "does not list"),
        (lambda rows: rows[:-1], "missing"),
        (lambda rows: [*rows, plain("models/extra", b"x")], "does not list"),
        (lambda rows: [*rows, plain("extra", b"x")], "does not list"),
        (lambda rows: [*rows, plain("manifest.sig", b"{}")], "does not list"),
        (lambda rows: [*rows, plain("etc", b"", type=tarfile.DIRTYPE)], "does not belong"),
        (lambda rows: rows[1:], "first file"),
        (lambda rows: [], "first file"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "first file"),
        (lambda rows: [*rows[:1], plain("models/a.bin", b"other" * 1000), *rows[2:]], "sha384"),
        (lambda rows: [*rows[:1], plain("models/a.bin", b"short"), *rows[2:]], "size"),
    ],
)
def test_files_that_are_not_what_the_manifest_says(tmp_path, change, match):
    refused(archive(tmp_path / "a", change(members())), match=match)


@pytest.mark.parametrize(
    "document",
    [
        with_row(path="models/con"),
        with_row(path="models/a."),
        with_row(path="models/" + "n" * 201),
        with_row(path="models/SUB/B.bin"),
        with_row(path="models/sub/b.bin"),
        with_row(path="other/a"),
        with_row(path="models"),
        with_row(path=7),
        with_row(size=-1),
        with_row(size=True),
        with_row(size="5"),
        with_row(size=1.5),
        with_row(sha384="0" * 64),
        with_row(sha384=None, sha256="0" * 64),
        with_row(sha384="é" * 96),
        manifest(version=""),
        manifest(version="../1"),
        manifest(version=1),
        manifest(generated_at=None),
        manifest(generated_at="yesterday"),
        manifest(artifacts=[]),
        manifest(artifacts={}),
        manifest(artifacts=["models/a"]),
        [],
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"version": "1"}',
        b'{"version": NaN}',
        b'{"version": 1e999}',
        b'{"version": "1", "version": "2"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        json.dumps(manifest(note="\ud800")).encode(),
    ],
    ids=range(35),
)
def test_manifests_that_cannot_be(tmp_path, document):
    text = b"null" if document is None else document
    refused(archive(tmp_path / "a", members(text)))


def test_a_manifest_of_100_mb_is_not_read(tmp_path):
    path = archive(tmp_path / "a", members(b" " * 100_000_000))
    tracemalloc.start()
    refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("listed", [5, 1 << 40])
def test_compression_bomb(tmp_path, listed):
    """A header claims a gigabyte, where five bytes are listed, or more than there can be."""
    document = manifest({"models/a.bin": b"12345"})
    document["artifacts"][0]["size"] = listed
    info = tarfile.TarInfo("models/a.bin")
    info.size = 1 << 30
    machine = zlib.compressobj(1, wbits=31)
    with (tmp_path / "a").open("wb") as out:
        out.write(machine.compress(b"".join(_blocks(members(document, {}))) + info.tobuf()))
        for _ in range(64):
            out.write(machine.compress(bytes(1 << 20)))
        out.write(machine.flush())
    refused(tmp_path / "a", match="size")


def _blocks(rows):
    for info, data in rows:
        yield info.tobuf()
        yield data + bytes(-len(data) % 512)


def test_bomb_behind_the_end(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(tarball(members()) + bytes(200 << 20), 1))
    refused(tmp_path / "a", match="unpacks to more")


def test_bomb_of_headers(tmp_path):
    rows = members() + [plain("models", b"", type=tarfile.DIRTYPE)] * 50_000
    refused(archive(tmp_path / "a", rows), match="unpacks to more")


def test_bomb_of_a_pax_header(tmp_path):
    info, data = plain("models/a.bin", b"x", pax_headers={"comment": "x" * (64 << 20)})
    refused(archive(tmp_path / "a", [*members()[:1], (info, data)]))


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 30, 0.5, -1, -5, -9], ids=lambda cut: f"cut at {cut}")
def test_truncated(tmp_path, cut):
    whole = archive(tmp_path / "a", members()).read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(len(whole) * cut) if cut == 0.5 else cut])
    refused(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"no gzip at all",
        gzip.decompress,
        lambda data: data + b"x",
        lambda data: data + bytes(512),
        lambda data: data + data,
        lambda data: gzip.compress(gzip.decompress(data)[:-1024] + b"x" * 1024),
        lambda data: gzip.compress(gzip.decompress(data) + b"x" * 512),
    ],
    ids=["text", "tar", "byte behind", "zeros behind", "twice", "no end", "behind the end"],
)
def test_what_is_no_archive(tmp_path, change):
    path = archive(tmp_path / "a", members())
    path.write_bytes(change(path.read_bytes()))
    refused(path)


@pytest.mark.parametrize(
    ("signed", "match"),
    [
        (None, "not signed"),
        (signature(manifest(), SharedKey("oem", b"other" * 8)), "does not fit"),
        (signature(manifest(version="1.0.1")), "does not fit"),
        (signature(manifest(), algorithm="hmac-sha256"), "unknown signature algorithm"),
        (signature(manifest(), algorithm="none"), "unknown signature algorithm"),
        (signature(manifest(), algorithm=None), "unknown signature algorithm"),
        (signature(manifest(), value=""), "does not fit"),
        (signature(manifest(), value="AAAA"), "does not fit"),
        (signature(manifest(), value="%%"), "not base64"),
        (signature(manifest(), value=None), "not base64|does not fit"),
        (b'{"signature": null}', "malformed"),
        (b'{"signature": []}', "malformed"),
        (b"[]", "malformed"),
        (b"{}", "malformed"),
    ],
)
def test_signatures_that_prove_nothing(tmp_path, signed, match):
    path = archive(tmp_path / "a", members(signed=signed))
    with pytest.raises(SignatureError, match=match):
        read_archive(path, SIGNED)


def test_without_a_key_an_unknown_algorithm_is_refused_too(tmp_path):
    rows = members(signed=signature(manifest(), algorithm="md5"))
    refused(archive(tmp_path / "a", rows), match="unknown signature")


@pytest.mark.parametrize(
    "text", [b"", b"[" * 9999, b'{"signature": NaN}', b'{"signature": {}, "signature": {}}']
)
def test_signature_files_that_are_no_json(tmp_path, text):
    refused(archive(tmp_path / "a", members(signed=text)), SIGNED, match="strict JSON|deep")


def test_signature_file_of_a_megabyte(tmp_path):
    refused(archive(tmp_path / "a", members(signed=b" " * (1 << 20))), SIGNED, match="too large")


def test_a_demand_without_a_key_makes_no_sense():
    with pytest.raises(UsageError):
        Trust(None, "required")


def test_peek_believes_nothing_else(tmp_path):
    rows = members()
    assert peek(archive(tmp_path / "a", rows)).version == "1.0.0"
    with pytest.raises(IntegrityError):
        peek(archive(tmp_path / "b", rows[1:]))


WHOLE = gzip.compress(tarball(members(signed=signature(manifest()))), 1, mtime=0)
PLAIN = tarball(members(signed=signature(manifest())))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
def test_no_changed_byte_changes_what_is_accepted(tmp_path, place, bits):
    """In the tar inside, where a checksum of gzip's does not help."""
    data = bytearray(PLAIN)
    data[place] ^= bits
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(bytes(data), 1))
    taken = {}
    try:
        read = read_archive(path, SIGNED, lambda artifact: _Into(taken, artifact))
    except IntegrityError:
        return
    assert read.manifest.raw == manifest()
    assert taken == FILES


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_garbage_is_refused_without_a_traceback(tmp_path, data):
    path = tmp_path / "a"
    raw = bytearray(data.draw(st.sampled_from([WHOLE, PLAIN, b""])))
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(raw)))
        raw[start : start + data.draw(st.integers(0, 600))] = data.draw(st.binary(max_size=40))
    path.write_bytes(data.draw(st.sampled_from([bytes, gzip.compress]))(bytes(raw)))
    try:
        read_archive(path, SIGNED)
    except RepackError as error:
        assert error.exit_code == 6  # noqa: PT017


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["version", "artifacts", "path", "size", "sha384", "generated_at"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_for_a_manifest(tmp_path, document):
    with pytest.raises(IntegrityError):
        read_archive(archive(tmp_path / "a", members(json.dumps(document).encode())), Trust())


class _Into:
    """Collects the bytes of one file."""

    def __init__(self, taken: dict[str, bytes], artifact) -> None:
        self._taken = taken
        self._path = artifact.path

    def __enter__(self):
        self._taken[self._path] = b""
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, data: bytes) -> None:
        self._taken[self._path] += data
