"""The checkers attacked: what lies on the stick is never run, and passes only by a signed list.

``CHANNELS`` is one set of good and bad channels; ``repack verify`` and ``verify.py`` judge each.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest

from repack import shipped
from repack.channel.releases import stored_releases
from repack.cli.main import run
from repack.codec.sha256sums import compose_sums
from repack.display import printable
from repack.fs.litter import HARMLESS
from repack.keys.shared_key import parse_key
from repack.medium.top import put_sums
from repack.names import RelPath
from repack.trust.sign import Signing
from repack.verify.medium import SITE, TOP, verify_medium
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels

TEXT = "oem=hex:" + "ab" * 32
KEY = parse_key(TEXT, "test").resolve({}, lambda path: path.read_bytes(), "test")
OTHER = parse_key("oem=hex:" + "cd" * 32, "test").resolve({}, lambda p: p.read_bytes(), "test")
SUMS = "repack/metadata/SHA256SUMS"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    """Release 2 of a label, on a medium beside release 1; signed by both kinds of keys."""
    root = tmp_path_factory.mktemp("vendor")
    signing = Signing(KEY, channels.keyring(root / "keys"))
    first = channels.build(root / "c", signing)
    kept = shutil.copytree(first, root / "first")
    channels.build(first, signing, number=2)
    put_beside(kept, first)
    return first


def put_beside(old, new):
    """What ``repack medium`` does with a release that was on the stick before."""
    (stored,) = stored_releases(old)
    standing = {
        RelPath(path.relative_to(new).as_posix()): path.read_bytes()
        for path in new.rglob("*")
        if path.is_file()
    }
    for path, data in stored.beside(standing).items():
        write(new, path, data)
    for artifact in stored.manifest.artifacts:
        shutil.copy(old / artifact.path, new / artifact.path)


@pytest.fixture
def channel(vendor, tmp_path):
    return shutil.copytree(vendor, tmp_path / "stick ü" / "halkbank")


def write(channel, path, data=b"x"):
    (channel / path).parent.mkdir(parents=True, exist_ok=True)
    (channel / path).write_bytes(data)


def listed_setup(channel):
    write(channel, "repack/metadata/setup.exe", b"MZ")
    row = f"{hashlib.sha256(b'MZ').hexdigest()}  setup.exe\n"
    write(channel, SUMS, (channel / SUMS).read_bytes() + row.encode())


def listed_elsewhere(channel):
    write(channel, "repack/metadata/setup.exe", b"MZ")
    row = f"{hashlib.sha256(b'MZ').hexdigest()}  a/b/setup.exe\n"
    write(channel, SUMS, (channel / SUMS).read_bytes() + row.encode())


def more_roots(channel):
    folder = channel / "repack/metadata"
    write(folder, "7.root.json", b"{}")
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "SHA256SUMS"}
    write(channel, SUMS, compose_sums(files))


def self_made(channel, number="99", **changes):
    """A release of the attacker's own, whose list names his program."""
    base = f"repack/releases/{number}"
    program = {"path": "setup.exe", "sha256": hashlib.sha256(b"MZ").hexdigest(), "size": 2}
    listing = json.dumps({"files": [program]}).encode()
    write(channel, f"{base}/repack/integrity.json", listing)
    manifest = json.loads((channel / "repack/manifest.json").read_bytes())
    manifest |= {
        "version": number,
        "artifacts": [],
        "integrity_manifest": {
            "path": "repack/integrity.json",
            "sha256": hashlib.sha256(listing).hexdigest(),
        },
        **changes,
    }
    manifest = {name: value for name, value in manifest.items() if value is not None}
    write(channel, f"{base}/manifest.json", json.dumps(manifest).encode())
    write(channel, "setup.exe", b"MZ")


def in_anothers_folder(channel):
    self_made(channel, "1")


def numbered_oddly(channel):
    self_made(channel, "01")


def without_signature(channel):
    self_made(channel, signature=None)


def without_any_metadata(channel):
    """Only the shared key protects such a channel."""
    shutil.rmtree(channel / "repack/metadata")
    shutil.rmtree(channel / "repack/releases")
    self_made(channel)


