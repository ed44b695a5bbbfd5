import bz2
import io
import json
import tarfile
import zipfile

import pytest
import zstandard

from repack.wheels.requirements import Machine
from scripts.archives import PLACEHOLDER
from scripts.wheels import Wheel, convert

MACHINE = Machine("linux-64", "3.11.7")


def write_wheel(folder, name="demo-1.0-py3-none-any.whl", requires=(), members=None):
    path = folder / name
    lines = ["Metadata-Version: 2.1", "Name: demo", "Version: 1.0", "Requires-Python: >=3.9"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    files = {
        "demo/__init__.py": "def main(): print('hello')\n",
        "demo-1.0.dist-info/METADATA": "\n".join(lines) + "\n\nAbout\n",
        "demo-1.0.dist-info/RECORD": "",
        "demo-1.0.dist-info/entry_points.txt": "[console_scripts]\nDemo = demo:main [extra]\n",
        **(members or {}),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member, (2024, 5, 1, 0, 0, 0)), text)
    return path


def content(archive):
    """Path -> (bytes, mode) of everything in a package."""
    data = archive.read_bytes()
    tars = [bz2.decompress(data)] if archive.name.endswith(".bz2") else list(inner_tars(data))
    found = {}
    for part in tars:
        with tarfile.open(fileobj=io.BytesIO(part)) as tar:
            for member in tar.getmembers():
                if member.isfile():
                    found[member.name] = (tar.extractfile(member).read(), member.mode)
    return found


def inner_tars(data):
    with zipfile.ZipFile(io.BytesIO(data)) as outer:
        for name in outer.namelist():
            if name.endswith(".tar.zst"):
                yield zstandard.ZstdDecompressor().decompressobj().decompress(outer.read(name))


def convert_all(path, channel, kind=".conda"):
    wheel = Wheel.read(path)
    return [convert(wheel, recipe, channel, MACHINE, kind) for recipe in wheel.recipes(MACHINE)]


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_a_pure_wheel_becomes_noarch_python_with_its_entry_points(tmp_path, kind):
    path = write_wheel(tmp_path, requires=["numpy>=1.26"])
    (archive,) = convert_all(path, tmp_path / "channel", kind)
    assert archive == tmp_path / "channel" / "noarch" / f"demo-1.0-py_0{kind}"
    files = content(archive)
    index = json.loads(files["info/index.json"][0])
    assert index["noarch"] == "python"
    assert index["depends"] == ["numpy >=1.26", "python >=3.9"]
    assert json.loads(files["info/link.json"][0]) == {
        "noarch": {"entry_points": ["Demo = demo:main"], "type": "python"},
        "package_metadata_version": 1,
    }
    assert "site-packages/demo/__init__.py" in files
    paths = {entry["_path"] for entry in json.loads(files["info/paths.json"][0])["paths"]}
    assert paths == {name for name in files if not name.startswith("info/")}


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_same_wheel_same_bytes(tmp_path, kind):
    path = write_wheel(tmp_path)
    (first,) = convert_all(path, tmp_path / "a", kind)
    (second,) = convert_all(path, tmp_path / "b", kind)
    assert first.read_bytes() == second.read_bytes()


def test_what_differs_between_systems_becomes_two_packages(tmp_path):
    path = write_wheel(tmp_path, requires=['colorama; platform_system == "Windows"'])
    recipes = {recipe.build: recipe.depends for recipe in Wheel.read(path).recipes(MACHINE)}
    assert recipes == {
        "unix_py_0": ("__unix", "python >=3.9"),
        "win_py_0": ("__win", "colorama", "python >=3.9"),
    }


def test_a_linux_wheel_goes_where_an_installer_puts_it(tmp_path):
    path = write_wheel(
        tmp_path,
        "demo-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        members={
            "demo-1.0.data/scripts/tool": "#!python\nprint(1)\n",
            "demo-1.0.data/data/share/demo.txt": "x",
            "demo-1.0.data/headers/demo.h": "x",
            "demo-1.0.data/purelib/more.py": "x",
        },
    )
    (archive,) = convert_all(path, tmp_path / "channel")
    assert archive.parent.name == "linux-64"
    files = content(archive)
    site = "lib/python3.11/site-packages"
    assert {f"{site}/demo/__init__.py", f"{site}/more.py", "share/demo.txt"} <= set(files)
    assert "include/python3.11/demo/demo.h" in files
    assert files["bin/tool"] == (f"#!{PLACEHOLDER}/bin/python\nprint(1)\n".encode(), 0o755)
    assert files["bin/Demo"][0].startswith(f"#!{PLACEHOLDER}/bin/python\n".encode())
    assert "info/link.json" not in files
    entries = {e["_path"]: e for e in json.loads(files["info/paths.json"][0])["paths"]}
    assert entries["bin/tool"]["prefix_placeholder"] == PLACEHOLDER
    assert "prefix_placeholder" not in entries["share/demo.txt"]
    index = json.loads(files["info/index.json"][0])
    assert index["depends"] == ["__glibc >=2.17,<3.0a0", "python 3.11.*"]
    assert index["timestamp"] == 1714521600000


def test_a_windows_wheel_has_the_windows_layout(tmp_path):
    path = write_wheel(tmp_path, "demo-1.0-cp311-cp311-win_amd64.whl")
    with zipfile.ZipFile(tmp_path / "setuptools-84.0-py3-none-any.whl", "w") as setuptools:
        setuptools.writestr("setuptools/cli-64.exe", b"MZ launcher")
    wheel, windows = Wheel.read(path), Machine("win-64", "3.11.7")
    (recipe,) = wheel.recipes(windows)
    files = content(convert(wheel, recipe, tmp_path / "channel", windows))
    assert "Lib/site-packages/demo/__init__.py" in files
    assert files["Scripts/Demo-script.py"][0].startswith(b"import sys\nfrom demo import main\n")
    assert files["Scripts/Demo.exe"] == (b"MZ launcher", 0o644)
