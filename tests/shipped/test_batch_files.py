"""The batch files, run for real by cmd: Windows' own, or wine's (``scripts/windows_python.py``).

What a batch file calls is a program made here that records its arguments and variables, because
that is where the batch file ends; ``install.py`` behind ``install.cmd`` runs as it is. robocopy and
fc are Windows' own where they can be; wine's robocopy does nothing at all and its fc knows no /b,
so there programs stand for them that do what their manuals say of the switches in use.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from repack.channel.scripts import InstallerPlan, PlatformPlan, installers, sync_scripts
from repack.fs import atomic
from repack.names import LabelName
from tests import batch, channels
from tests.carrying import content, read_as_client

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="needs cmd: Windows, or wine by scripts/windows_python.py"
)
UPDATE = Path(__file__).parents[2] / "scripts" / "update-offline-repo.cmd"
CHANNELS = "https://h.example/t/${TOKEN}/vendor https://h.example/a?b=*&c=(1)"
WINE = bool(os.environ.get("WINEPREFIX") or os.environ.get("REPACK_WINE"))


@pytest.fixture
def short():
    """A folder with a short path: wine's cmd cannot handle long lines."""
    with tempfile.TemporaryDirectory(prefix="rp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def python_folder() -> str:
    return str(Path(sys.executable).parent)


def path_with(*folders: object) -> str:
    return os.pathsep.join([*map(str, folders), batch.run("echo %PATH%").stdout.strip()])


class TestInstall:
    @staticmethod
    def channel(folder):
        """A channel whose install.py says how it was called."""
        plan = InstallerPlan(LabelName("bank"), "keep", True, {"win-64": PlatformPlan((), ())})
        for path, data in installers(plan).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        (folder / "repack/install.py").write_text(
            "import json, os, sys\n"
            "print(json.dumps([sys.argv, sys.executable, os.environ.get('CONDA_EXE')]))\n"
            "sys.exit(7)\n"
        )
        return folder

    @staticmethod
    def conda(folder, name="Scripts/conda.exe"):
        """A conda's folder with a Python in it; links share the files that Python needs."""
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
        batch.program(folder / "python.exe", "")
        return folder / name

    @pytest.mark.parametrize("name", batch.ODD)
    def test_from_and_into_folders_called_anything(self, short, name):
        root = self.channel(short / name / "ch")
        for line in ("install.cmd", f'"{root}\\install.cmd"'):
            done = batch.run(
                f'{line} --prefix "C:\\my env & (x)!" --key env:A',
                cwd=root,
                PATH=path_with(python_folder()),
            )
            assert done.returncode == 7, done.stderr
            said, python, _ = json.loads(done.stdout)
            assert said[0] == str(root / "repack/install.py")
            assert said[1:] == ["--prefix", "C:\\my env & (x)!", "--key", "env:A"]
            assert Path(python).samefile(sys.executable)

    @pytest.mark.skipif(WINE, reason="wine's cmd expands what %~dp0 gave once more")
    def test_a_per_cent_sign_is_only_a_character(self, short):
        root = self.channel(short / "100% %PATH%" / "ch")
        done = batch.run("install.cmd", cwd=root, PATH=path_with(python_folder()))
        assert json.loads(done.stdout)[0] == [str(root / "repack/install.py")]

    @pytest.mark.parametrize("name", ["mini conda (x86) & !", "plain"])
    def test_condas_own_python_is_taken(self, short, name):
        root, conda = self.channel(short / "ch"), self.conda(short / name)
        done = batch.run("install.cmd", cwd=root, CONDA_EXE=str(conda))
        assert done.returncode == 0, "this conda's Python ends with 0 whatever it is given"

    def test_a_conda_on_path_is_found_and_handed_on(self, short):
        root = self.channel(short / "ch")
        tool = short / "t (1)" / "condabin" / "conda.bat"
        tool.parent.mkdir(parents=True)
        tool.write_bytes(b"@exit /b 9\r\n")
        done = batch.run("install.cmd", cwd=root, PATH=path_with(tool.parent, python_folder()))
        assert done.returncode == 7, done.stderr
        assert json.loads(done.stdout)[2].lower() == str(tool).lower()

    def test_a_conda_in_the_usual_place_is_found(self, short):
        root, home = self.channel(short / "ch"), short / "ho me"
        self.conda(home / "miniforge3")
        done = batch.run("install.cmd", cwd=root, USERPROFILE=str(home))
        assert done.returncode == 0, done.stderr

    def test_a_conda_exe_that_is_gone_does_not_count(self, short):
        root = self.channel(short / "ch")
        done = batch.run(
            "install.cmd", cwd=root, CONDA_EXE=r"C:\gone\conda.exe", PATH=path_with(python_folder())
        )
        assert done.returncode == 7, done.stderr

    def test_without_a_python_it_says_what_to_do(self, short):
        root = self.channel(short / "ch")
        done = batch.run("install.cmd", cwd=root)
        assert done.returncode == 3
        assert "no Python 3.6 or newer" in done.stderr
        assert "CONDA_EXE" in done.stderr

    def test_an_old_python_does_not_count(self, short):
        root = self.channel(short / "ch")
        batch.program(short / "old" / "python.exe", "raise SystemExit(1)\n")
        done = batch.run("install.cmd", cwd=root, PATH=path_with(short / "old"))
        assert done.returncode == 3, done.stdout

    def test_the_real_install_py_runs(self, short):
        """Up to where it needs a conda, or finds damage."""
        plan = InstallerPlan(LabelName("bank"), "keep", True, {"win-64": PlatformPlan((), ())})
        root = channels.build(short / "b & c" / "bank")
        for path, data in installers(plan).items():
            (root / path).write_bytes(data)
        path = path_with(python_folder())
        done = batch.run('install.cmd --prefix "%TEMP%\\none"', cwd=root, PATH=path)
        assert done.returncode == 3, done.stderr
        assert "no conda, mamba or micromamba here" in done.stderr
        done = batch.run("install.cmd --uninstall --prefix .", cwd=root, PATH=path)
        assert done.returncode == 2
        assert "was not made by this installer" in done.stderr


class TestSync:
    @pytest.fixture
    def scripts(self, short):
        folder = short / "stick"
        folder.mkdir()
        for path, data in sync_scripts().items():
            (folder / path).write_bytes(data)
        (folder / "bin").mkdir()
        if WINE:
            batch.program(folder / "bin/robocopy.exe", batch.ROBOCOPY)
            batch.program(folder / "bin/fc.exe", batch.FC)
        return folder

    @staticmethod
    def sync(scripts, *arguments, **more):
        (scripts / "calls").unlink(missing_ok=True)
        line = " ".join(f'"{argument}"' for argument in arguments)
        return batch.run(
            f'"{scripts}\\sync.cmd" {line}',
            PATH=path_with_first(scripts / "bin"),
            ROBOCOPY_CALLS=str(scripts / "calls"),
            **more,
        )

    @pytest.mark.parametrize("name", ["plain", *batch.ODD])
    def test_copy_and_update(self, short, scripts, name):
        source, dest = channels.build(short / name / "a"), short / "sh" / name / "b"
        done = self.sync(scripts, source, dest, "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert content(dest) == content(source)
        channels.build(source, number=2)
        (source / "._noarch").write_bytes(b"litter")
        (dest / "System Volume Information").mkdir()
        (dest / "System Volume Information" / "x").write_bytes(b"the system's")
        done = self.sync(scripts, f"{source}\\", f"{dest}\\", "0")
        assert done.returncode == 0, done.stdout + done.stderr
        (source / "._noarch").unlink()
        (dest / "System Volume Information" / "x").unlink()
        (dest / "System Volume Information").rmdir()
        assert content(dest) == content(source)
        assert not (dest / ".repack-sync").exists()

    def test_a_whole_drive_can_be_the_destination(self, scripts, drive, tmp_path):
        source = channels.build(tmp_path / "a")
        done = self.sync(scripts, source, drive, "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert content(drive) == content(source)

    def test_refusals(self, short, scripts):
        source = channels.build(short / "a")
        assert self.sync(scripts, source).returncode == 2
        assert self.sync(scripts, short, short / "d").returncode == 2
        home = short / "ho & me"
        home.mkdir()
        (home / "thesis.odt").write_bytes(b"years")
        done = self.sync(scripts, source, home)
        assert done.returncode == 2
        assert "other things" in done.stderr
        assert content(home) == {"thesis.odt": b"years"}
        (home / "thesis.odt").unlink()
        (home / "photos").mkdir()
        assert self.sync(scripts, source, home).returncode == 2

    def test_what_a_cut_off_run_left_is_gone_on_with(self, short, scripts):
        source, dest = channels.build(short / "a"), short / "b"
        (dest / "noarch").mkdir(parents=True)
        (dest / ".repack-sync" / "win-64").mkdir(parents=True)
        (dest / ".repack-sync" / "win-64" / "repodata.json").write_bytes(b"half")
        done = self.sync(scripts, source, dest, "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert content(dest) == content(source)

    @pytest.mark.skipif(not WINE, reason="needs a robocopy that fails to order")
    @pytest.mark.parametrize(
        ("call", "code", "ends"),
        [(1, 7, 0), (1, 8, 6), (1, 16, 6), (2, 8, 6), (3, 9, 6), (3, 3, 0)],
    )
    def test_what_robocopy_ends_with(self, short, scripts, call, code, ends):
        source, dest = channels.build(short / "a"), short / "b"
        assert self.sync(scripts, source, dest, "0").returncode == 0
        channels.build(source, number=2) if code > 7 else None
        done = self.sync(scripts, source, dest, "0", ROBOCOPY_ENDS=f"{call}:{code}")
        assert done.returncode == ends, done.stdout + done.stderr
        assert ("not everything could be copied" in done.stderr) == (ends == 6)
        assert len((scripts / "calls").read_text().splitlines()) == (call if ends else 3)
        assert read_as_client(dest)

    @pytest.mark.skipif(not WINE, reason="needs a robocopy that lies")
    def test_a_difference_is_said_and_nothing_removed(self, short, scripts):
        source, dest = channels.build(short / "a"), short / "b"
        assert self.sync(scripts, source, dest, "0").returncode == 0
        channels.build(source, number=2)
        done = self.sync(scripts, source, dest, "0", ROBOCOPY_ENDS="1:1")
        assert done.returncode == 6
        assert r"run again: noarch\a-2-0.conda" in done.stderr
        assert (dest / "noarch/a-1-0.conda").exists()


def path_with_first(folder: Path) -> str:
    return f"{folder}{os.pathsep}{path_with()}"


@pytest.fixture
def drive(short):
    """A drive that is an empty folder, as subst makes it; below wine the one that was made for it."""
    if WINE:
        root = Path("Q:\\")
        if not root.is_dir():
            pytest.skip("this wine has no drive Q:")
        for path in root.iterdir():
            atomic.remove(path)
        yield root
        return
    define = ctypes.windll.kernel32.DefineDosDeviceW
    assert define(0, "Q:", str(short))
    yield Path("Q:\\")
    assert define(2, "Q:", None)


class TestUpdate:
    """Only the call: tests/scripts/test_seeds.py has the rest, which Python does."""

    @staticmethod
    def update(short, *arguments, **more):
        recorder = batch.program(short / "bin & x" / "repack.exe", batch.RECORDER)
        scripts = short / "to ols & (x)"
        scripts.mkdir(exist_ok=True)
        for name in (UPDATE.name, "update_offline_repo.py", "repackenv.py"):
            shutil.copy(UPDATE.with_name(name), scripts)
        variables = {"REPACK_CHANNELS": CHANNELS, "SEEN": str(short / "seen"), "ENDS": "4"}
        (short / "tm p").mkdir(exist_ok=True)
        line = " ".join(f'"{argument}"' for argument in arguments)
        return batch.run(
            f'"{scripts / UPDATE.name}" {line}',
            PATH=path_with_first(recorder.parent),
            PYTHON=sys.executable,
            TEMP=str(short / "tm p"),
            **{name: value for name, value in {**variables, **more}.items() if value},
        )

    def test_the_label_says_what_was_asked_for_and_not_the_token(self, short):
        root = short / "out (1) & dir"
        wanted = ["ratingpro", "pytho >=4.1", "it's[build='a|b']", "x!=1"]
        done = self.update(short, "halk", "tk-s3cret", root, *wanted)
        assert done.returncode == 4, done.stdout + done.stderr
        text = (short / "seen/labels/halk.json").read_text(encoding="utf-8")
        assert json.loads(text) == {
            "label": "halk",
            "channels": CHANNELS.split(),
            "platforms": {"win-64": {}},
            "packages": wanted,
        }
        said = json.loads((short / "seen/said.json").read_text())
        assert said["arguments"][:4] == ["label", "halk", "--channels-dir", str(root)]
        assert said["env"]["TOKEN"] == "tk-s3cret"
        assert "tk-s3cret" not in text
        assert not list((short / "tm p").iterdir())

    def test_channels_in_folders_of_this_machine(self, short):
        here = r"C:\Kanäle\(日本)&x"
        assert self.update(short, "halk", "-", "out", "a", REPACK_CHANNELS=here).returncode == 4
        label = json.loads((short / "seen/labels/halk.json").read_text(encoding="utf-8"))
        assert label["channels"] == [here]

    def test_a_repack_that_is_a_batch_file_comes_back(self, short):
        tool = short / "a & ^b" / "repack.cmd"
        tool.parent.mkdir()
        tool.write_bytes(b"@exit /b 5\r\n")
        done = self.update(short, "halk", "-", "out", "a", REPACK=str(tool))
        assert done.returncode == 5
        assert not list((short / "tm p").iterdir())

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((), "usage"),
            (("halk", "tok", "out"), "usage"),
            (("../halk", "tok", "out", "a"), "label name"),
            (("", "tok", "out", "a"), "label name"),
        ],
    )
    def test_wrong_use_is_said(self, short, arguments, says):
        done = self.update(short, *arguments)
        assert done.returncode == 2
        assert says in done.stderr
        assert not (short / "seen").exists()

    def test_without_channels_the_settings_file_is_made(self, short):
        done = self.update(short, "halk", "tok", "out", "a", REPACK_CHANNELS="")
        assert done.returncode == 2
        assert "update-offline-repo.conf" in done.stderr
        assert (short / "to ols & (x)" / "update-offline-repo.conf").is_file()
