"""The installers without a real conda: a shell script stands where conda would.

What real condas make of them is in tests/test_clients.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.archive.path_length import PathLengths
from repack.channel.scripts import (
    InstallerPlan,
    PackedEnvironment,
    PlatformPlan,
    install_cmd,
    install_sh,
    installers,
    unpack_sh,
)
from repack.cli.main import run
from repack.errors import UsageError
from repack.names import LabelName
from repack.urls import channel_url
from tests.clients import environment
from tests.world import World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs POSIX shells")
PACKAGES = ("app-1.0-0", "lib-1!2.0+x-h_1", "pip-24.0-py_0")
PLATFORM = "linux-64" if sys.platform == "linux" else "osx-64"
PLAN = InstallerPlan(
    LabelName("halkbank"), "keep", True, {PLATFORM: PlatformPlan(("app=1.0=0",), PACKAGES)}
)
# Stands for conda: notes how it was called, then "installs" what FAKE_INSTALLS names.
STAND_IN = """#!/bin/sh
{ printf '%s\\n' "$@"; echo --; env; } >> "$FAKE_LOG"
while [ "$1" != --prefix ]; do shift; done
for dist in $FAKE_INSTALLS; do echo '{}' > "$2/conda-meta/$dist.json"; done
exit "${FAKE_EXIT:-0}"
"""


def programs():
    """``install.py`` and what it imports from beside itself."""
    data = Path(__file__).parents[2] / "repack/shipped"
    for name in ("install_folders", "installed_paths", "install"):
        spec = importlib.util.spec_from_file_location(name, data / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        finally:
            if name == "install":
                for loaded in ("install", "install_folders", "installed_paths"):
                    del sys.modules[loaded]
        yield module


FOLDERS, PATHS, INSTALL = programs()


def channel(root: Path, plan: InstallerPlan = PLAN) -> Path:
    for path, data in installers(plan).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    for name in ("noarch", PLATFORM):
        (root / name).mkdir()
        (root / name / "repodata.json").write_text("{}")
    return root


@pytest.fixture
def fake(tmp_path):
    conda = tmp_path / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(STAND_IN)
    conda.chmod(0o755)
    return conda


def start(root: Path, conda: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    home = conda.parent.parent / "home"
    home.mkdir(exist_ok=True)
    given = {
        "CONDA_EXE": str(conda),
        "FAKE_LOG": str(home / "log"),
        "FAKE_INSTALLS": " ".join(PACKAGES),
        **more,
    }
    return subprocess.run(
        ["sh", str(root / "install.sh"), *arguments],
        env=environment(home, **given),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_same_label_gives_the_same_files():
    shuffled = InstallerPlan(
        LabelName("halkbank"),
        "keep",
        True,
        {PLATFORM: PlatformPlan(("app=1.0=0",), tuple(reversed(PACKAGES)))},
    )
    assert installers(shuffled) == installers(PLAN)
    assert set(installers(PLAN)) == {
        "install.sh",
        "install.cmd",
        "repack/install.py",
        "repack/install_folders.py",
        "repack/installed_paths.py",
        "repack/install.json",
    }


def test_cmd_is_ascii_with_windows_line_ends_and_no_powershell():
    data = install_cmd(PLAN)
    assert data.isascii()
    assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
    text = data.decode()
    assert "label halkbank" in text
    assert "DisableDelayedExpansion" in text
    commands = [line for line in text.splitlines() if not line.startswith("rem ")]
    assert not any("powershell" in line.lower() for line in commands)
    # A path of the user's outside quotes would break at a space, `&` or `)`; in `call` it would
    # be expanded twice.
    for line in commands:
        assert not re.search(r"\bcall\b", line)
        outside = re.sub(r'"[^"]*"', "", line)
        assert not re.search(r"%~dp0|%[A-Z_]+%|%%~", outside.replace("%errorlevel%", "")), line


def test_every_jump_of_cmd_has_a_target():
    text = install_cmd(PLAN).decode()
    targets = set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert set(re.findall(r"goto (\w+)", text)) == targets


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_sh_is_plain_posix(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tmp_path / "install.sh"
    script.write_bytes(install_sh(PLAN))
    command = [shell, "sh"] if shell == "busybox" else [shell]
    subprocess.run([*command, "-n", str(script)], check=True)


def test_shellcheck_finds_nothing(tmp_path):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    environment = PackedEnvironment(PLAN.label, 1, "a.tar.gz", "0" * 64, "/opt/x", ("a b", "it's"))
    for name, data in (("install.sh", install_sh(PLAN)), ("unpack.sh", unpack_sh(environment))):
        script = tmp_path / name
        script.write_bytes(data)
        words = ["shellcheck", str(script)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_program_needs_no_newer_python_than_3_6():
    import ast

    for name in ("install.py", "install_folders.py", "installed_paths.py"):
        source = installers(PLAN)[f"repack/{name}"].decode()
        assert ast.parse(source, feature_version=(3, 6))


PART = st.text(
    st.characters(exclude_characters='/\\\x00:*?"<>|', exclude_categories=("Cs",)), min_size=1
) | st.sampled_from(["t", "noarch", "Linux-64", "a.conda", "b.tar.bz2", "c d", "ä#%+!"])


@given(st.lists(PART))
def test_its_urls_are_the_library_s(parts):
    for path, windows in (
        ("/" + "/".join(parts), False),
        ("c:\\" + "\\".join(parts), True),
        ("\\\\srv\\share\\" + "\\".join(parts), True),
        ("\\\\?\\UNC\\srv\\share\\" + "\\".join(parts), True),
        ("\\\\?\\c:\\" + "\\".join(parts), True),
    ):
        try:
            url = channel_url(path, windows=windows)
        except UsageError:
            continue
        assert INSTALL.channel_url(path, windows) == url


@pytest.mark.parametrize(
    ("path", "windows", "verdict"),
    [
        ("/a#b/c d ä+!%", False, True),
        ("/c/a#b", False, False),
        ("/c/a@b", False, False),
        ("/c/50%25", False, False),
        ("/c/t", False, False),
        ("/c/noarch", False, False),
        ("/c/x.conda", False, False),
        ("C:\\a#b\\c", True, True),
        ("C:\\a\\c#", True, False),
        ("\\\\srv\\a#b\\c", True, False),
        ("\\\\srv\\a b\\c", True, True),
    ],
)
def test_which_folders_conda_finds_again(path, windows, verdict):
    assert INSTALL.survives(path, windows) is verdict


def test_it_installs_into_an_environment_that_stays_offline(tmp_path, fake):
    root = channel(tmp_path / "my channel ü")
    prefix = tmp_path / "an env"
    done = start(root, fake, "--prefix", str(prefix), CONDA_CHANNELS="evil", CONDA_OVERRIDE_CUDA="")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{prefix}\n"
    log = (tmp_path / "home" / "log").read_text()
    arguments, variables = (part.splitlines() for part in log.split("\n--\n", 1))
    url = channel_url(str(root), windows=False)
    assert arguments == [
        *("install", "--offline", "--yes", "--prefix", str(prefix)),
        *("--override-channels", "--channel", url, "app=1.0=0"),
    ]
    assert "CONDA_OVERRIDE_CUDA=" in variables
    assert not any(line.startswith("CONDA_CHANNELS") for line in variables)
    assert "HTTPS_PROXY=http://127.0.0.1:9" in variables
    assert f"CONDARC={prefix}/.condarc" in variables
    condarc = (prefix / ".condarc").read_text()
    assert f'channels: ["{url}"]\n' in condarc
    assert "default_channels: []\noffline: true\nadd_pip_as_python_dependency: true\n" in condarc
    assert not (prefix / INSTALL.UNFINISHED).exists()


def test_condarc_is_yaml_and_says_the_label_s_options():
    from ruamel.yaml import YAML

    text = INSTALL.condarc("file:///x", {"add_pip": False, "package_format": "tar.bz2"})
    settings = YAML(typ="safe").load(text)
    assert settings["channels"] == ["file:///x"]
    assert settings["add_pip_as_python_dependency"] is False
    assert settings["use_only_tar_bz2"] is True
    assert settings["plugins"] == {"use_sharded_repodata": False}


def test_a_folder_conda_cannot_name_is_copied(tmp_path, fake):
    prefix = tmp_path / "env"
    done = start(channel(tmp_path / "a#b"), fake, "--prefix", str(prefix))
    assert done.returncode == 0, done.stderr
    copy = prefix / ".repack" / "channel"
    assert {path.name for path in copy.iterdir()} == {"noarch", PLATFORM}
    assert channel_url(str(copy), windows=False) in (prefix / ".condarc").read_text()


def test_the_default_prefix_is_one_of_conda_s(tmp_path, fake):
    done = start(channel(tmp_path / "ch"), fake)
    assert done.stdout == f"{tmp_path}/home/.conda/envs/halkbank\n"


def test_what_conda_left_out_is_asked_for_by_name(tmp_path, fake):
    done = start(
        channel(tmp_path / "ch"), fake, "--prefix", str(tmp_path / "e"), FAKE_INSTALLS="app-1.0-0"
    )
    assert done.returncode == 7
    assert "missing ['lib-1!2.0+x-h_1', 'pip-24.0-py_0']" in done.stderr
    assert "lib=1!2.0+x=h_1\npip=24.0=py_0\n" in (tmp_path / "home/log").read_text()
    assert not (tmp_path / "e").exists()


def test_what_nobody_asked_for_fails(tmp_path, fake):
    more = " ".join([*PACKAGES, "evil-1-0"])
    done = start(
        channel(tmp_path / "ch"), fake, "--prefix", str(tmp_path / "e"), FAKE_INSTALLS=more
    )
    assert done.returncode == 7
    assert "not asked for ['evil-1-0']" in done.stderr


def test_a_failing_conda_leaves_nothing(tmp_path, fake):
    done = start(channel(tmp_path / "ch"), fake, "--prefix", str(tmp_path / "e"), FAKE_EXIT="1")
    assert done.returncode == 1
    assert not (tmp_path / "e").exists()
    assert "Traceback" not in done.stderr


def test_an_environment_is_only_updated_when_asked(tmp_path, fake):
    root, prefix = channel(tmp_path / "ch"), str(tmp_path / "e")
    assert start(root, fake, "--prefix", prefix).returncode == 0
    again = start(root, fake, "--prefix", prefix)
    assert again.returncode == 2
    assert "--update" in again.stderr
    assert start(root, fake, "--prefix", prefix, "--update").returncode == 0
    failed = start(root, fake, "--prefix", prefix, "--update", FAKE_EXIT="1")
    assert failed.returncode == 1
    assert (tmp_path / "e" / "conda-meta" / "app-1.0-0.json").is_file()


def test_a_folder_in_use_is_left_alone(tmp_path, fake):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mine").write_text("x")
    done = start(channel(tmp_path / "ch"), fake, "--prefix", str(tmp_path / "e"))
    assert done.returncode == 2
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["mine"]


def test_an_installation_cut_short_starts_again(tmp_path, fake):
    prefix = tmp_path / "e"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "half").write_text("x")
    (prefix / INSTALL.UNFINISHED).write_text("")
    done = start(channel(tmp_path / "ch"), fake, "--prefix", str(prefix))
    assert done.returncode == 0
    assert not (prefix / "half").exists()


@pytest.mark.parametrize(("code", "expected"), [(6, 6), (2, 2), (1, 2)])
def test_nothing_is_installed_from_a_channel_that_does_not_verify(tmp_path, fake, code, expected):
    root = channel(tmp_path / "ch")
    (root / "repack" / "verify.py").write_text(f"import sys\nsys.exit({code})\n")
    done = start(root, fake, "--prefix", str(tmp_path / "e"))
    assert done.returncode == expected
    assert not (tmp_path / "home" / "log").exists()


def test_the_key_reaches_the_checker(tmp_path, fake):
    root = channel(tmp_path / "ch")
    (root / "repack" / "verify.py").write_text("import sys\nprint(sys.argv[1:])\n")
    done = start(root, fake, "--prefix", str(tmp_path / "e"), "--key", "env:K")
    assert done.returncode == 0
    assert (
        str([str(root), "--key", "env:K", "--require-signature", "--tidy", "--json"]) in done.stderr
    )


def test_no_checker_is_said_and_fails_where_a_key_is_given(tmp_path, fake):
    root = channel(tmp_path / "ch")
    assert "not checked" in start(root, fake, "--prefix", str(tmp_path / "e")).stderr
    assert start(root, fake, "--prefix", str(tmp_path / "f"), "--key", "env:K").returncode == 6


def test_a_channel_for_other_machines_says_so(tmp_path, fake):
    foreign = InstallerPlan(LabelName("x"), "keep", True, {"zos-z": PlatformPlan((), ())})
    done = start(channel(tmp_path / "ch", foreign), fake)
    assert done.returncode == 2
    assert f"for zos-z, not for {PLATFORM}" in done.stderr


def test_no_conda_is_said(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name))
    # Not a link: a Python that is started by a link does not find its virtual environment.
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    (tools / "python3").chmod(0o755)
    root = channel(tmp_path / "ch")
    variables = {"HOME": str(tmp_path), "PATH": str(tools)}
    if any(Path("/opt").glob("*conda*/bin/conda")):
        pytest.skip("a conda stands in /opt")
    for gone in (None, tools / "python3"):
        if gone:
            gone.unlink()
        command = [str(tools / "sh"), str(root / "install.sh")]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "Miniconda" in done.stderr


def test_mamba_is_called_its_own_way(tmp_path, fake):
    mamba = fake.rename(fake.with_name("micromamba"))
    done = start(channel(tmp_path / "ch"), mamba, "--prefix", str(tmp_path / "e"))
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "home" / "log").read_text()
    assert log.startswith("install\n--no-rc\n--yes\n")
    assert "--offline" not in log
    assert f"CONDA_PKGS_DIRS={tmp_path}/e/pkgs\n" in log


def test_the_plan_is_what_conda_4_3_can_read():
    plan = json.loads(installers(PLAN)["repack/install.json"])
    assert plan["subdirs"][PLATFORM] == {
        "specs": ["app=1.0=0"],
        "packages": sorted(PACKAGES),
        "installed": {},
    }
    assert plan["label"] == "halkbank"


def held(error: OSError, code: int) -> OSError:
    """As Windows says it."""
    error.winerror = code
    return error


def test_what_a_scanner_holds_is_tried_again():
    fails = [held(PermissionError("held"), code) for code in (5, 32, 33)]

    def rename(*given):
        if fails:
            raise fails.pop()
        return given

    assert FOLDERS.patiently(rename, "a", "b", waits=(0, 0, 0)) == ("a", "b")
    fails = [held(PermissionError("held"), 32) for _ in range(3)]
    with pytest.raises(PermissionError):
        FOLDERS.patiently(rename, "a", waits=(0, 0))
    fails = [OSError("another"), FileNotFoundError("gone")]
    with pytest.raises(FileNotFoundError):
        FOLDERS.patiently(rename, "a", waits=(0,))
    assert len(fails) == 1, "what nobody holds fails at once"


LINKED = "Lib/" + "x" * 90
CACHED = f"pkgs/a-1-0/{LINKED}"
REACH = PathLengths(CACHED, LINKED, 258 - len(CACHED), 258 - len(LINKED))


@pytest.mark.parametrize("letter", ["a", "\U0001f600"])
def test_the_longest_path_must_fit_below_the_prefix(letter):
    plan = InstallerPlan(LabelName("x"), "keep", True, {"win-64": PlatformPlan((), (), REACH)})
    paths = json.loads(installers(plan)["repack/install.json"])["subdirs"]["win-64"]["paths"]
    most = 259 - 1 - len(CACHED)
    size = len(letter.encode("utf-16-le")) // 2
    fits = "C:\\" + "b" * ((most - 3) % size) + letter * ((most - 3) // size)
    assert FOLDERS.too_long(fits, paths) is None
    said = FOLDERS.too_long(fits + "b", paths)
    assert f"{most + 1} characters, and {most} is the most for pkgs/a-1-0/Lib/" in said
    linked = {**paths, "longest_prefix": 20}
    assert paths["linked"] in FOLDERS.too_long(fits, linked)


def test_a_prefix_that_is_too_long_is_refused_before_anything_is_made(tmp_path, fake):
    assert FOLDERS.long_paths_enabled() is False
    here = InstallerPlan(
        LabelName("x"), "keep", True, {PLATFORM: PlatformPlan(("app=1.0=0",), PACKAGES, REACH)}
    )
    prefix = tmp_path / ("e" * 200)
    done = start(channel(tmp_path / "ch", here), fake, "--prefix", str(prefix))
    assert done.returncode == 2
    assert "take a shorter --prefix" in done.stderr
    assert "LongPathsEnabled" in done.stderr
    assert not prefix.exists()


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("\\\\srv\\share\\ch", True),
        ("//srv/share/ch", True),
        ("\\\\?\\UNC\\srv\\share", True),
        ("\\\\?\\C:\\ch", False),
        ("C:\\ch", False),
    ],
)
def test_what_a_share_is(path, verdict):
    assert FOLDERS.on_share(path, windows=True) is verdict
    assert FOLDERS.on_share(path, windows=False) is False


def test_a_copy_is_whole_or_the_one_before(tmp_path):
    root, copy = channel(tmp_path / "ch"), tmp_path / "copy"
    digest = hashlib.sha256(b"{}").hexdigest()
    listing = {"files": [{"path": "noarch/repodata.json", "sha256": digest}]}
    (root / "repack/integrity.json").write_text(json.dumps(listing))
    (root / "noarch/folder").mkdir()
    assert FOLDERS.copy_channel(str(root), str(copy), ("noarch", PLATFORM)) is None
    files = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*.json"))
    assert files == sorted(["noarch/repodata.json", f"{PLATFORM}/repodata.json"])
    (root / "noarch/repodata.json").write_text("[]")
    (tmp_path / "copy.new/left").mkdir(parents=True)
    said = FOLDERS.copy_channel(str(root), str(copy), ("noarch",))
    assert said == "noarch/repodata.json"
    assert (copy / "noarch/repodata.json").read_text() == "{}"
    assert not (tmp_path / "copy.new").exists()
    (root / "noarch/repodata.json").write_text("{}")
    assert FOLDERS.copy_channel(str(root), str(copy), ("noarch",)) is None
    assert [path.name for path in copy.iterdir()] == ["noarch"]


def test_a_copy_that_is_not_what_was_released_is_not_installed_from(tmp_path, fake):
    root = channel(tmp_path / "a#b")
    listing = {"files": [{"path": "noarch/repodata.json", "sha256": "0" * 64}]}
    (root / "repack/integrity.json").write_text(json.dumps(listing))
    done = start(root, fake, "--prefix", str(tmp_path / "e"))
    assert done.returncode == 6
    assert "noarch/repodata.json" in done.stderr
    assert not (tmp_path / "e").exists()


def test_what_it_made_it_removes(tmp_path, fake):
    root, prefix = channel(tmp_path / "ch"), tmp_path / "an env ü"
    assert start(root, fake, "--prefix", str(prefix)).returncode == 0
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    (prefix / "link").symlink_to(elsewhere)
    done = start(root, fake, "--prefix", str(prefix), "--uninstall")
    assert (done.returncode, done.stdout) == (0, f"{prefix}\n"), done.stderr
    assert not prefix.exists()
    assert (elsewhere / "kept").read_text() == "x"
    again = start(root, fake, "--prefix", str(prefix), "--uninstall")
    assert again.returncode == 2
    assert "no environment" in again.stderr
    assert start(root, fake, "--update", "--uninstall").returncode == 2


def test_what_was_left_of_an_installation_is_removed(tmp_path, fake):
    prefix = tmp_path / "e"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / INSTALL.UNFINISHED).write_text("")
    done = start(channel(tmp_path / "ch"), fake, "--prefix", str(prefix), "--uninstall")
    assert done.returncode == 0
    assert not prefix.exists()


def foreign(prefix: Path) -> str:
    (prefix / INSTALL.MADE).unlink()
    return "not made by this installer"


def updated(prefix: Path) -> str:
    # an environment of the user's, which --update filled: it has our .condarc, but not our mark
    (prefix / INSTALL.MADE).write_text("null")
    return "not made by this installer"


def another_label(prefix: Path) -> str:
    (prefix / INSTALL.MADE).write_text('{"label": "other"}')
    return "environment of other, not of halkbank"


def base(prefix: Path) -> str:
    (prefix / "envs/mine").mkdir(parents=True)
    return "other environments"


@pytest.mark.parametrize("change", [foreign, updated, another_label, base])
def test_what_is_not_its_own_stays(tmp_path, fake, change):
    root, prefix = channel(tmp_path / "ch"), tmp_path / "e"
    assert start(root, fake, "--prefix", str(prefix)).returncode == 0
    says = change(prefix)
    before = sorted(prefix.rglob("*"))
    done = start(root, fake, "--prefix", str(prefix), "--uninstall")
    assert done.returncode == 2
    assert says in done.stderr
    assert sorted(prefix.rglob("*")) == before


def test_a_channel_in_the_environment_is_not_removed_with_it(tmp_path, fake):
    root, prefix = channel(tmp_path / "ch"), tmp_path / "e"
    assert start(root, fake, "--prefix", str(prefix)).returncode == 0
    moved = prefix / "ch"
    root.rename(moved)
    done = start(moved, fake, "--prefix", str(prefix), "--uninstall")
    assert done.returncode == 2
    assert "is in use" in done.stderr
    assert (moved / "install.sh").is_file()


def test_an_environment_of_the_user_s_is_updated_but_not_taken_over(tmp_path, fake):
    prefix = tmp_path / "e"
    (prefix / "conda-meta").mkdir(parents=True)
    root = channel(tmp_path / "ch")
    assert start(root, fake, "--prefix", str(prefix), "--update").returncode == 0
    assert start(root, fake, "--prefix", str(prefix), "--uninstall").returncode == 2
    assert (prefix / "conda-meta/app-1.0-0.json").is_file()


def test_other_releases_on_a_medium_are_no_fault(tmp_path):
    world = World(tmp_path, {"platforms": {"linux-64": {}}})
    world.build()
    world.build(packages=["tiny-lib"])
    stick = tmp_path / "the stick"
    for release in ("1", "2"):
        folders = ["--channels-dir", str(world.channels), "--labels-dir", str(world.labels)]
        folders += ["--store", str(world.store)]
        assert run(["medium", "bank", str(stick), "--release", release, *folders]) == 0
    said = subprocess.run(
        [sys.executable, str(stick / "bank/repack/verify.py"), "--json"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert said.returncode == 0
    assert json.loads(said.stdout)["problems"] == []
    (stick / "bank/noarch/stray.conda").write_bytes(b"x")
    (stick / "bank/install.sh").write_bytes(b"x")
    said = subprocess.run([*said.args], capture_output=True, check=False, text=True)
    assert len(json.loads(said.stdout)["problems"]) == 2


def with_health_check(root: Path, *command: str) -> Path:
    document = {"target": {"health_check": list(command)}}
    (root / "repack/manifest.json").write_text(json.dumps(document))
    return root


def test_the_health_check_runs_in_the_environment(tmp_path, fake):
    command = ("sh", "-c", 'echo said by it; echo "$CONDA_PREFIX:$PATH" > seen; pwd >> seen')
    root, prefix = with_health_check(channel(tmp_path / "ch"), *command), tmp_path / "an env"
    done = start(root, fake, "--prefix", str(prefix))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{prefix}\n", "what the check says is none of the result"
    assert "said by it" in done.stderr
    assert "Done: the environment is what was released, and its health check passed." in done.stderr
    path, folder = (prefix / "seen").read_text().splitlines()
    assert path.startswith(f"{prefix}:{prefix}/bin:")
    assert folder == str(prefix)
    assert not (prefix / INSTALL.UNFINISHED).exists()


@pytest.mark.parametrize(
    ("command", "text"),
    [(("sh", "-c", "exit 3"), "it ended with 3"), (("no-such-program",), "there is no program")],
)
def test_a_health_check_that_fails_leaves_nothing(tmp_path, fake, command, text):
    root, prefix = with_health_check(channel(tmp_path / "ch"), *command), tmp_path / "e"
    done = start(root, fake, "--prefix", str(prefix))
    assert done.returncode == 7
    assert f"error: the health check failed: {text}" in done.stderr
    assert done.stdout == ""
    assert not prefix.exists()
    done = start(root, fake, "--prefix", str(prefix), "--no-health-check")
    assert done.returncode == 0, done.stderr
    assert "its health check was skipped" in done.stderr
    done = start(root, fake, "--prefix", str(prefix), "--update")
    assert done.returncode == 7
    assert "updated all the same" in done.stderr
    assert (prefix / "conda-meta").is_dir(), "what was there is not removed"


def test_one_json_document_at_the_end(tmp_path, fake):
    root, prefix = with_health_check(channel(tmp_path / "ch"), "sh", "-c", "echo x"), tmp_path / "e"
    done = start(root, fake, "--prefix", str(prefix), "--json")
    assert json.loads(done.stdout) == {
        "status": "ok",
        "code": 0,
        "prefix": str(prefix),
        "health_check": "passed",
        "error": None,
    }
    done = start(root, fake, "--prefix", str(prefix), "--json")
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert (said["status"], said["code"], said["prefix"]) == ("error", 2, None)
    assert "--update" in said["error"]


def test_what_is_to_be_typed_is_quoted(tmp_path, fake):
    prefix = tmp_path / "it's an env & more"
    done = start(channel(tmp_path / "ch"), fake, "--prefix", str(prefix))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "conda activate" in line]
    assert shlex.split(line) == ["conda", "activate", str(prefix)]