# What systems, desktops, servers and a killed writer drop into a folder that they are shown.
DROPPED = (
    "install.cmd:Zone.Identifier",
    "noarch/a-1-0.conda:Zone.Identifier",
    "@eaDir/index.html@SynoEAStream",
    "noarch/@eaDir/a-1-0.conda@SynoResource",
    "noarch/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "noarch/@eaDir/a.jpg/SYNOINDEX_MEDIA_INFO",
    "noarch/.nfs000000000a2b3c4d00000001",
    ".Trash-1000/info/old.conda.trashinfo",
    ".Trash-1000/files/old.conda",
    ".Trash-1000/directorysizes",
    ".Spotlight-V100/VolumeConfiguration.plist",
    ".Spotlight-V100/Store-V2/5C4F2E0A-97B1/0.indexHead",
    ".Spotlight-V100/Store-V2/5C4F2E0A-97B1/.store.db",
    ".Spotlight-V100/Store-V2/5C4F2E0A-97B1/Cache/0000/0000/12.txt",
    ".Spotlight-V100/Store-V2/5C4F2E0A-97B1/journalExclusion",
    ".fseventsd/fseventsd-uuid",
    ".fseventsd/0000000000a1b2c3",
    "repack/.repack-metadata/timestamp.json",
    "repack/.repack-metadata/12.root.json",
    "repack/.repack-metadata/SHA256SUMS",
    "repack/.repack-metadata/.repack-a1b2",
)
# Programs under cover of their names
COVERED = (
    "@eaDir/setup.exe",
    "noarch/@eaDir/setup.exe",
    "@eaDir/setup.exe@SynoEAStream/setup.exe",
    "@eaDir/x/SYNO_setup.exe",
    ".Trash-1000/setup.exe",
    ".Trash-1000/files/setup.exe",
    ".Trash-1000/files/install.sh",
    ".Trash-1000/info/setup.exe",
    ".Trash-x/info/a.trashinfo",
    ".Spotlight-V100/setup.exe",
    ".Spotlight-V100/Store-V2/x/setup.exe",
    ".Spotlight-V100/Store-V2/x/setup.bat",
    ".fseventsd/setup.exe",
    ".nfs/setup.exe",
    "noarch/.nfssetup.exe",
    "setup.exe:Zone.Identifier.exe",
    "setup:Zone.Identifier/setup.exe",
    "repack/.repack-metadata/setup.exe",
    "repack/.repack-metadata/x/timestamp.json",
    "noarch/.repack-metadata/timestamp.json",
    ".repack-metadata/timestamp.json",
)

GOOD = {
    "untouched": lambda _channel: None,
    "finder": lambda channel: write(channel, "noarch/._a"),
    "explorer": lambda channel: write(channel, "Thumbs.db"),
    "conda-index": lambda channel: write(channel, "noarch/.cache/cache.db"),
    "windows": lambda channel: write(channel, "System Volume Information/WPSettings.dat"),
    "killed writer": lambda channel: write(channel, "noarch/.repack-a1b2"),
    **{path: lambda channel, path=path: write(channel, path) for path in DROPPED},
}
BAD = {
    **{path: lambda channel, path=path: write(channel, path) for path in COVERED},
    "flipped": lambda channel: channels.flip(channel / "noarch/repodata.json"),
    "missing": lambda channel: (channel / "linux-64/a-2-0.conda").unlink(),
    "flipped beside": lambda channel: channels.flip(channel / "linux-64/a-1-0.conda"),
    "missing beside": lambda channel: (channel / "linux-64/a-1-0.conda").unlink(),
    "listed in SHA256SUMS": listed_setup,
    "listed in SHA256SUMS with folders": listed_elsewhere,
    "a root too many": more_roots,
    "release 99": self_made,
    "release 1 replaced": in_anothers_folder,
    "release 01": numbered_oddly,
    "release 99 without signature": without_signature,
    "release 99 without metadata": without_any_metadata,
    "folder like AppleDouble": lambda channel: write(channel, "._x/setup.exe"),
    "folder like a temporary one": lambda channel: write(channel, ".repack-tools/setup.exe"),
    "folder in repack": lambda channel: write(channel, "repack/.repack-metadata/setup.exe"),
    "pycache": lambda channel: write(channel, "repack/__pycache__/install_folders.cpython-311.pyc"),
    "module": lambda channel: write(channel, "repack/argparse.py"),
    "cache of nobody": lambda channel: write(channel, ".cache/setup.exe"),
    "in conda-index's cache": lambda channel: write(channel, "noarch/.cache/setup.exe"),
    "in Windows' folder": lambda channel: write(channel, "System Volume Information/setup.exe"),
    "link with a name of litter": lambda channel: (channel / "._x").symlink_to("/etc/passwd"),
    "in metadata": lambda channel: write(channel, "repack/metadata/setup.exe"),
    "at the top": lambda channel: write(channel, "autorun.inf"),
    "beside a release": lambda channel: write(channel, "repack/releases/1/setup.exe"),
}


