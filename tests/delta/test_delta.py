"""Deltas, end to end: made from the store, applied to a customer's copy."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from repack.channel import folder as place
from repack.channel.folder import Channels
from repack.delta import apply as pipeline
from repack.delta import file as delta_file
from repack.fs import links
from tests import channels
from tests.deltas import SIZE, Deltas, contents, of_json, rewrite, said, serves

MODEL = "noarch/tiny-model-2-0.conda"
SIGNING = {"hmac": "env:REPACK_HMAC_KEY", "key_id": "oem-updates"}
SECRET = "hex:" + "5a" * 32


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Deltas(tmp_path_factory.mktemp("made"))


@pytest.fixture
def deltas(made, tmp_path):
    """A fresh customer of a vendor that all tests share; they must not change it."""
    return made.copied(tmp_path)


def test_delta_leads_to_the_other_release_byte_for_byte(deltas):
    code, text = deltas.try_create(1, 2, "-o", str(deltas.root / "d"), "--json")
    assert code == 0, text
    made = of_json(text)
    assert made["patched"] == [MODEL]
    assert "noarch/tiny-data-1.0-0.conda" in made["dropped"]
    assert "linux-64/tiny-lib-1!2.0-0.conda" in made["whole"]
    assert set(made["tools"]) == {"zstd"}
    assert made["bytes"] < SIZE // 3
    code, text = deltas.apply(deltas.root / "d", "--json")
    assert code == 0, text
    assert of_json(text) | {"changed": True, "from": "1", "release": "2"} == of_json(text)
    assert contents(deltas.customer) == deltas.whole[2]
    assert said("verify", str(deltas.customer))[0] == 0
    left = deltas.customer.parent / ".staging"
    assert not list(left.iterdir())


def test_member_order_and_the_form_of_the_manifest(deltas):
    with delta_file.open_delta(deltas.create(1, 2)) as opened:
        manifest = opened.manifest
    diff = next(a for a in manifest.artifacts if a.type == "diff")
    assert (manifest.id, manifest.version, diff.base_id) == ("bank", "2", "bank@1")
    assert {a.type for a in manifest.artifacts} == {"diff", "full"}
    assert all(a.sha256 and a.sha384 for a in manifest.artifacts)


def test_same_releases_same_delta(deltas):
    first = deltas.create(1, 2).read_bytes()
    assert deltas.create(1, 2).read_bytes() == first


def test_a_chain_of_deltas_is_the_direct_one(tmp_path):
    deltas = Deltas(tmp_path, releases=3)
    direct = tmp_path / "direct"
    shutil.copytree(deltas.customer, direct)
    for old, new in ((1, 2), (2, 3)):
        assert deltas.apply(deltas.create(old, new))[0] == 0
        assert contents(deltas.customer) == deltas.whole[new]
    assert said("delta", "apply", str(direct), str(deltas.create(1, 3)))[0] == 0
    assert contents(direct) == contents(deltas.customer)
    assert deltas.apply(deltas.create(3, 1))[0] == 0
    assert contents(deltas.customer) == deltas.whole[1]


def test_wrong_base_says_which_is_needed(deltas):
    assert deltas.apply(deltas.create(1, 2))[0] == 0
    again = deltas.root / "again"
    rewrite(deltas.create(1, 2), again, manifest=_for_release_seven)
    text = deltas.refuse(again)
    assert "needs bank@7" in text
    assert "--from 2 --to 8" in text


def _for_release_seven(document):
    delta = document["delta"]
    delta["base"] = {"release": 7, "manifest": "7" * 64}
    delta["target"] = {"release": 8, "manifest": "8" * 64}
    document["version"] = "8"
    for artifact in document["artifacts"]:
        if artifact["type"] == "diff":
            artifact["base_id"] = "bank@7"


def test_another_label_is_refused(deltas):
    path = deltas.customer / "repack/manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"bank"', b'"desk"'))
    assert "another label" in deltas.refuse(deltas.create(1, 2))


def test_applied_twice_changes_nothing(deltas):
    file = deltas.create(1, 2)
    assert deltas.apply(file)[0] == 0
    code, text = deltas.apply(file, "--json")
    assert (code, of_json(text)["changed"]) == (0, False)
    assert contents(deltas.customer) == deltas.whole[2]


def test_litter_and_files_of_the_customer_outside_stay(deltas):
    (deltas.customer / "noarch/._x").write_bytes(b"finder")
    (deltas.customer.parent / "notes.txt").write_text("mine")
    assert deltas.apply(deltas.create(1, 2))[0] == 0
    assert (deltas.customer / "noarch/._x").read_bytes() == b"finder"
    assert (deltas.customer.parent / "notes.txt").read_text() == "mine"


def _verify_py(channel, *arguments):
    done = subprocess.run(
        [sys.executable, "-B", "repack/verify.py", *arguments, "--json"],
        cwd=channel, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_plain_delta_works_with_tar_alone_and_with_apply(deltas, ending):
    file = deltas.root / f"d{ending}"
    deltas.create(1, 2, "--plain", "-o", str(file))
    assert file.read_bytes().startswith(b"\x1f\x8b") == (ending == ".tar.gz")
    again = deltas.root / "again"
    shutil.copytree(deltas.customer, again)
    subprocess.run(["tar", "-xf", file, "-C", again], check=True)
    after = contents(again)
    assert {path: after[path] for path in deltas.whole[2]} == deltas.whole[2]
    zombies = set(after) - set(deltas.whole[2])
    assert zombies - {".repack-delta-2.json"} == set(deltas.whole[1]) - set(deltas.whole[2])
    # they are leftovers, no fault: for the checker on the stick, for ours, and for the installer
    code, answer = _verify_py(again)
    assert (code, answer["problems"]) == (0, [])
    assert set(answer["leftovers"]) == zombies - {".repack-delta-2.json"}
    code, text = said("verify", str(again), "--json")
    assert code == 0, text
    assert "left over" in of_json(text)["warnings"][-1]
    tidied = deltas.root / "tidied"
    shutil.copytree(again, tidied)
    assert _verify_py(tidied, "--tidy")[0] == 0
    assert contents(tidied) == deltas.whole[2]
    # the next apply takes the zombies away
    assert said("delta", "apply", str(again), str(file))[0] == 0
    assert {
        p: d for p, d in contents(again).items() if p != ".repack-delta-2.json"
    } == deltas.whole[2]
    assert deltas.apply(file)[0] == 0
    assert contents(deltas.customer) == deltas.whole[2]


def test_leftovers_of_several_deltas_are_known_and_nothing_else_is(tmp_path):
    deltas = Deltas(tmp_path, releases=3)
    for old, new in ((1, 2), (2, 3)):
        file = deltas.create(old, new, "--plain", "-o", str(tmp_path / f"{old}.tar.gz"))
        file = tmp_path / f"{old}.tar.gz"
        subprocess.run(["tar", "-xf", file, "-C", deltas.customer], check=True)
        assert _verify_py(deltas.customer)[0] == 0
    stranger = deltas.customer / "noarch" / "evil-1-0.conda"
    stranger.write_bytes(b"x")
    code, answer = _verify_py(deltas.customer, "--tidy")
    assert (code, answer["problems"]) == (6, ["extra: noarch/evil-1-0.conda"])
    assert answer["leftovers"], "nothing is removed while something is wrong"
    assert all((deltas.customer / path).is_file() for path in answer["leftovers"])
    stranger.unlink()
    assert _verify_py(deltas.customer, "--tidy")[0] == 0
    assert contents(deltas.customer) == deltas.whole[3]


@pytest.mark.parametrize("path", ["../mine.txt", "/etc/hostname", "noarch/../../mine.txt", "link"])
def test_a_list_of_leftovers_reaches_nothing_outside(deltas, path):
    mine = deltas.customer.parent / "mine.txt"
    mine.write_text("mine")
    (deltas.customer / "link").symlink_to(mine)
    document = {"id": "bank", "delta": {"dropped": [path]}}
    (deltas.customer / ".repack-delta-7.json").write_text(json.dumps(document))
    assert _verify_py(deltas.customer, "--tidy")[0] == 6
    (deltas.customer / "link").unlink()
    assert _verify_py(deltas.customer, "--tidy")[0] == 0
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"id": "bank", "delta": 1}', b"\xff", b"[" * 99999]
)
def test_a_broken_list_of_leftovers_counts_for_nothing(deltas, data):
    (deltas.customer / ".repack-delta-7.json").write_bytes(data)
    assert _verify_py(deltas.customer)[0] == 0
    (deltas.customer / "noarch" / "old-1-0.conda").write_bytes(b"")
    assert _verify_py(deltas.customer)[0] == 6
    assert said("verify", str(deltas.customer))[0] == 6


def test_a_patched_delta_that_tar_unpacks_touches_no_channel(deltas):
    file = deltas.create(1, 2)
    before = contents(deltas.customer)
    with zstandard.open(file, "rb") as stream:
        data = stream.read()
    subprocess.run(["tar", "-x", "-C", deltas.customer], input=data, check=True)
    after = contents(deltas.customer)
    assert {path: after[path] for path in before} == before
    assert {path.split("/")[0] for path in set(after) - set(before)} == {"bank-1-2.delta"}


def test_gzip_that_is_cut_or_goes_on(deltas):
    file = deltas.root / "d.tar.gz"
    deltas.create(1, 2, "--plain", "-o", str(file))
    data, bad = file.read_bytes(), deltas.root / "bad.tar.gz"
    for name, damaged in {
        "cut": data[:-9], "short": data[:5000], "more": data + b"x", "twice": data + data,
        "flip": data[:4000] + bytes([data[4000] ^ 255]) + data[4001:],
    }.items():  # fmt: skip
        bad.write_bytes(damaged)
        assert deltas.refuse(bad), name


def test_no_patches_where_carrying_costs_nothing(deltas):
    for carry in ("0", "1e9"):
        _, text = deltas.try_create(1, 2, "-o", str(deltas.root / "d"), "--carry", carry, "--json")
        assert of_json(text)["patched"] == []
    assert deltas.apply(deltas.root / "d")[0] == 0
    assert contents(deltas.customer) == deltas.whole[2]


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 9), (9, 1)])
def test_releases_that_make_no_delta(deltas, old, new):
    assert deltas.try_create(old, new, "-o", str(deltas.root / "d"))[0] == 2
    assert not (deltas.root / "d").exists()


def test_packages_lost_by_the_store_are_named(tmp_path):
    deltas = Deltas(tmp_path)
    for path in (deltas.world.store / "packages").rglob("*"):
        if path.is_file() and path.stat().st_size > SIZE // 4:
            path.unlink()
    code, text = deltas.try_create(1, 2)
    assert code == 5
    assert "tiny-model" in text


def test_a_damaged_base_is_named(deltas):
    file = deltas.create(1, 2)
    path = deltas.customer / "noarch/tiny-model-1-0.conda"
    channels.flip(path)
    assert "tiny-model-1-0.conda" in deltas.refuse(file)
    path.unlink()
    assert "tiny-model-1-0.conda" in deltas.refuse(file)


def test_a_damaged_package_that_stays_is_named(deltas):
    file = deltas.create(1, 2)
    with delta_file.open_delta(file) as opened:
        carried = {a.path for a in opened.manifest.artifacts}
    stays = next(
        path
        for path in deltas.whole[2]
        if path.endswith(".conda") and path not in carried and path != MODEL
    )
    (deltas.customer / stays).unlink()
    (deltas.customer / stays).write_bytes(b"")
    assert stays in deltas.refuse(file)


def test_damaged_metadata_is_replaced(deltas):
    (deltas.customer / "noarch/repodata.json").write_bytes(b"{}")
    assert deltas.apply(deltas.create(1, 2))[0] == 0
    assert contents(deltas.customer) == deltas.whole[2]


def test_no_channel_no_delta(deltas):
    file = deltas.create(1, 2)
    (deltas.root / "empty").mkdir()
    assert said("delta", "apply", str(deltas.root / "empty"), str(file))[0] == 6
    assert said("delta", "apply", str(deltas.root / "none"), str(file))[0] in {2, 6}
    assert not (deltas.root / "none").exists()
    assert deltas.apply(deltas.root / "no-such-file")[0] == 2


def test_signed_releases_make_signed_deltas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPACK_HMAC_KEY", SECRET)
    deltas = Deltas(tmp_path / "here", signing=SIGNING)
    file = deltas.create(1, 2)
    with delta_file.open_delta(file) as opened:
        assert opened.manifest.signature["key_id"] == "oem-updates"
    deltas.refuse(file, "--key", "hex:" + "00" * 32)
    code, text = deltas.apply(file, "--key", "env:REPACK_HMAC_KEY", "--json")
    assert code == 0, text
    assert "shared key" in of_json(text)["signed_by"]
    assert contents(deltas.customer) == deltas.whole[2]


def test_unsigned_delta_for_a_signed_channel_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPACK_HMAC_KEY", SECRET)
    deltas = Deltas(tmp_path / "here", signing=SIGNING)
    file = deltas.create(1, 2)
    rewrite(file, file, manifest=lambda document: document.pop("signature"))
    assert "not signed" in deltas.refuse(file)
    assert "not signed" in deltas.refuse(file, "--key", SECRET)
    (deltas.world.labels / "bank.yaml").unlink()
    assert deltas.try_create(1, 2)[0] == 2
    code, text = deltas.try_create(1, 2, "--key", "hex:" + "11" * 32)
    assert code == 6, text


def test_metadata_must_go_back_to_the_root_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPACK_HMAC_KEY", SECRET)
    deltas = Deltas(tmp_path / "here", signing=SIGNING)
    file, mine = deltas.create(1, 2), "repack/metadata/"

    def drop_rows(document):
        document["artifacts"] = [a for a in document["artifacts"] if mine not in a["path"]]

    def drop_members(members):
        for name in [name for name in members if name.startswith(mine)]:
            del members[name]

    bare = rewrite(file, deltas.root / "bare", drop_rows, drop_members)
    assert "no signed metadata" in deltas.refuse(bare)
    # another root where the channel has its own: as if the delta were by somebody else's keys
    root = deltas.customer / "repack/metadata/1.root.json"
    root.write_bytes(root.read_bytes().replace(b'"keyval"', b'"keyval" '))
    assert "root" in deltas.refuse(file, code=11)


def test_metadata_past_its_date_is_only_warned_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPACK_HMAC_KEY", SECRET)
    deltas = Deltas(tmp_path / "here", signing=SIGNING)
    late = dt.datetime(2126, 1, 1, tzinfo=dt.UTC)
    applied = pipeline.apply(deltas.customer, deltas.create(1, 2), None, late)
    assert any("expired" in text for text in applied.verdict.warnings)
    assert contents(deltas.customer) == deltas.whole[2]


def test_second_apply_at_the_same_time_is_refused(deltas):
    file = deltas.create(1, 2)
    channels, name = Channels.around(deltas.customer)
    with channels.exclusive(name):
        deltas.refuse(file, code=8)


def test_channel_that_cannot_be_staged_beside_itself(deltas, monkeypatch):
    monkeypatch.setattr(place.os.path, "ismount", lambda path: Path(path) == deltas.customer)
    before = set(deltas.customer.parent.iterdir())
    assert deltas.apply(deltas.create(1, 2))[0] == 0
    assert contents(deltas.customer) == deltas.whole[2]
    assert set(deltas.customer.parent.iterdir()) == before


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_file_system_without_links_copies_only_what_is_new(deltas, monkeypatch, where):
    monkeypatch.setattr(links, "can_link", lambda _folder: False)
    if where == "inside":
        monkeypatch.setattr(place.os.path, "ismount", lambda path: Path(path) == deltas.customer)
    stays = next(p for p in deltas.whole[2] if p in deltas.whole[1] and p.endswith(".conda"))
    inode = (deltas.customer / stays).stat().st_ino
    code, text = deltas.apply(deltas.create(1, 2), "--json")
    assert code == 0, text
    assert contents(deltas.customer) == deltas.whole[2]
    assert (deltas.customer / stays).stat().st_ino == inode
    assert of_json(text)["files"] == len(deltas.whole[2])
    assert of_json(text)["bytes"] == sum(map(len, deltas.whole[2].values()))


def test_what_a_cut_off_run_made_is_not_made_again(deltas, monkeypatch):
    file = deltas.create(1, 2)
    monkeypatch.setattr(Channels, "stage", lambda *_: sys.exit(9))
    with pytest.raises(SystemExit):
        deltas.apply(file)
    monkeypatch.undo()
    (work,) = (deltas.customer.parent / ".staging").glob("*.work/*")
    (made,) = [p for p in work.iterdir() if p.read_bytes() == deltas.whole[2][MODEL]]
    inode = made.stat().st_ino
    (work.parent / "of another delta").write_bytes(b"x")
    assert deltas.apply(file)[0] == 0
    assert (deltas.customer / MODEL).stat().st_ino == inode
    assert not work.parent.exists()


APPLIER = """
import sys
sys.path[:0] = {path!r}
from repack.channel import folder as place
from repack.fs import exchange as exchanging
if {way!r} != "exchange":
    exchanging.can_exchange = lambda _folder: False
