from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from repack.archive.package import FORMATS, PackageFile, PackageSpec, with_content_build
from repack.archive.writer import pack
from repack.bundle.archive import Trust
from repack.bundle.build import Bundling, build_bundle
from repack.bundle.package import manifest_package
from repack.bundle.package_reader import read_release
from repack.channel import manifest
from repack.errors import IntegrityError, PlaceError, SignatureError, UsageError
from repack.keys.shared_key import SharedKey
from repack.label.label import BundleSpec
from repack.names import Digest, Digest384, LabelName, RelPath

if TYPE_CHECKING:
    from pathlib import Path

LABEL = LabelName("halkbank")
KEY = SharedKey("oem", b"k" * 32)
FILES = {"models/a.bin": b"model" * 100_000, "models/sub/b.bin": b"b", "strategies/s.json": b"{}"}


def packed(folder: Path, section: str, archive: str = ".conda") -> Path:
    data = folder / "data" / section
    for name, content in FILES.items():
        if name.startswith(section):
            path = folder / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    spec = build_bundle(LABEL, section, BundleSpec(str(data), "2024.10.0"), Bundling(archive)).spec
    return pack(spec, folder / "channel/noarch", archive).path


def taken(source: Path, trust: Trust | None = None) -> dict[str, bytes]:
    found: dict[str, io.BytesIO] = {}

    def take(artifact):
        found[artifact.path] = io.BytesIO()
        return contextlib.nullcontext(found[artifact.path])

    read_release(source, trust or Trust(), take)
    return {path: stream.getvalue() for path, stream in found.items()}


def channel(folder: Path, *paths: Path, key: SharedKey | None = None, **change) -> Path:
    rows = []
    for path in paths:
        data = path.read_bytes()
        row = manifest.Artifact(
            RelPath(f"noarch/{path.name}"),
            len(data),
            Digest(hashlib.sha256(data).hexdigest()),
            Digest384(hashlib.sha384(data).hexdigest()),
        )
        rows.append(replace(row, **change))
    head = manifest.Manifest("halkbank", "12", ("noarch",), (), generated_at="2026-11-20T12:00:00Z")
    document = manifest.build(head, tuple(rows))
    (folder / "channel/repack").mkdir(parents=True)
    text = (document.signed(key) if key else document).to_bytes()
    (folder / "channel/repack/manifest.json").write_bytes(text)
    return folder / "channel"


@pytest.mark.parametrize("archive", FORMATS)
def test_a_package(tmp_path, archive):
    path = packed(tmp_path, "models", archive)
    assert taken(path) == {k: v for k, v in FILES.items() if k.startswith("models/")}
    read = read_release(path, Trust())
    assert (read.manifest.version, read.checked) == ("2024.10.0", "unsigned")
    assert set(read.manifest.raw["artifacts"][0]) == {"path", "sha256", "size"}


def test_a_package_alone_shows_nobody_made_it(tmp_path):
    with pytest.raises(SignatureError):
        read_release(packed(tmp_path, "models"), Trust(KEY))


def test_a_channel(tmp_path):
    paths = packed(tmp_path, "models"), packed(tmp_path, "strategies")
    folder = channel(tmp_path, *paths, key=KEY)
    assert taken(folder, Trust(KEY, "required")) == FILES
    read = read_release(folder, Trust(KEY))
    assert (read.manifest.version, read.checked) == ("12", "verified")
    assert read_release(folder, Trust()).checked == "not checked"


def test_a_channel_signed_by_another(tmp_path):
    folder = channel(tmp_path, packed(tmp_path, "models"), key=SharedKey("oem", b"x" * 32))
    with pytest.raises(SignatureError):
        read_release(folder, Trust(KEY))


def test_an_unsigned_channel(tmp_path):
    folder = channel(tmp_path, packed(tmp_path, "models"))
    assert read_release(folder, Trust()).checked == "unsigned"
    with pytest.raises(SignatureError):
        read_release(folder, Trust(KEY))


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": Digest("0" * 64)},
        {"sha384": Digest384("0" * 96)},
        {"size": 5},
    ],
)
def test_a_package_that_is_not_the_channels(tmp_path, change):
    folder = channel(tmp_path, packed(tmp_path, "models"), key=KEY, **change)
    with pytest.raises(IntegrityError, match="manifest says"):
        read_release(folder, Trust(KEY))


def test_a_package_that_the_channel_lost(tmp_path):
    path = packed(tmp_path, "models")
    folder = channel(tmp_path, path)
    path.unlink()
    with pytest.raises(PlaceError):
        read_release(folder, Trust())


def test_a_channel_with_two_versions_of_a_bundle(tmp_path):
    first = packed(tmp_path, "models")
    other = first.with_name("halkbank-models-2024.11.0-0.conda")
    other.write_bytes(first.read_bytes())
    with pytest.raises(IntegrityError, match="more than one"):
        read_release(channel(tmp_path, first, other), Trust())


def test_folders_that_are_no_channel(tmp_path):
    with pytest.raises(PlaceError, match="no channel"):
        read_release(tmp_path, Trust())
    path = pack(manifest_package(LABEL, 12, {"x": b""}), tmp_path / "channel/noarch", ".conda").path
    with pytest.raises(UsageError, match="no bundle"):
        read_release(channel(tmp_path, path), Trust())