def judge(channel, *arguments):
    """Exit codes of ``repack verify`` and of ``verify.py``; the text of the latter."""
    code = verify(channel, Requirements(key=KEY), channels.now()).exit_code
    done = plain(channel, "--key", TEXT, *arguments)
    return code, done.returncode, done.stdout


def plain(channel, *arguments):
    command = [sys.executable, "-I", "-B", channels.VERIFY, channel, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", GOOD)
def test_both_checkers_take_what_is_good(channel, name):
    GOOD[name](channel)
    assert judge(channel)[:2] == (0, 0), judge(channel)[2]


@pytest.mark.parametrize("name", BAD)
def test_both_checkers_refuse_what_is_bad(channel, name):
    BAD[name](channel)
    first, second, text = judge(channel)
    assert first != 0, "repack verify"
    assert second == 6, f"verify.py: {text}"


def test_both_know_the_same_litter():
    source = channels.VERIFY.read_text()
    namespace = {"__name__": "verify"}
    exec(compile(source, "verify.py", "exec"), namespace)
    assert namespace["LITTER"].pattern == HARMLESS.pattern


def test_an_unsigned_list_of_leftovers_lets_no_program_pass(channel):
    write(channel, "repack/metadata/setup.exe", b"MZ")
    manifest = json.loads((channel / "repack/manifest.json").read_bytes())
    manifest["delta"] = {"dropped": ["repack/metadata/setup.exe"]}
    write(channel, ".repack-delta.json", json.dumps(manifest).encode())
    assert verify(channel, Requirements(), channels.now()).exit_code == 6
    assert plain(channel).returncode == 6
    assert judge(channel)[:2] == (6, 6)


def test_litter_is_told_not_hidden(channel):
    write(channel, "noarch/._\x1b[2Jx")
    done = plain(channel, "--key", TEXT)
    assert "ignored: noarch/._\\x1b[2Jx" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_release_beside_signed_with_another_key_is_none(channel):
    """No public keys here: the shared key has to have signed every release."""
    shutil.rmtree(channel / "repack/metadata")
    shutil.rmtree(channel / "repack/releases/2")
    assert judge(channel)[:2] == (0, 0), judge(channel)
    data = (channel / "repack/releases/1/manifest.json").read_bytes()
    from repack.channel.manifest import parse

    write(channel, "repack/releases/1/manifest.json", parse(data, "x").signed(OTHER).to_bytes())
    first, second, _ = judge(channel)
    assert (first, second) == (6, 6)


TRAP = "import os, sys\nopen({path!r}, 'w').close()\n"


@pytest.fixture
def trapped(channel, tmp_path):
    """Every module that the programs import, planted wherever Python might look first."""
    marker = tmp_path / "was run"
    modules = set()
    for program in ("verify.py", "install.py", "install_folders.py", "installed_paths.py"):
        text = (channels.VERIFY.parent / program).read_text()
        modules |= set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
        write(channel, f"repack/{program}", text.encode())
    modules |= {"sitecustomize", "usercustomize", "conda", "encodings", "linecache", "copyreg"}
    for module in modules - {"install_folders", "installed_paths", "winreg"}:
        for folder in (channel / "repack", channel, channel.parent):
            write(folder, f"{module}.py", TRAP.format(path=str(marker)).encode())
    shutil.copy(channels.VERIFY, channel.parent / "verify.py")
    return marker


@pytest.mark.parametrize("flags", [[], ["-I"], ["-B"]])
def test_a_module_beside_the_checker_is_never_imported(channel, trapped, flags):
    for program, code in (
        (channel / "repack/verify.py", 6),
        (channel.parent / "verify.py", 6),
    ):
        done = subprocess.run(
            [sys.executable, *flags, program],
            capture_output=True,
            text=True,
            check=False,
            cwd=channel / "repack",
        )
        assert done.returncode == code, done.stderr
        assert "extra: " in done.stdout
        assert "argparse.py" in done.stdout
        assert not trapped.exists()


def test_a_module_beside_the_installer_is_never_imported(channel, trapped, tmp_path):
    write(channel, "repack/install.json", b'{"subdirs": {}, "label": "halkbank"}')
    done = subprocess.run(
        [sys.executable, channel / "repack/install.py", "--prefix", tmp_path / "e"],
        capture_output=True,
        text=True,
        check=False,
        cwd=channel,
    )
    assert done.returncode == 2, done.stderr
    assert "this channel is for" in done.stderr
    assert not trapped.exists()


def test_the_trap_works(channel, trapped):
    """Else the tests above prove nothing: a program without a guard runs it."""
    program = channel / "repack/careless.py"
    program.write_text("import argparse\n")
    subprocess.run([sys.executable, program], capture_output=True, check=False)
    assert trapped.exists()


@pytest.mark.parametrize("name", ["install.sh", "install.cmd"])
def test_the_scripts_start_python_isolated(name):
    text = (channels.VERIFY.parent / name).read_text()
    starts = re.findall(r'^.*(?:"\$python"|"\$1"|"%REPACK_PYTHON%") -.*$', text, re.MULTILINE)
    assert len(starts) == 2
    assert all(" -I " in line for line in starts)


def test_nothing_of_the_stick_runs_before_the_agent_has_verified(channel, trapped, tmp_path):
    """The agent reads; it starts no program of a medium at all."""
    config = tmp_path / "target.toml"
    config.write_text(
        '[provision]\nlabel = "halkbank"\ntype = "ci"\nplatform = "linux-64"\n'
        f'[storage]\nroot = "{tmp_path / "opt"}"\n'
        f'[log]\npath = "{tmp_path / "log"}"\n'
        f'[trust]\nroot = "{channel / "repack/metadata/1.root.json"}"\n'
    )
    channels.flip(channel / "repack/metadata/targets.json")
    for script in ("install.sh", "sync.sh"):
        write(channel, script, f"touch '{trapped}'\n".encode())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "repack", "target", "install", "--config", config),
            *("--src-dir", channel.parent),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 11, done.stderr
    assert not trapped.exists()