from repack.cli.main import run
import datetime, repack.delta.apply, repack.verify.verify
print("ready", flush=True)
sys.exit(run(["delta", "apply", {channel!r}, {file!r}]))
"""


def race(deltas, file: Path, way: str, count: int) -> None:
    """Kill ``count`` applies, spread over their time; each time the old or the new channel stands."""
    base = deltas.root / "base"
    shutil.copytree(deltas.customer, base)
    code = APPLIER.format(path=sys.path, way=way, channel=str(deltas.customer), file=str(file))
    ended = {"old": 0, "new": 0, "between": 0}
    took = 0.3
    for turn in range(count):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline(), "it did not get ready"
            began = time.monotonic()
            time.sleep(took * turn / count)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            else:
                took = (took + time.monotonic() - began) / 2
        serves(deltas.customer)
        now = contents(deltas.customer)
        state = "old" if now == deltas.whole[1] else "new" if now == deltas.whole[2] else "between"
        ended[state] += 1
        # Zombies go one by one after the switch, and one by one the metadata changes where folders
        # cannot be exchanged; every reader is served all the same, as `serves` has seen.
        if way == "exchange" and state == "between":
            assert {path: now.get(path) for path in deltas.whole[2]} == deltas.whole[2]
        assert deltas.apply(file)[0] == 0
        assert contents(deltas.customer) == deltas.whole[2]
        shutil.rmtree(deltas.customer)
        shutil.copytree(base, deltas.customer)
    assert ended["old"], ended


@pytest.mark.parametrize("way", ["exchange", "ordered"])
def test_kill_at_any_instant(deltas, way):
    race(deltas, deltas.create(1, 2), way, 6)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("way", ["exchange", "ordered"])
def test_kill_at_two_hundred_instants(deltas, way):
    race(deltas, deltas.create(1, 2), way, 200)


def test_disk_that_fills_up_leaves_the_channel(deltas):
    if not sys.platform.startswith("linux"):
        pytest.skip("limits files by a call of Linux")
    file = deltas.create(1, 2, "--carry", "0")
    before = contents(deltas.customer)
    code = (
        "import resource, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from repack.cli.main import run\n"
        "import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        f"sys.exit(run(['delta', 'apply', {str(deltas.customer)!r}, {str(file)!r}, '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    assert json.loads(done.stdout)["error"] == "no-space"
    assert contents(deltas.customer) == before
    assert deltas.apply(file)[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="runs install.sh")
def test_install_sh_removes_what_a_plain_delta_left(deltas):
    file = deltas.root / "d.tar.gz"
    deltas.create(1, 2, "--plain", "-o", str(file))
    subprocess.run(["tar", "-xf", file, "-C", deltas.customer], check=True)
    assert contents(deltas.customer) != deltas.whole[2]
    conda = deltas.root / "conda"
    conda.write_text("#!/bin/sh\nexit 1\n")
    conda.chmod(0o755)
    words = ["sh", "install.sh", "--prefix", deltas.root / "e", "--conda", conda]
    done = subprocess.run(words, cwd=deltas.customer, capture_output=True, text=True, check=False)
    assert "conda could not install" in done.stderr, done.stderr
    assert contents(deltas.customer) == deltas.whole[2]
