"""Packages that write, or point, out of the prefix: refused by everybody before any client sees them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

from repack.archive import installed_paths, scan
from repack.archive.installed_paths import CheckedEnvironment, InstalledPackage, check_installed
from repack.channel.scripts import InstallerPlan, PlatformPlan
from repack.cli.main import run
from repack.errors import IntegrityError
from repack.names import LabelName
from repack.prefix.compare import check_prefix
from tests import tiny
from tests.agent import bank as banks
from tests.archives import Package, member
from tests.channel import test_scripts as scripts
from tests.world import World, records

VECTORS = json.loads(Path(__file__).with_suffix("").with_name("installed_paths.json").read_bytes())
VICTIM = "victim"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["why"])
def test_the_rule_and_its_copy_agree(vector):
    packages = vector["packages"]
    own = [
        InstalledPackage(
            dist=dist,
            links=fields.get("links", {}),
            entry_points=tuple(fields.get("entry_points", ())),
            noarch_python=fields.get("noarch_python", False),
            site_packages=fields.get("site_packages"),
        )
        for dist, fields in packages.items()
    ]
    with contextlib.nullcontext() if vector["stays"] else pytest.raises(IntegrityError):
        check_installed(own, vector["subdir"])
    assert (scripts.PATHS.faults(packages, vector["subdir"]) == []) is vector["stays"]


def listed(*rows: dict) -> dict[str, bytes | None]:
    return {"info/paths.json": json.dumps({"paths": list(rows), "paths_version": 1}).encode()}


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.SYMTYPE, target), b""


def softlinks(*pairs: tuple[str, str], name: str) -> Package:
    rows = [{"_path": path, "path_type": "softlink"} for path, _ in pairs]
    return Package(name, files={}, extra=[link(*pair) for pair in pairs], info=listed(*rows))


def python_with(path: object) -> Package:
    """A python that says where the modules of others go."""
    files = {"bin/python": tiny.PYTHON.encode(), "bin/python3.9": tiny.PYTHON.encode()}
    return Package("python", "3.9.7", files=files, index={"python_site_packages_path": path})


def noarch(name: str, entry_points: list[str], files: dict[str, bytes]) -> Package:
    document = {"noarch": {"type": "python", "entry_points": entry_points}}
    info = {"info/link.json": json.dumps({**document, "package_metadata_version": 1}).encode()}
    index = {"noarch": "python", "depends": ["python"]}
    return Package(name, subdir="noarch", index=index, info=info, files=files)


HELLO = {"site-packages/hello/__init__.py": b"\n"}
UP = "../../../../../victim"
ATTACKS: dict[str, list[Package]] = {
    "a directory row that leads out": [
        Package("evil", files={UP: b"x"}, info=listed({"_path": UP, "path_type": "directory"}))
    ],
    "an absolute directory row": [
        Package("evil", files={}, info=listed({"_path": "/victim/x", "path_type": "directory"}))
    ],
    "a file that is listed as a folder": [
        Package(
            "evil", files={"lib/x": b"x"}, info=listed({"_path": "lib/x", "path_type": "directory"})
        )
    ],
    "an unknown kind of path": [
        Package(
            "evil", files={"lib/x": b"x"}, info=listed({"_path": "lib/x", "path_type": "junction"})
        )
    ],
    "a link out": [softlinks(("lib/x", "../../victim"), name="evil")],
    "a link out that is listed as a file": [
        Package(
            "evil",
            files={},
            extra=[link("lib/x", "/victim")],
            info=listed({"_path": "lib/x", "path_type": "hardlink"}),
        )
    ],
    "links of two packages that together lead out": [
        softlinks(("x/y/out", "hop/../../../victim"), name="evil"),
        softlinks(("x/y/hop", "../../top"), name="helper"),
    ],
    "modules at an absolute path": [python_with("/tmp/victim"), noarch("evil", [], HELLO)],
    "modules above the prefix": [python_with("../../victim"), noarch("evil", [], HELLO)],
    "modules at no path at all": [python_with(""), noarch("evil", [], HELLO)],
    "an entry point above bin": [
        python_with("lib/python3.9/site-packages"),
        noarch("evil", ["../../../victim = hello:main"], HELLO),
    ],
    "a menu that leaves the menus": [
        Package(
            "evil",
            files={"Menu/evil.json": b'{"menu_name": "../../victim", "menu_items": []}'},
        )
    ],
}


def serve(world: World, packages: list[Package]) -> None:
    """Upstream has ``packages`` and the usual ones, and describes each as it is."""
    names = {package.name for package in packages}
    world.serve(*(package for package in tiny.PACKAGES if package.name not in names))
    for package in packages:
        data = package.conda()
        rows = records(world.upstream, package.subdir)
        record = package.record(data)
        (world.upstream / package.subdir / record.fn).write_bytes(data)
        tiny.write_repodata(world.upstream / package.subdir, {**rows, record.fn: dict(record.raw)})
    wanted = [package.name for package in packages]
    world.write(packages=wanted, platforms={"linux-64": {}}, add_pip=False)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "world")


@pytest.fixture
def victim(tmp_path):
    """What lies outside, and must be as it is in the end."""
    folder = tmp_path / VICTIM
    folder.mkdir()
    (folder / "precious").write_text("mine")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["precious"]
    assert (folder / "precious").read_text() == "mine"
    assert not list(tmp_path.rglob("victim/x"))


@pytest.fixture
def no_client(monkeypatch):
    """Rattler must not be asked to install anything."""
    import rattler

    def refuse(*_arguments, **_keywords):
        pytest.fail("hostile packages were handed to rattler")

    monkeypatch.setattr(rattler, "install", refuse)


@pytest.mark.parametrize("proof", ["linked", "solved"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_build_refuses(world, victim, no_client, attack, proof):
    serve(world, ATTACKS[attack])
    message = world.fail(6, "--prove", proof)
    assert "python" in message if "modules" in attack else "evil" in message
    assert not world.channel.exists()


def test_a_hotfix_that_moves_the_modules_is_refused(world, victim, no_client):
    serve(world, [python_with("lib/python3.9/site-packages"), noarch("evil", [], HELLO)])
    rows = records(world.upstream, "linux-64")
    rows["python-3.9.7-0.conda"]["python_site_packages_path"] = str(victim)
    tiny.write_repodata(world.upstream / "linux-64", rows)
    assert "python_site_packages_path" in world.fail(6)


def test_harmless_links_and_modules_are_linked(world):
    serve(
        world,
        [
            softlinks(("lib/a", "../share/b"), ("share/b", "tiny"), name="good"),
            python_with("lib/python3.9/site-packages"),
            noarch("tool", ["tool = hello:main"], HELLO),
        ],
    )
    outcome = world.build()
    assert outcome["platforms"]["linux-64"]["proof"] == "linked"
    plan = json.loads((world.channel / "repack/install.json").read_bytes())
    installed = plan["subdirs"]["linux-64"]["installed"]
    assert installed["good-1.0-0"]["links"] == {"lib/a": "../share/b", "share/b": "tiny"}
    assert installed["tool-1.0-0"]["entry_points"] == ["tool"]
    assert world.build()["changed"] is False


def careless(monkeypatch) -> None:
    """A vendor whose repack does not look, as an older one did not."""
    monkeypatch.setattr(installed_paths, "_leading_out", lambda *_a, **_k: iter(()))
    for name in ("check_names", "check_command", "check_site_packages", "check_shortcuts"):
        monkeypatch.setattr(scan, name, lambda *_a: None)
    monkeypatch.setattr("repack.archive.facts.check_site_packages", lambda *_a: None)
    for name in ("check_command", "check_site_packages", "check_names"):
        monkeypatch.setattr(installed_paths, name, lambda *_a: None)


RELEASED = [
    "an absolute directory row",
    "links of two packages that together lead out",
    "modules at an absolute path",
    "an entry point above bin",
]


@pytest.fixture(params=RELEASED)
def released(request, tmp_path, victim, monkeypatch):
    """A signed channel of a careless vendor, and what it holds."""
    monkeypatch.chdir(tmp_path)
    vendor = banks.world(tmp_path)
    serve(vendor, ATTACKS[request.param])
    with pytest.MonkeyPatch.context() as patched:
        careless(patched)
        vendor.build("--prove", "solved")
    return vendor


def test_verify_refuses(released, capsys):
    assert run(["verify", str(released.channel), "--json"]) == 6
    said = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in said["findings"]] == ["malformed"], said


@pytest.mark.parametrize("engine", ["rattler", "conda"])
def test_the_agent_refuses(released, tmp_path, no_client, engine, monkeypatch):
    program = tmp_path / "conda"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/conda-ran'\n")
    program.chmod(0o755)
    monkeypatch.setenv("CONDA_EXE", str(program))
    root = released.channel / "repack/metadata/1.root.json"
    target = banks.Bank(tmp_path, {"trust": {"root": str(root)}, "install": {"engine": engine}})
    code, said = target.agent("install", "--src-dir", str(released.channel))
    assert (code, said["error"]) == (8, "content-missing"), said
    assert not (tmp_path / "conda-ran").exists()
    assert list((target.folder / "releases").glob("*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="runs a POSIX shell")
def test_the_shipped_installer_refuses(tmp_path, victim):
    packages = (InstalledPackage("lib-1!2.0+x-h_1", {"lib/x": "../../victim"}),)
    part = PlatformPlan(("app=1.0=0",), scripts.PACKAGES, installed=packages)
    plan = InstallerPlan(LabelName("halkbank"), "keep", True, {scripts.PLATFORM: part})
    conda = tmp_path / "bin/conda"
    conda.parent.mkdir()
    conda.write_text(scripts.STAND_IN)
    conda.chmod(0o755)
    root = scripts.channel(tmp_path / "channel", plan)
    done = scripts.start(root, conda, "--prefix", str(tmp_path / "prefix"))
    assert done.returncode == 6, done.stderr
    assert "leads out" in done.stderr
    assert not (tmp_path / "home/log").exists()
    assert not (tmp_path / "prefix").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="runs a POSIX shell")
@pytest.mark.parametrize(("target", "word"), [("{victim}", "leads out"), ("..", "on no list")])
def test_the_shipped_installer_looks_at_what_conda_made(tmp_path, victim, target, word):
    conda = tmp_path / "bin/conda"
    conda.parent.mkdir()
    made = 'mkdir -p "$2/lib"; ln -s \'' + target.format(victim=victim) + '\' "$2/lib/x"\nexit '
    conda.write_text(scripts.STAND_IN.replace("exit ", made))
    conda.chmod(0o755)
    root = scripts.channel(tmp_path / "channel")
    done = scripts.start(root, conda, "--prefix", str(tmp_path / "prefix"))
    assert done.returncode == 7, done.stderr
    assert word in done.stderr
    assert not (tmp_path / "prefix").exists()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links take a privilege there")
@pytest.mark.parametrize(("target", "word"), [("{victim}", "leads out"), ("..", "on no list")])
def test_a_link_that_nobody_brought_is_found_after_linking(tmp_path, victim, target, word):
    prefix = tmp_path / "prefix"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "conda-meta/a-1-0.json").write_text('{"files": ["lib/x"]}')
    (prefix / "lib").mkdir()
    (prefix / "lib/x").symlink_to(target.format(victim=victim))
    record = Package("a", "1").record(b"")
    with pytest.raises(IntegrityError) as caught:
        check_prefix(prefix, CheckedEnvironment((record,), {}))
    assert word in str(caught.value.got)
    (prefix / "lib/x").unlink()
    check_prefix(prefix, CheckedEnvironment((record,), {}))


def test_a_list_that_leads_out_is_found_after_linking(tmp_path):
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/a-1-0.json").write_text('{"files": ["../x"]}')
    record = Package("a", "1").record(b"")
    with pytest.raises(IntegrityError):
        check_prefix(tmp_path, CheckedEnvironment((record,), {}))