@pytest.fixture
def stick(channel):
    """A medium with one label, an installer and a list of it."""
    root = channel.parent
    for name in ("verify.py",):
        shutil.copy(channels.VERIFY, root / name)
    for name in ("index.html", "check-sha256.cmd", "sync.sh", "sync.cmd"):
        write(root, name)
    write(root, "installers/mini.sh", b"sh")
    row = f"{hashlib.sha256(b'sh').hexdigest()}  mini.sh\n"
    write(root, "installers/SHA256SUMS", row.encode())
    return root


def judge_medium(stick):
    """As :func:`judge`, of a whole medium."""
    code = verify_medium(stick, Requirements(key=KEY), channels.now()).exit_code
    done = plain(stick, "--key", TEXT)
    return code, done.returncode, done.stdout


def test_a_medium_is_checked_by_ones_own_copy(stick):
    put_sums(stick)
    assert judge_medium(stick)[:2] == (0, 0)
    done = plain(stick, "--key", TEXT)
    assert done.returncode == 0, done.stdout
    assert "halkbank release 2, signature: good" in done.stdout


@pytest.mark.parametrize(
    "path",
    [
        "setup.exe",
        "autorun.inf",
        "._x/setup.exe",
        ".repack-tools/setup.exe",
        "installers/other.exe",
        "oem/halkbank/setup.exe",
        "notary/setup.exe",
        "tools/repack/verify.py",
        "argparse.py",
        "System Volume Information/setup.exe",
    ],
)
def test_what_lies_beside_the_channels_is_refused(stick, path):
    write(stick, path)
    first, second, text = judge_medium(stick)
    assert (first, second) == (6, 6)
    assert f"extra: {path}" in text
    # A list that nobody signed changes nothing
    digest = hashlib.sha256(b"x").hexdigest()
    write(stick, "SHA256SUMS", f"{digest}  {path}\n".encode())
    assert judge_medium(stick)[:2] == (6, 6)


@pytest.mark.parametrize("name", ["index.html", "sync.sh", "check-sha256.cmd"])
def test_what_the_list_of_the_medium_names_is_compared(stick, name):
    put_sums(stick)
    write(stick, name, b"echo changed")
    first, second, text = judge_medium(stick)
    assert (first, second) == (6, 6)
    assert f"changed: {name}" in text
    (stick / name).unlink()
    assert judge_medium(stick)[:2] == (6, 6)


