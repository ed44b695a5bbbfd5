"""From the vendor to the target and back, by the commands that people type, without network.

Every command is a process of its own. The releases are signed with development keys; the target
knows the vendor's first root and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.agent.bank import toml
from tests.deltas import model
from tests.world import World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and POSIX commands")
PACKAGE_ROOT = Path(__file__).parents[1]
MANIFEST = "share/repack/bank/manifest.json"
NOT_2 = ["sh", "-c", f'! grep -q \'"version": "2"\' {MANIFEST}']


def cut() -> list[str]:
    """What takes the network away from a command, where this machine lets us."""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    return []


CUT = cut()


class Company:
    """A vendor, what is carried, and a target; all commands without network."""

    def __init__(self, root: Path, after_install: str = "restart") -> None:
        self.root = root
        self.world = World(root / "vendor ü", {"platforms": {"linux-64": {}}})
        self.world.label |= {"signing": {"keys": "keys/bank"}, "after_install": after_install}
        self.stick = root / "the stick"
        self.site = root / "site"
        self.config = self.site / "repack.toml"
        self.site.mkdir()
        self.configure()

    def configure(self, **sections: dict[str, object]) -> None:
        given = {
            "provision": {"label": "bank", "type": "ci", "platform": "linux-64"},
            "storage": {"root": str(self.site / "opt"), "keep": 3},
            "log": {"path": str(self.site / "log")},
            "trust": {"root": "root.json"},
            **sections,
        }
        self.config.write_text(toml(given))

    def repack(self, *arguments: object, code: int = 0) -> dict[str, object]:
        """Run a command, which must end with ``code``; its JSON."""
        done = subprocess.run(
            [*CUT, sys.executable, "-m", "repack", *map(str, arguments), "--json"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.root,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.root),
                "PYTHONPATH": str(PACKAGE_ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LC_ALL": "C.UTF-8",
            },
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)

    def vendor(self, command: str, *arguments: object) -> dict[str, object]:
        """A command of the vendor's, with all three folders."""
        world = self.world
        folders = ["--labels-dir", world.labels, "--channels-dir", world.channels]
        return self.repack(*command.split(), *arguments, *folders, "--store", world.store)

    def release(self, number: int) -> None:
        """Build release ``number``; each brings another version of the same packages."""
        self.world.serve(*tiny.PACKAGES, model(number))
        self.world.write(packages=["tiny-data", "pip", "tiny-model"])
        built = self.vendor("label", "bank", "--update")
        assert (built["release"], built["changed"]) == (number, True)

    def delta(self, old: int, new: int, channel: Path) -> None:
        """Carry ``new`` as a delta to where ``old`` is."""
        file = self.root / f"{old}-{new}.delta.tar.zst"
        self.vendor("delta create", "bank", "--from", old, "--to", new, "-o", file)
        applied = self.repack("delta", "apply", channel, file)
        assert (applied["from"], applied["release"]) == (str(old), str(new))

    def target(self, command: str, *arguments: object, code: int = 0) -> dict[str, object]:
        return self.repack("target", command, *arguments, "--config", self.config, code=code)

    def install(self, code: int = 101) -> dict[str, object]:
        return self.target("install", "--src-dir", self.stick, code=code)

    def runs(self, number: int) -> None:
        """See that release ``number`` is in use, and whole."""
        assert self.target("status")["in_use"] == number
        assert self.target("check")["in_use"] == number
        current = self.site / "opt/bank/current"
        assert json.loads((current / MANIFEST).read_bytes())["version"] == str(number)
        assert (current / "share/model/version").read_text() == f"{number}\n"


@pytest.fixture
def company(tmp_path):
    return Company(tmp_path)


def test_there_and_back(company):
    company.release(1)
    company.vendor("medium", "bank", company.stick)
    shutil.copy(company.stick / "bank/repack/metadata/1.root.json", company.site / "root.json")
    company.install()
    company.target("run")
    company.runs(1)

    company.release(2)
    company.delta(1, 2, company.stick / "bank")
    company.repack("verify", company.stick / "bank", "--require-signature")
    company.configure(health={"command": NOT_2})
    company.install()
    company.runs(1)
    assert company.target("run", code=110)["error"] == "rolled-back"
    company.runs(1)
    assert company.target("install", "--src-dir", company.stick, code=6)["error"]

    company.release(3)
    company.delta(2, 3, company.stick / "bank")
    company.install()
    company.target("run")
    company.runs(3)
    company.target("rollback", code=101)
    company.target("run")
    company.runs(1)
    company.target("rollback", code=21)


@pytest.mark.slow
def test_a_stick_with_two_releases_takes_a_delta_for_the_newer_one(company):
    for number in (1, 2):
        company.release(number)
        company.vendor("medium", "bank", company.stick)
    channel = company.stick / "bank"
    shutil.copy(channel / "repack/metadata/1.root.json", company.site / "root.json")
    company.target("install", "--src-dir", company.stick, "--name", "1", code=101)
    company.target("run")
    company.runs(1)

    company.release(3)
    company.delta(2, 3, channel)
    assert not list(channel.glob("repack/releases/*/repack")), "one release, as a channel has"
    company.repack("verify", channel, "--require-signature")
    verifier = [sys.executable, company.stick / "verify.py"]
    done = subprocess.run(verifier, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    company.install()
    company.target("run")
    company.runs(3)
    assert company.vendor("medium", "bank", company.stick)["release"] == 3
    company.repack("verify", channel, "--require-signature")
