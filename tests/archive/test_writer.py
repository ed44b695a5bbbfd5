from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from repack.archive.installed_paths import check_environment
from repack.archive.package import FORMATS, PackageFile, PackageSpec, with_content_build
from repack.archive.reader import scan_archive
from repack.archive.writer import pack
from repack.bundle.build import Bundling, build_bundle
from repack.bundle.package import manifest_package, metapackage
from repack.errors import FolderError, IntegrityError
from repack.label.label import BundleSpec
from repack.names import LabelName
from repack.prefix.link import link
from repack.progress import SILENT

LABEL = LabelName("halkbank")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "a/ü").mkdir(parents=True)
    (folder / "big.bin").write_bytes(b"0123456789abcdef" * 200_000)
    (folder / "a/ü" / ("n" * 150)).write_bytes(b"long")
    (folder / "empty").touch()
    return folder


def spec_of(folder: Path, archive=".conda", **more) -> PackageSpec:
    return build_bundle(
        LABEL, "models", BundleSpec(str(folder), "2024.10.0", **more), Bundling(archive)
    ).spec


@pytest.mark.parametrize("archive", FORMATS)
def test_record_describes_the_file(tmp_path, models, archive):
    packed = pack(spec_of(models, archive), tmp_path / "out", archive)
    data = packed.path.read_bytes()
    record = packed.record
    assert (record.fn, record.subdir, record.size) == (packed.path.name, "noarch", len(data))
    assert record.sha256 == hashlib.sha256(data).hexdigest()
    assert record.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert record.raw["noarch"] == "generic"
    assert record.raw["depends"] == []
    assert record.raw["timestamp"] == 315_532_800_000


@pytest.mark.parametrize("archive", FORMATS)
def test_same_files_same_bytes(tmp_path, models, archive):
    """Whatever mtime, creation order, umask, locale, place and number of threads."""
    one = pack(spec_of(models, archive), tmp_path / "one", archive, threads=1)
    copy = tmp_path / "elsewhere"
    old = os.umask(0o077)
    try:
        for path in sorted((p for p in models.rglob("*") if p.is_file()), reverse=True):
            target = copy / path.relative_to(models)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o700)
            os.utime(target, (1, 1))
    finally:
        os.umask(old)
    program = (
        "import sys; from pathlib import Path; from repack.archive.writer import pack;"
        "from tests.archive.test_writer import spec_of;"
        "a = sys.argv; print(pack(spec_of(Path(a[1]), a[3]), Path(a[2]), a[3], threads=3).path)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(copy), str(tmp_path / "two"), archive],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": str(root), "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    )
    assert Path(done.stdout.strip()).read_bytes() == one.path.read_bytes()


def test_conda_layout(tmp_path, models):
    packed = pack(spec_of(models), tmp_path, ".conda")
    with zipfile.ZipFile(packed.path) as archive:
        dist = packed.record.dist
        assert archive.namelist() == [
            "metadata.json",
            f"pkg-{dist}.tar.zst",
            f"info-{dist}.tar.zst",
        ]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        frame = archive.read(f"pkg-{dist}.tar.zst")
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == len(zstandard.decompress(frame))
    assert parameters.has_checksum


def test_bz2_has_the_description_first(tmp_path, models):
    packed = pack(spec_of(models, ".tar.bz2"), tmp_path, ".tar.bz2")
    with tarfile.open(packed.path) as archive:
        names = archive.getnames()
        assert json.load(archive.extractfile("info/index.json"))["name"] == "halkbank-models"
    assert [name.startswith("info/") for name in names] == [True] * 5 + [False] * 3
    assert "share/repack/halkbank/models/a/ü/" + "n" * 150 in names


def test_file_that_changes_while_it_is_packed(tmp_path, models):
    spec = spec_of(models)
    (models / "big.bin").write_bytes(b"other")
    with pytest.raises(IntegrityError, match="changed while"):
        pack(spec, tmp_path / "out", ".conda")
    assert list((tmp_path / "out").iterdir()) == []


def test_file_that_grows_while_it_is_packed(tmp_path, models):
    spec = spec_of(models)
    with (models / "empty").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(IntegrityError, match="changed while"):
        pack(spec, tmp_path / "out", ".tar.bz2")


def test_full_disk(tmp_path, models):
    spec = spec_of(models)
    program = (
        "import resource, signal, sys; from pathlib import Path;"
        "from repack.errors import SpaceError; from repack.archive.writer import pack;"
        "from tests.archive.test_writer import spec_of;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "try: pack(spec_of(Path(sys.argv[1])), Path(sys.argv[2]), '.conda')\n"
        "except SpaceError: print('no space')"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(models), str(tmp_path / "out")],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": str(root)},
    )
    assert done.stdout == "no space\n"
    assert list((tmp_path / "out").iterdir()) == []
    assert spec.members


