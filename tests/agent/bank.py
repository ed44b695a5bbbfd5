"""A vendor with signed channels and a target that takes releases from them, in one folder."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from repack.agent.context import AgentContext
from repack.cli.main import run
from tests.world import World, snapshot

SIGNING = {"keys": "keys/bank"}


@dataclass
class Bank:
    """``releases`` are built once; the target reads copies of the channel, one a release."""

    root: Path
    settings: dict = field(default_factory=dict)

    def __post_init__(self):
        self.media = self.root / "media"
        self.config = self.root / "target.toml"
        self.opt = self.root / "opt"
        self.folder = self.opt / "bank"
        self.configure()

    def configure(self, **sections):
        """Write the settings; sections are merged over those that stand."""
        given = {
            "provision": {"label": "bank", "type": "ci", "platform": "linux-64"},
            "storage": {"root": str(self.opt)},
            "log": {"path": str(self.root / "agent-log")},
            "trust": {"root": str(self.media / "root.json")},
            **self.settings,
            **sections,
        }
        self.config.write_text(toml(given))

    def medium(self, release):
        return self.media / str(release)

    def agent(self, command, *arguments):
        """Run the agent; returns exit code and the JSON on stdout."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["target", command, *arguments, "--config", str(self.config), "--json"])
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return code, json.loads(out.getvalue())

    def install(self, release, *arguments):
        return self.agent("install", "--src-dir", str(self.medium(release)), *arguments)

    def site(self, **changes):
        def licensed(_label):
            return

        return replace(
            AgentContext.of([self.config], {"PATH": "/usr/bin:/bin"}, licensed), **changes
        )

    @property
    def in_use(self):
        """The number of the release that ``current`` leads to, checked to be whole."""
        current = self.folder / "current"
        if not current.is_symlink():
            return None
        number = int(current.readlink().name)
        check_whole(current.resolve(), number)
        return number

    @property
    def journal(self):
        return json.loads((self.folder / "state/journal.json").read_bytes())


def check_whole(prefix, number):
    """A careful user of an environment: all of the release is there, nothing else."""
    metas = {path.name.rsplit("-", 2)[0] for path in (prefix / "conda-meta").glob("*.json")}
    assert {"bank", "bank-manifest", "python", "tiny-data", "pip"} <= metas
    assert len(metas) == (5 if number != 1 else 7)
    assert (prefix / "share/tiny/ä b.txt").read_text() == "data\n"
    manifest = json.loads((prefix / "share/repack/bank/manifest.json").read_bytes())
    assert manifest["version"] == str(number)


def toml(document):
    lines = []
    for section, table in document.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def world(root, **label):
    return World(root, {"signing": SIGNING, **label})


def build(made, media, *, releases=3):
    """Build releases with different packages and keep a copy of the channel after each."""
    wanted = [["tiny-app"], ["tiny-data", "pip"], ["tiny-data", "pip"]]
    for number in range(1, releases + 1):
        made.build(packages=wanted[number - 1], description=f"release {number}", **bump(number))
        keep(made, media, number)
    return media


def bump(number):
    # the same packages with another check are another release
    return {"health_check": ["python", "-c", f"release = {number}"]}


def keep(made, media, number):
    shutil.copytree(made.channels, media / str(number), symlinks=True)
    root = made.channel / "repack/metadata/1.root.json"
    if not (media / "root.json").exists():
        shutil.copy(root, media / "root.json")


@contextlib.contextmanager
def undisturbed(bank):
    """The environments, the pointer and the journal are as before."""

    def seen():
        found = snapshot(bank.folder / "releases"), bank.in_use
        return found, bank.journal if bank.folder.exists() else None

    before = seen()
    yield
    assert seen() == before
    assert not (bank.folder / "state/incoming").exists()


def refuse(bank, code, release=2, *arguments):
    with undisturbed(bank):
        got, said = bank.install(release, *arguments)
    assert got == code, said
    return said
