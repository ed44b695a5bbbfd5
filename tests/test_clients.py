"""What real clients need of a channel, and that ours gives it: network cut, hand-made channel.

Skipped where a conda is missing; see tests/clients.py. docs/clients.md tells the same in words.
"""

from __future__ import annotations

import bz2
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repack.channel.scripts import InstallerPlan, PlatformPlan, installers
from repack.names import LabelName
from repack.prefix.sandbox import network_cutter
from repack.urls import channel_url
from tests import tiny
from tests.clients import Conda, environment, installed, need

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="cuts the network off"),
]
EVERYTHING = {package.dist for package in tiny.PACKAGES}
SPECS = ("tiny-app=2.0=py_0", "tiny-lib=1!2.0+x=0")
# What a customer's folders may be called: conda cuts or decodes each of these somewhere.
ODD = ["a b", "ü#%+!", "t", "linux-64", "50%25", "a@b"]


@pytest.fixture(params=["current", "old"])
def conda(request) -> Conda:
    return need(request.param)


def make(root: Path, conda: Conda) -> Path:
    """The tiny channel in the form that client reads."""
    if conda.age == "old":
        return tiny.channel(root, tuple(map(tiny.old, tiny.PACKAGES)), "tar.bz2")
    return tiny.channel(root)


def add_installers(root: Path, conda: Conda) -> Path:
    plan = InstallerPlan(
        LabelName("halkbank"),
        "tar.bz2" if conda.age == "old" else "keep",
        True,
        {"linux-64": PlatformPlan(SPECS, tuple(EVERYTHING))},
    )
    for path, data in installers(plan).items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(data)
    return root


def run_installer(root: Path, conda: Conda, home: Path, prefix: Path, *arguments: str):
    home.mkdir(parents=True, exist_ok=True)
    command = ["sh", str(root / "install.sh"), "--prefix", str(prefix), *arguments]
    return subprocess.run(
        [*network_cutter(), *command],
        env=environment(home, CONDA_EXE=conda.path),
        capture_output=True,
        text=True,
        check=False,
    )


def check(prefix: Path) -> None:
    assert installed(prefix) == EVERYTHING
    assert (prefix / "lib/tiny.txt").read_text() == f"{prefix}/x\n"
    assert (prefix / "share/tiny/ä b.txt").read_text() == "data\n"
    # noarch python packages land in the environment's own site-packages.
    assert (prefix / "lib/python3.9/site-packages/tiny_app/hello.txt").read_text() == "hello\n"


def test_create_offline(conda, tmp_path):
    root = make(tmp_path / "ch", conda)
    prefix = tmp_path / "env"
    conda.install(channel_url(str(root), windows=False), prefix, *SPECS, home=tmp_path / "home")
    check(prefix)


def test_folders_above_the_channel_may_be_called_anything(conda, tmp_path):
    root = make(tmp_path.joinpath(*ODD, "ch"), conda)
    prefix = tmp_path / "env"
    conda.install(channel_url(str(root), windows=False), prefix, *SPECS, home=tmp_path / "home")
    check(prefix)


@pytest.mark.parametrize("odd", ["a b", "ü#%+!", "noarch"])
def test_install_sh_from_and_into_folders_called_anything(conda, tmp_path, odd):
    root = add_installers(make(tmp_path / odd, conda), conda)
    prefix = tmp_path / "envs" / odd
    done = run_installer(root, conda, tmp_path / "home", prefix)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{prefix}\n"
    check(prefix)
    assert not (prefix / "pkgs").exists()


def test_install_sh_needs_no_locale(conda, tmp_path, monkeypatch):
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.setenv(name, "C")
    root = add_installers(make(tmp_path / "ä", conda), conda)
    done = run_installer(root, conda, tmp_path / "home", tmp_path / "ü")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "ü")