@pytest.mark.parametrize("archive", FORMATS)
def test_rattler_installs_a_release_of_ours(tmp_path, models, archive):
    """Bundle, manifest package, metapackage and a noarch python package without Python."""
    packed = [
        pack(spec, tmp_path / "out", archive)
        for spec in (
            spec_of(models, archive),
            manifest_package(LABEL, 12, {"manifest.json": b"{}"}),
        )
    ]
    meta = metapackage(LABEL, 12, "linux-64", [p.record for p in packed])
    packed.append(pack(meta, tmp_path / "out", archive))
    prefix = tmp_path / "prefix"
    facts = [(p.record, scan_archive(p.path, p.record, "whole")) for p in packed]
    link(check_environment(facts, "linux-64"), prefix, tmp_path / "cache", lambda _n: None)
    share = prefix / "share/repack/halkbank"
    assert (share / "models/big.bin").read_bytes() == (models / "big.bin").read_bytes()
    assert (share / "models/a/ü" / ("n" * 150)).read_bytes() == b"long"
    assert (share / "models/empty").read_bytes() == b""
    assert (share / "manifest.json").read_bytes() == b"{}"
    found = {p.name.rsplit("-", 2)[0] for p in (prefix / "conda-meta").glob("*.json")}
    assert found == {"halkbank", "halkbank-models", "halkbank-manifest"}


def test_packing_needs_little_memory(tmp_path):
    """A sparse file of 1 GiB; the peak counts everything that was imported too."""
    big = tmp_path / "m/big.bin"
    big.parent.mkdir()
    with big.open("wb") as stream:
        stream.truncate(1 << 30)
    program = (
        "import sys; from pathlib import Path; from repack.archive.writer import pack;"
        "from tests.archive.test_writer import spec_of;"
        "pack(spec_of(Path(sys.argv[1])), Path(sys.argv[2]), '.conda');"
        # not `ru_maxrss`: that starts with what the tests themselves had when they forked
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(big.parent), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": str(root)},
    )
    assert int(done.stdout) < 200 << 10


def test_empty_bundle(tmp_path):
    (tmp_path / "m/empty").mkdir(parents=True)
    with pytest.raises(FolderError, match="cannot be packed"):
        spec_of(tmp_path / "m")


def test_litter_is_left_out_and_told(tmp_path, models, capsys):
    class Notes:
        phase = SILENT.phase

        def note(self, text):
            sys.stdout.write(text)

    (models / ".DS_Store").touch()
    how = Bundling(".conda", progress=Notes())
    spec = build_bundle(LABEL, "models", BundleSpec(str(models), "1"), how).spec
    assert len(spec.members) == 3
    assert capsys.readouterr().out == "models: left out .DS_Store"


def test_unchanged_bundle_is_recognised(tmp_path, models):
    how = Bundling(".conda", tmp_path / "stamps")
    label = BundleSpec(str(models), "2024.10.0")
    first = build_bundle(LABEL, "models", label, how)
    record = pack(first.spec, tmp_path / "out", ".conda").record
    again = build_bundle(LABEL, "models", label, Bundling(".conda", tmp_path / "stamps", [record]))
    assert again.unchanged is record
    (models / "empty").write_bytes(b"no more")
    changed = build_bundle(
        LABEL, "models", label, Bundling(".conda", tmp_path / "stamps", [record])
    )
    assert changed.unchanged is None
    assert changed.spec.build_number == 1


def test_noarch_python_package(tmp_path):
    spec = with_content_build(
        PackageSpec(
            "tool",
            "1.0",
            noarch="python",
            members=(PackageFile.of("site-packages/tool.py", b"def main(): print('hi')\n"),),
            entry_points=("tool = tool:main",),
        )
    )
    packed = pack(spec, tmp_path, ".conda")
    assert packed.record.raw["noarch"] == "python"
