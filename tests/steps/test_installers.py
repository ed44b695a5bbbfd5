"""The installers without a real conda: a shell script stands where conda would.

What real condas make of them is in tests/test_clients.py.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import UsageError
from repack.model.names import LabelName
from repack.model.urls import channel_url
from repack.steps.installers import InstallPlan, PlatformPlan, install_cmd, install_sh, installers
from tests.clients import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs POSIX shells")
PACKAGES = ("app-1.0-0", "lib-1!2.0+x-h_1", "pip-24.0-py_0")
PLATFORM = "linux-64" if sys.platform == "linux" else "osx-64"
PLAN = InstallPlan(
    LabelName("halkbank"), "keep", True, {PLATFORM: PlatformPlan(("app=1.0=0",), PACKAGES)}
)
# Stands for conda: notes how it was called, then "installs" what FAKE_INSTALLS names.
STAND_IN = """#!/bin/sh
{ printf '%s\\n' "$@"; echo --; env; } >> "$FAKE_LOG"
while [ "$1" != --prefix ]; do shift; done
for dist in $FAKE_INSTALLS; do echo '{}' > "$2/conda-meta/$dist.json"; done
exit "${FAKE_EXIT:-0}"
"""


def program():
    spec = importlib.util.spec_from_file_location(
        "install_py", Path(__file__).parents[2] / "repack/data/install.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INSTALL = program()


def channel(root: Path, plan: InstallPlan = PLAN) -> Path:
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
    shuffled = InstallPlan(
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
    script = tmp_path / "install.sh"
    script.write_bytes(install_sh(PLAN))
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_program_needs_no_newer_python_than_3_6():
    import ast

    source = installers(PLAN)["repack/install.py"].decode()
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
    assert str([str(root), "--key", "env:K", "--require-signature"]) in done.stderr


def test_no_checker_is_said_and_fails_where_a_key_is_given(tmp_path, fake):
    root = channel(tmp_path / "ch")
    assert "not checked" in start(root, fake, "--prefix", str(tmp_path / "e")).stderr
    assert start(root, fake, "--prefix", str(tmp_path / "f"), "--key", "env:K").returncode == 6


def test_a_channel_for_other_machines_says_so(tmp_path, fake):
    foreign = InstallPlan(LabelName("x"), "keep", True, {"zos-z": PlatformPlan((), ())})
    done = start(channel(tmp_path / "ch", foreign), fake)
    assert done.returncode == 2
    assert f"for zos-z, not for {PLATFORM}" in done.stderr


def test_no_conda_is_said(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").symlink_to(sys.executable)
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
    assert plan["subdirs"][PLATFORM] == {"specs": ["app=1.0=0"], "packages": sorted(PACKAGES)}
    assert plan["label"] == "halkbank"