def test_install_sh_sees_no_configuration_of_the_user(conda, tmp_path):
    root, home = add_installers(make(tmp_path / "ch", conda), conda), tmp_path / "home"
    home.mkdir()
    (home / ".condarc").write_text(
        "channels: [https://evil.invalid/c, defaults]\ndefault_channels: [https://evil.invalid/d]\n"
        "pinned_packages: [tiny-lib=99]\ncreate_default_packages: [evil]\n"
        f"pkgs_dirs: [{home}/pkgs]\nadd_pip_as_python_dependency: false\n"
    )
    done = run_installer(root, conda, home, tmp_path / "env")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "env")
    assert not (home / "pkgs").exists()


def test_install_sh_updates_and_removes_what_it_made(conda, tmp_path):
    root, home = add_installers(make(tmp_path / "ch", conda), conda), tmp_path / "home"
    prefix = tmp_path / "env"
    assert run_installer(root, conda, home, prefix).returncode == 0
    done = run_installer(root, conda, home, prefix, "--update")
    assert done.returncode == 0, done.stderr
    check(prefix)
    done = run_installer(root, conda, home, prefix, "--uninstall")
    assert (done.returncode, done.stdout) == (0, f"{prefix}\n"), done.stderr
    assert not prefix.exists()
    assert run_installer(root, conda, home, prefix).returncode == 0
    check(prefix)


