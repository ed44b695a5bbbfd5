"""A real Python, unpacked on a machine with a C library and busybox; conda-pack is the judge."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import zstandard

from tests import tiny
from tests.installer.bare import BUSYBOX, BWRAP, bare_root, run_bare
from tests.installer.test_bootstrap import write_installer
from tests.world import World, records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or not (BUSYBOX and BWRAP), reason="takes busybox and bubblewrap"
    ),
]
BASE = Path(sys.base_prefix)
NAME = f"python{sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = {"test", "idlelib", "tkinter", "site-packages", "ensurepip", "lib2to3", "__pycache__"}
CHECK = [
    "python",
    "-c",
    "import sys, json, sqlite3, ctypes, hashlib; print(sys.prefix); assert sys.prefix in sys.executable",
]


def python_package(folder: Path) -> None:
    """This very Python as a conda package: the place it was built for is its placeholder."""
    files = {}
    paths = [
        BASE / "bin" / NAME,
        *(BASE / "lib").glob("libpython3*.so*"),
        *(BASE / "lib" / NAME).rglob("*"),
    ]
    for path in paths:
        name = path.relative_to(BASE).as_posix()
        is_left_out = LEFT_OUT & set(path.parts) or "config-3" in name or "/_test" in name
        if path.is_file() and not path.is_symlink() and not is_left_out:
            files[name] = path.read_bytes()
    files["bin/python"] = files[f"bin/{NAME}"]
    files["bin/where"] = (
        f"#!{BASE}/bin/python -I\nimport sys\nprint(sys.prefix, sys.argv)\n".encode()
    )
    rows = [path_row(name, data) for name, data in sorted(files.items())]
    index = {"name": "python", "version": "3.11.0", "build": "0", "build_number": 0}
    index |= {"depends": [], "subdir": "linux-64", "license": "PSF-2.0"}
    info = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": rows, "paths_version": 1}).encode(),
        "info/files": "".join(f"{name}\n" for name in sorted(files)).encode(),
    }
    file = folder / "python-3.11.0-0.conda"
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        for part, members in (("pkg", files), ("info", info)):
            data = zstandard.compress(tiny._tar(members), 1)
            zipped.writestr(f"{part}-python-3.11.0-0.tar.zst", data)
    data = file.read_bytes()
    row = {**index, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rows = {**records(folder.parent, "linux-64"), file.name: row}
    tiny.write_repodata(folder, rows)


def path_row(name: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    row = {"_path": name, "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(data)}
    if str(BASE).encode() in data:
        mode = "binary" if b"\0" in data else "text"
        row |= {"file_mode": mode, "prefix_placeholder": str(BASE)}
    return row


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if len(str(BASE)) < 24:
        pytest.skip("the path of this Python is too short to stand for a placeholder")
    made = World(tmp_path_factory.mktemp("a"))
    made.serve(
        *(package for package in tiny.PACKAGES if package.name not in {"python", "tiny-app"})
    )
    python_package(made.upstream / "linux-64")
    # This Python's placeholder is too short for the scratch prefix of a linked proof.
    made.build(
        "--prove", "solved", packages=["python"], add_pip=False, platforms={"linux-64": {}},
        bootstrap="repack", health_check=CHECK,
    )  # fmt: skip
    return made


def c_library() -> dict[str, Path]:
    """What every Linux has that is no busybox: its loader and C library."""
    return {name: Path(name).resolve() for name in ("/lib", "/lib64") if Path(name).exists()}


@pytest.fixture
def root(tmp_path):
    root = bare_root(tmp_path / "root")
    for name in ("lib", "lib64"):
        (root / name).mkdir()
    return root


def test_a_real_python_runs_where_it_is_unpacked(world, root):
    file = root / "tmp/python.sh"
    assert write_installer(world, "-o", str(file)) == 0
    done = run_bare(root, "sh", "/tmp/python.sh", "--prefix", "/home/e", shown=c_library())
    assert (done.returncode, done.stdout) == (0, "/home/e\n"), done.stderr
    assert "/home/e\n" in done.stderr  # the health check's sys.prefix
    said = run_bare(root, "/home/e/bin/where", "x", shown=c_library())
    assert said.stdout == "/home/e ['/home/e/bin/where', 'x']\n", said.stderr
    files = (path for path in (root / "home/e").rglob("*") if path.is_file())
    left = [path for path in files if str(BASE).encode() in path.read_bytes()]
    assert [path.name for path in left] == ["python-3.11.0-0.json"]  # conda's record of the package


def test_the_signature_is_checked_by_the_new_python(world, root, tmp_path):
    shown = {**c_library(), "/mnt": world.channel}
    words = ("sh", "/mnt/install.sh", "--prefix", "/home/e", "--key", "hex:" + "0" * 64)
    done = run_bare(root, *words, shown=shown)
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert "not installed" in done.stderr
    assert not (root / "home/e").exists()
    made = World(tmp_path / "signed", label=dict(world.label))
    shutil.rmtree(made.upstream)
    shutil.copytree(world.upstream, made.upstream)
    made.build(
        "--prove", "solved", channels=[made.upstream.as_uri()], signing={"hmac": "hex:" + "0" * 64}
    )
    done = run_bare(root, *words, shown={**c_library(), "/mnt": made.channel})
    assert done.returncode == 0, done.stderr
    done = run_bare(root, *words[:-1], "hex:" + "1" * 64, "--update", shown=shown)
    assert done.returncode == 6


def test_conda_pack_makes_the_same_files(world, root):
    prefixes = pytest.importorskip("conda_pack.prefixes")
    file = root / "tmp/python.sh"
    assert write_installer(world, "-o", str(file)) == 0
    done = run_bare(root, "sh", "/tmp/python.sh", "--prefix", "/home/ö", shown=c_library())
    assert done.returncode == 0, done.stderr
    ours, rewritten = root / "home/ö", set()
    record = json.loads((ours / "conda-meta/python-3.11.0-0.json").read_text())
    for row in record["paths_data"]["paths"]:
        path = row["_path"]
        source = BASE / "bin" / NAME if path == "bin/python" else BASE / path
        if path == "bin/where":
            continue
        theirs = root / "tmp/theirs"
        shutil.copyfile(source, theirs)
        if "prefix_placeholder" in row:
            prefixes.update_prefix(str(theirs), "/home/ö", str(BASE), row["file_mode"])
            rewritten.add(row["file_mode"])
        assert (ours / path).read_bytes() == theirs.read_bytes(), path
    assert rewritten == {"text", "binary"}