def test_the_list_is_for_sha256sum_and_keeps_no_damage(stick):
    put_sums(stick)
    command = ["sha256sum", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(command, cwd=stick, check=False).returncode == 0
    listed = {line[66:] for line in (stick / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(stick).as_posix() for p in stick.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}
    channels.flip(stick / "halkbank/noarch/repodata.json")
    put_sums(stick)
    done = subprocess.run(command, cwd=stick, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "halkbank/noarch/repodata.json: FAILED" in done.stdout


@pytest.mark.parametrize("content", [b"x", b"\xff" * 100, b"no digest  index.html\n", b"../a\n"])
def test_a_malformed_list_of_the_medium(stick, content):
    write(stick, "SHA256SUMS", content)
    assert judge_medium(stick)[:2] == (6, 6)


def test_repack_verify_takes_a_medium(stick, capsys):
    put_sums(stick)
    assert run(["verify", str(stick), "--key", TEXT]) == 0
    said = capsys.readouterr().out
    assert "halkbank release 2 is whole and unchanged" in said
    assert "the medium is as it should be: 1 channels" in said
    write(stick, "setup.exe")
    channels.flip(stick / "halkbank/noarch/repodata.json")
    assert run(["verify", str(stick), "--key", TEXT, "--json"]) == 6
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "error"
    assert [row["path"] for row in document["findings"]] == ["setup.exe"]
    assert document["channels"][0]["status"] == "error"


def test_a_package_that_channels_share_lies_in_one_of_them(stick):
    """On FAT there are no links."""
    channels.build(stick / "other", Signing(KEY), label="halkbank")
    shutil.copytree(stick / "other", stick / "third")
    (stick / "third/linux-64/a-1-0.conda").unlink()
    assert judge_medium(stick)[:2] == (0, 0), judge_medium(stick)[2]
    channels.flip(stick / "other/linux-64/a-1-0.conda")
    assert judge_medium(stick)[:2] == (6, 6)


def test_both_know_what_may_lie_on_a_medium():
    namespace = {"__name__": "verify"}
    exec(compile(channels.VERIFY.read_text(), "verify.py", "exec"), namespace)
    assert namespace["TOP"].pattern == TOP.pattern
    assert namespace["SITE"].pattern == SITE.pattern


def test_a_medium_with_a_bad_channel_or_installer(stick):
    channels.flip(stick / "halkbank/noarch/repodata.json")
    write(stick, "installers/mini.sh", b"sz")
    assert judge_medium(stick)[:2] == (6, 6)
    done = plain(stick)
    assert done.returncode == 6
    assert "changed: installers/mini.sh" in done.stdout
    assert "halkbank: changed: noarch/repodata.json" in done.stdout


def test_file_names_reach_a_terminal_escaped(channel, capsys):
    name = "noarch/a\x1b]0;owned\x07\u202etxt\nok: all is well"
    write(channel, name)
    assert run(["verify", str(channel), "--key", TEXT]) == 6
    said = capsys.readouterr()
    for text in (said.out, said.err, plain(channel).stdout):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert not any(line.startswith("ok: all is well") for line in text.splitlines())
    assert printable(name) in said.out


def test_the_shipped_files_are_all_here():
    """What the tests above take for the programs is what travels."""
    folder = channels.VERIFY.parent
    assert folder == type(folder)(shipped.__file__).parent


def test_the_checkers_hash_is_on_the_page_and_on_the_checklist():
    """For comparing on paper; both ask for a copy that did not come with the medium."""
    digest = "{{ verifier }}"
    page = channels.VERIFY.parent.parent / "report/templates/report.html.j2"
    assert digest in page.read_text()
    checklist = (channels.VERIFY.parent / "medium.html").read_text()
    assert "@VERIFIER@" in checklist
    for text in (page.read_text(), checklist):
        assert "python -I verify.py" in text
        assert "python verify.py" not in text


def test_who_packs_a_release_knows_the_same_litter():
    """``scripts/release_archive.py`` stands alone, and leaves out what ``repack bundle`` does."""
    from repack.fs import litter
    from scripts import release_archive

    assert release_archive._LITTER.pattern == litter._LITTER.pattern
    assert release_archive._LITTER.flags == litter._LITTER.flags
    for name in ("@eaDir", ".NFS0000000000000001", "a.exe:Zone.Identifier", ".Trash-1000", "._x"):
        assert litter.is_litter(name), name
    for name in ("@eaDir.exe", ".nfs", ".nfsx", "Zone.Identifier", ".Trash", ".Trash-x", "_x"):
        assert not litter.is_litter(name), name