def test_the_environment_stays_with_its_channel(conda, tmp_path):
    root, home = add_installers(make(tmp_path / "ch", conda), conda), tmp_path / "home"
    prefix = tmp_path / "env"
    assert run_installer(root, conda, home, prefix).returncode == 0
    if conda.age == "current":
        (home / ".condarc").write_text("channels: [https://evil.invalid/c]\n")
    variables = environment(home, CONDA_PREFIX=str(prefix), CONDA_SHLVL="1")
    command = [*network_cutter(), conda.path]
    shown = subprocess.run(
        [*command, "info", "--json"], env=variables, capture_output=True, check=True
    )
    info = json.loads(shown.stdout)
    url = channel_url(str(root), windows=False)
    assert info["channels"][:2] == [f"{url}/linux-64", f"{url}/noarch"]
    assert info["offline"] is True
    assert info["pkgs_dirs"][0] == f"{prefix}/pkgs"
    for verb in (["remove", "--yes", "tiny-app"], ["install", "--yes", "tiny-app"]):
        done = subprocess.run(
            [*command, *verb, "--prefix", str(prefix)],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    check(prefix)


@pytest.mark.parametrize("own", ["ü#%+! x", "a@b", "noarch", "t"])
def test_py_rattler_installs_from_folders_called_anything(tmp_path, own):
    if not network_cutter():
        pytest.skip("this system cannot take a process's network away")
    root = tiny.channel(tmp_path / own)
    prefix = tmp_path / "env"
    done = run_rattler(root, prefix, tmp_path)
    assert done.returncode == 0, done.stderr
    check(prefix)


def test_py_rattler_wants_noarch(tmp_path):
    if not network_cutter():
        pytest.skip("this system cannot take a process's network away")
    root = tiny.channel(tmp_path / "ch")
    shutil.rmtree(root / "noarch")
    assert "noarch" in run_rattler(root, tmp_path / "env", tmp_path).stderr


def run_rattler(root: Path, prefix: Path, work: Path, *specs: str):
    """Install by py-rattler in a process of its own, which can crash when it ends."""
    program = (
        "import asyncio, os, sys; from tests.test_clients import by_rattler;"
        "asyncio.run(by_rattler(*sys.argv[1:])); sys.stdout.flush(); os._exit(0)"
    )
    url = channel_url(str(root), windows=False)
    return subprocess.run(
        [*network_cutter(), sys.executable, "-c", program, url, prefix, work / "cache", *specs],
        env=environment(work / "home", PYTHONPATH=str(Path(__file__).parents[1])),
        capture_output=True,
        text=True,
        check=False,
    )


async def by_rattler(url: str, prefix: str, cache: str, *specs: str) -> None:
    """Solve and install as a program built on py-rattler does."""
    from rattler import (
        BuildString,
        Channel,
        Gateway,
        GenericVirtualPackage,
        PackageName,
        Version,
        install,
        solve,
    )

    glibc = GenericVirtualPackage(PackageName("__glibc"), Version("2.17"), BuildString("0"))
    records = await solve(
        [Channel(url)],
        specs or ["tiny-app", "pip"],
        gateway=Gateway(cache_dir=Path(cache) / "repodata"),
        platforms=["linux-64", "noarch"],
        virtual_packages=[glibc],
    )
    await install(records, prefix, cache_dir=Path(cache) / "pkgs", show_progress=False)


# --- what is needed: each test leaves one thing out and sees the client fail


def fails(conda: Conda, root: Path, tmp_path: Path, *specs: str) -> str:
    url = channel_url(str(root), windows=False)
    with pytest.raises(AssertionError) as failure:
        conda.install(url, tmp_path / "env", *(specs or SPECS), home=tmp_path / "home")
    return str(failure.value)


def test_old_conda_reads_no_conda_archives(tmp_path):
    conda = need("old")
    root = tiny.channel(tmp_path / "ch", tuple(map(tiny.old, tiny.PACKAGES)), "conda")
    assert "Package missing" in fails(conda, root, tmp_path)


def test_old_conda_knows_no_virtual_packages(tmp_path):
    conda = need("old")
    root = tiny.channel(tmp_path / "ch", tiny.PACKAGES, "tar.bz2")
    assert "__glibc" in fails(conda, root, tmp_path)


def test_old_conda_reads_bz2_and_nothing_else(tmp_path):
    conda = need("old")
    root = make(tmp_path / "ch", conda)
    (root / "linux-64/repodata.json").write_text("not even JSON")
    conda.install(
        channel_url(str(root), windows=False), tmp_path / "e", *SPECS, home=tmp_path / "h"
    )
    (root / "noarch/repodata.json.bz2").unlink()
    fails(conda, root, tmp_path)


def test_old_conda_cannot_link_noarch_python_into_python_3_10(tmp_path):
    conda = need("old")
    python = tiny.Package("python", "3.10.1", files={"bin/python": tiny.PYTHON})
    packages = tuple(python if p.name == "python" else p for p in map(tiny.old, tiny.PACKAGES))
    root = tiny.channel(tmp_path / "ch", packages, "tar.bz2")
    url = channel_url(str(root), windows=False)
    conda.install(url, tmp_path / "env", "tiny-app", home=tmp_path / "home")
    wrong = tmp_path / "env/lib/python3.1/site-packages/tiny_app/hello.txt"
    assert wrong.is_file()


@pytest.mark.parametrize(
    ("spec", "works"),
    [
        ("tiny-lib", True),
        ("tiny-lib *", True),
        ("tiny-lib 2.*", True),
        ("tiny-lib 2.0 0", True),
        ("tiny-lib >=1,<3", True),
        ("tiny-lib >=1,<2|>=2,<3", True),
        ("tiny-lib >=1,!=1.5", True),
        ("tiny-lib ==2.0", True),
        ("tiny-lib 2.0 *_cp39|0", True),
        ("tiny-lib =2", False),
        ("tiny-lib =2.0=0", False),
        ("tiny-lib 2.0.*", True),
        ("tiny-lib !=1.5.*", True),
        ("tiny-lib ~=2.0", False),
        ("tiny-lib >=1, <3", False),
        ("tiny-lib[version='>=1']", False),
    ],
)
def test_which_dependencies_old_conda_understands(tmp_path, spec, works):
    conda = need("old")
    packages = (tiny.Package("tiny-lib", "2.0"), tiny.Package("tiny-app", depends=(spec,)))
    root = tiny.channel(tmp_path / "ch", packages, "tar.bz2")
    if works:
        url = channel_url(str(root), windows=False)
        conda.install(url, tmp_path / "env", "tiny-app", home=tmp_path / "home")
        assert installed(tmp_path / "env") == {"tiny-lib-2.0-0", "tiny-app-1.0-0"}
    else:
        fails(conda, root, tmp_path, "tiny-app")


def test_current_conda_wants_noarch_and_no_current_repodata(tmp_path):
    conda = need("current")
    root = make(tmp_path / "ch", conda)
    assert not (root / "noarch/current_repodata.json").exists()
    for name in ("repodata.json.bz2", "repodata.json.zst"):
        (root / "linux-64" / name).unlink()
    conda.install(
        channel_url(str(root), windows=False), tmp_path / "e", *SPECS, home=tmp_path / "h"
    )
    shutil.rmtree(root / "noarch")
    assert "noarch/repodata.json" in fails(conda, root, tmp_path)


def test_pip_is_asked_for_wherever_python_is(conda, tmp_path):
    packages = tuple(tiny.old(p) for p in tiny.PACKAGES if p.name == "python")
    root = tiny.channel(tmp_path / "ch", packages, "tar.bz2")
    assert "pip" in fails(conda, root, tmp_path, "python")


@pytest.mark.parametrize("own", ["noarch", "t", "a#b", "a?b", "a::b", "50%25", "x.conda"])
def test_current_conda_loses_channels_in_some_folders(tmp_path, own):
    conda = need("current")
    fails(conda, make(tmp_path / own, conda), tmp_path)


def test_current_conda_creates_no_environment_with_a_space_in_its_last_folder(tmp_path):
    conda = need("current")
    url = channel_url(str(make(tmp_path / "ch", conda)), windows=False)
    with pytest.raises(AssertionError, match="cannot contain"):
        conda.install(url, tmp_path / "an env", *SPECS, home=tmp_path / "home")


def test_the_user_s_lists_are_joined_to_those_of_condarc(conda, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".condarc").write_text("pkgs_dirs: [/other/pkgs]\nchannels: [file:///other]\n")
    own = "pkgs_dirs: [/own/pkgs]\nchannels: [file:///own]\ndefault_channels: []\n"
    done = conda.run("info", "--json", home=home, condarc=own)
    info = json.loads(done.stdout)
    assert info["pkgs_dirs"] == ["/own/pkgs", "/other/pkgs"]
    assert "file:///other/noarch" in info["channels"]


def test_current_conda_silently_installs_nothing_from_a_folder_with_an_at_sign(tmp_path):
    # Why install.sh compares what is there with what should be, and copies such a channel.
    conda = need("current")
    root = make(tmp_path / "a@b", conda)
    url = channel_url(str(root), windows=False)
    conda.install(url, tmp_path / "env", *SPECS, home=tmp_path / "home")
    assert installed(tmp_path / "env") == set()


def test_a_changed_channel_is_seen_though_the_clock_stood_still(conda, tmp_path):
    root, home = make(tmp_path / "ch", conda), tmp_path / "home"
    url = channel_url(str(root), windows=False)
    conda.install(url, tmp_path / "one", "tiny-data", home=home)
    noarch = root / "noarch"
    moment = (noarch / "repodata.json").stat().st_mtime
    form = "tar.bz2" if conda.age == "old" else "conda"
    newer = tiny.Package("tiny-data", "1.1", (), "noarch", "generic", files={"share/x": "x"})
    packages = (*(tiny.old(p) for p in tiny.PACKAGES if p.subdir == "noarch"), newer)
    shutil.rmtree(noarch)
    tiny.channel(root, packages, form)
    for path in noarch.glob("repodata.json*"):
        os.utime(path, (moment + 2, moment + 2))
    conda.install(url, tmp_path / "two", "tiny-data", home=home)
    assert "tiny-data-1.1-0" in installed(tmp_path / "two")


def test_the_tiny_channel_is_well_formed(tmp_path):
    root = tiny.channel(tmp_path / "ch")
    for folder in ("noarch", "linux-64"):
        plain = (root / folder / "repodata.json").read_bytes()
        assert bz2.decompress((root / folder / "repodata.json.bz2").read_bytes()) == plain
        for name, record in json.loads(plain)["packages.conda"].items():
            assert (root / folder / name).stat().st_size == record["size"]
