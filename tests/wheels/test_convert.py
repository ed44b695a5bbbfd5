"""Wheels laid out as packages; linked by rattler, they run."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile

import pytest

from repack.archive.reader import scan_archive
from repack.archive.writer import pack
from repack.conda.virtual_packages import TargetProfile
from repack.errors import IntegrityError
from repack.wheels.convert import Conversion, convert_wheel
from repack.wheels.names import NameMapping
from repack.wheels.requirements import Machine
from repack.wheels.tags import fit_of
from repack.wheels.wheel import read_wheel
from tests.wheels.wheels import digest_of, make_wheel

NAMES = NameMapping({"acme-scoring": "acme-scoring"}, {"numpy": "numpy", "torch": "pytorch"})
LINUX = "cp311-cp311-manylinux_2_17_x86_64"


def spec_of(tmp_path, subdir="linux-64", extras=(), origin=None, **wheel):
    read = read_wheel(make_wheel(tmp_path / "w", **wheel))
    machine = Machine(subdir, "3.11.7")
    fit = fit_of(read, machine, TargetProfile.of(subdir))
    (tmp_path / "scratch").mkdir(exist_ok=True)
    how = Conversion(machine, fit, extras, NAMES.conda_name, tmp_path / "scratch", origin=origin)
    return convert_wheel(read, how)


def contents(spec):
    return {m.path: m.content for m in spec.members}


METADATA = (
    "Requires-Python: >=3.9\nRequires-Dist: numpy>=1.26\nRequires-Dist: torch~=2.1\n"
    'Requires-Dist: colorama; sys_platform == "win32"\nRequires-Dist: rich; extra == "cli"\n'
)


def test_a_pure_wheel(tmp_path):
    points = "[console_scripts]\nscore = acme_scoring:main\n"
    spec = spec_of(tmp_path, metadata=METADATA, entry_points=points)
    assert (spec.name, spec.version, spec.subdir, spec.noarch) == (
        "acme-scoring",
        "2.1",
        "noarch",
        "python",
    )
    assert spec.depends == ("numpy >=1.26", "python >=3.9", "pytorch >=2.1,2.*")
    assert spec.entry_points == ("score = acme_scoring:main",)
    paths = set(contents(spec))
    assert "site-packages/acme_scoring/__init__.py" in paths
    assert not any(path.startswith("python-scripts/score") for path in paths)


def test_markers_and_extras_are_the_targets(tmp_path):
    windows = spec_of(tmp_path, "win-64", ("cli",), metadata=METADATA)
    assert "colorama" in windows.depends
    assert "rich" in windows.depends
    linux = spec_of(tmp_path, metadata=METADATA)
    assert windows.build != linux.build


def test_same_wheel_same_bytes(tmp_path):
    one = spec_of(tmp_path / "1", files={"acme_scoring/big": bytes(100_000)})
    two = spec_of(tmp_path / "2", files={"acme_scoring/big": bytes(100_000)})
    packed = [pack(s, tmp_path / str(n), ".conda") for n, s in enumerate((one, two))]
    assert packed[0].record.sha256 == packed[1].record.sha256


def test_a_binary_wheel(tmp_path):
    files = {
        "acme_scoring/_core.so": b"\x7fELF" + bytes(100_000),
        "acme_scoring-2.1.data/scripts/tool": b"#!python\nprint(1)\n",
        "acme_scoring-2.1.data/data/share/acme/x.txt": b"x",
        "acme_scoring-2.1.data/headers/a.h": b"h",
        "acme_scoring-2.1.data/purelib/pure.py": b"p",
    }
    points = "[console_scripts]\nscore = acme_scoring:main\n"
    spec = spec_of(tmp_path, tag=LINUX, files=files, entry_points=points, metadata=METADATA)
    assert spec.subdir == "linux-64"
    assert spec.noarch is None
    assert "__glibc >=2.17" in spec.depends
    found = contents(spec)
    site = "lib/python3.11/site-packages"
    for path in (
        f"{site}/acme_scoring/_core.so",
        f"{site}/pure.py",
        "share/acme/x.txt",
        "include/python3.11/acme-scoring/a.h",
    ):
        assert path in found
    by_path = {member.path: member for member in spec.members}
    for path in ("bin/tool", "bin/score"):
        assert by_path[path].is_executable
        assert by_path[path].has_placeholder
    paths = json.loads(next(m.content for m in spec.info() if m.path == "info/paths.json"))
    rows = {row["_path"]: row for row in paths["paths"]}
    assert rows["bin/score"]["file_mode"] == "text"
    assert "file_mode" not in rows["share/acme/x.txt"]


def test_record_installer_and_origin(tmp_path):
    origin = {"url": "https://example.org/acme.whl", "archive_info": {}}
    files = {"acme_scoring-2.1.data/scripts/tool": b"#!python\n"}
    spec = spec_of(tmp_path, tag=LINUX, files=files, origin=origin)
    found = contents(spec)
    info = "lib/python3.11/site-packages/acme_scoring-2.1.dist-info"
    assert found[f"{info}/INSTALLER"] == b"conda\n"
    assert json.loads(found[f"{info}/direct_url.json"]) == origin
    rows = list(csv.reader(io.StringIO(found[f"{info}/RECORD"].decode())))
    assert rows[-1] == ["acme_scoring-2.1.dist-info/RECORD", "", ""]
    by_path = {row[0]: row for row in rows}
    assert "../../../bin/tool" in by_path
    data = found["lib/python3.11/site-packages/acme_scoring/__init__.py"]
    assert by_path["acme_scoring/__init__.py"][1:] == [f"sha256={digest_of(data)}", str(len(data))]
    assert len(by_path) == len(spec.members)


def test_commands_on_windows_have_launchers(tmp_path):
    points = "[console_scripts]\nscore = acme_scoring:main\n[gui_scripts]\nwin = acme_scoring:gui\n"
    spec = spec_of(tmp_path, "win-64", tag="cp311-cp311-win_amd64", entry_points=points)
    found = contents(spec)
    for name, python in (("score", b"python.exe"), ("win", b"pythonw.exe")):
        launcher = found[f"Scripts/{name}.exe"]
        assert launcher[:2] == b"MZ"
        assert b"#!<launcher_dir>\\..\\" + python in launcher
        with zipfile.ZipFile(io.BytesIO(launcher)) as archive:
            assert b"from acme_scoring import" in archive.read("__main__.py")
    assert "Lib/site-packages/acme_scoring/__init__.py" in found


@pytest.mark.parametrize(
    "files",
    [
        {"acme_scoring-2.1.data/nonsense/x": b"x"},
        {"acme_scoring-2.1.data/purelib/acme_scoring/__init__.py": b"twice"},
    ],
)
def test_files_without_a_place(tmp_path, files):
    with pytest.raises(IntegrityError):
        spec_of(tmp_path, files=files)


def test_a_damaged_file_in_it(tmp_path):
    path = make_wheel(tmp_path / "w", files={"acme_scoring/big": bytes(range(256)) * 1000})
    data = bytearray(path.read_bytes())
    at = data.index(b"acme_scoring/big") + 60
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    read = read_wheel(path)
    machine = Machine("linux-64", "3.11.7")
    how = Conversion(
        machine, fit_of(read, machine, TargetProfile.of("linux-64")), (), str, tmp_path
    )
    with pytest.raises(IntegrityError, match="damaged"):
        convert_wheel(read, how)


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_the_package_passes_the_archive_checks(tmp_path, kind):
    files = {"acme_scoring-2.1.data/scripts/tool": b"#!python\n"}
    spec = spec_of(tmp_path, tag=LINUX, files=files, entry_points="[console_scripts]\na = b:c\n")
    packed = pack(spec, tmp_path, kind)
    facts = scan_archive(packed.path, packed.record, "whole")
    assert facts.files == len(spec.members)
    if kind == ".tar.bz2":
        with tarfile.open(packed.path) as tar:
            assert tar.getmember("bin/tool").mode == 0o755
            assert "info/has_prefix" in tar.getnames()