def test_other_packages(tmp_path):
    path = pack(manifest_package(LABEL, 12, {"x": b""}), tmp_path, ".conda").path
    with pytest.raises(UsageError, match="no bundle"):
        read_release(path, Trust())
    stranger = PackageSpec("x-models", "1", members=(PackageFile.of("lib/python.py", b""),))
    with pytest.raises(IntegrityError, match="other files"):
        read_release(pack(with_content_build(stranger), tmp_path, ".conda").path, Trust())


@pytest.mark.parametrize("archive", FORMATS)
def test_changed_bytes(tmp_path, archive):
    path = packed(tmp_path, "models", archive)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with contextlib.suppress(IntegrityError):
            assert taken(path) == {k: v for k, v in FILES.items() if k.startswith("models/")}
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(IntegrityError):
            taken(path)


def test_files_that_the_package_does_not_list(tmp_path, monkeypatch):
    spec = with_content_build(
        PackageSpec("x-models", "1", members=(PackageFile.of("share/repack/x/models/a", b"1"),))
    )
    real = PackageSpec.info

    def info(self):
        rows = {member.path: member for member in real(self)}
        paths = json.loads(rows["info/paths.json"].content)
        paths["paths"] = [dict(paths["paths"][0], _path="share/repack/x/models/b")]
        return (
            PackageFile.of("info/paths.json", json.dumps(paths).encode()),
            rows["info/index.json"],
        )

    monkeypatch.setattr(PackageSpec, "info", info)
    path = pack(spec, tmp_path, ".tar.bz2").path
    with pytest.raises(IntegrityError, match="does not list"):
        read_release(path, Trust())


def retold(monkeypatch, tmp_path, change, **files: bytes):
    """A package whose description says something else than what is in it."""
    made = PackageFile.of("share/repack/x/models/a", b"1")
    real = PackageSpec.info

    def info(self):
        rows = {
            member.path: json.loads(member.content)
            for member in real(self)
            if ".json" in member.path
        }
        change(rows)
        return tuple(PackageFile.of(path, json.dumps(row).encode()) for path, row in rows.items())

    monkeypatch.setattr(PackageSpec, "info", info)
    members = (made, *(PackageFile.of(path, data) for path, data in files.items()))
    return pack(
        with_content_build(PackageSpec("x-models", "1", members=members)), tmp_path, ".tar.bz2"
    ).path


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.pop("info/index.json"),
        lambda rows: rows.pop("info/paths.json"),
        lambda rows: rows["info/index.json"].pop("timestamp"),
        lambda rows: rows["info/index.json"].update(timestamp="x"),
        lambda rows: rows["info/index.json"].update(timestamp=10**30),
        lambda rows: rows["info/index.json"].update(name=7),
        lambda rows: rows["info/index.json"].update(version="1/2"),
        lambda rows: rows.update({"info/index.json": []}),
        lambda rows: rows.update({"info/paths.json": {}}),
        lambda rows: rows["info/paths.json"].update(paths=[]),
        lambda rows: rows["info/paths.json"].update(paths=[[]]),
        lambda rows: rows["info/paths.json"]["paths"][0].update(size_in_bytes="1"),
        lambda rows: rows["info/paths.json"]["paths"][0].update(path_type="softlink"),
        lambda rows: rows["info/paths.json"]["paths"][0].update(sha256="0"),
        lambda rows: rows["info/paths.json"]["paths"][0].update(_path="share/repack/x/models/../b"),
    ],
)
def test_descriptions_that_cannot_be(tmp_path, monkeypatch, change):
    with pytest.raises(IntegrityError):
        read_release(retold(monkeypatch, tmp_path, change), Trust())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.REGTYPE])
def test_members_that_no_bundle_has(tmp_path, kind):
    """A link, a device, and the description a second time."""
    path = packed(tmp_path, "models", ".tar.bz2")
    data = bz2.decompress(path.read_bytes())
    extra = tarfile.TarInfo("info/index.json" if kind == tarfile.REGTYPE else "models")
    extra.type, extra.linkname = kind, "/etc"
    head = max(n for n in range(0, len(data), 512) if data.startswith(b"share/repack", n))
    path.write_bytes(bz2.compress(data[:head] + extra.tobuf() + data[head:]))
    with pytest.raises(IntegrityError):
        read_release(path, Trust())


def test_folders_in_a_package_are_fine(tmp_path):
    path = packed(tmp_path, "models", ".tar.bz2")
    folder = tarfile.TarInfo("share")
    folder.type = tarfile.DIRTYPE
    path.write_bytes(bz2.compress(folder.tobuf() + bz2.decompress(path.read_bytes())))
    assert read_release(path, Trust()).manifest.artifacts


def test_a_package_under_another_name(tmp_path):
    path = packed(tmp_path, "models", ".tar.bz2")
    other = path.rename(path.with_name("halkbank-models-2025.1.0-0.tar.bz2"))
    with pytest.raises(IntegrityError, match="its name says"):
        read_release(other, Trust())
