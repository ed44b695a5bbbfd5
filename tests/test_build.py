"""The whole line, from a label file to a published channel."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from repack.channel.folder import Channels
from repack.cli.main import run
from repack.names import LabelName
from tests import tiny
from tests.world import TOKEN, World, check, records, serving, snapshot

OURS = {"noarch/bank-manifest", "linux-64/bank", "win-64/bank"}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def foreign(folder, subdir):
    found = records(folder, subdir).items()
    return {fn: record for fn, record in found if not fn.startswith("bank-")}


def test_channel_holds_the_closure_and_nothing_else(world):
    outcome = world.build()
    assert outcome["release"] == 1
    assert outcome["changed"]
    assert outcome["platforms"]["linux-64"]["proof"] == "linked"
    assert outcome["platforms"]["win-64"]["proof"] == "solved"
    paths = check(world.channel)
    assert {path.rsplit("-", 2)[0] for path in paths} == OURS | {
        "linux-64/python",
        "linux-64/tiny-lib",
        "noarch/pip",
        "noarch/tiny-app",
        "noarch/tiny-data",
        "win-64/python",
        "win-64/tiny-lib",
    }
    assert sorted(paths) == outcome["added"]
    assert outcome["removed"] == []


@pytest.mark.parametrize("how", ["file", "http"])
def test_records_are_upstreams_field_for_field(world, how):
    folder = world.upstream / "linux-64"
    document = json.loads((folder / "repodata.json").read_bytes())
    for record in document["packages.conda"].values():
        record |= {"x-field": {"of": ["upstream"]}, "constrains": [], "timestamp": 1700000000}
    tiny.write_repodata(folder, document["packages.conda"])
    with serving(world.upstream) as (url, _asked):
        world.build(channels=[url if how == "http" else world.upstream.as_uri()])
    for subdir in ("noarch", "linux-64", "win-64"):
        upstream = records(world.upstream, subdir)
        for fn, record in foreign(world.channel, subdir).items():
            assert record == upstream[fn]


def test_hot_fixes_survive_a_rebuild_from_the_lock_alone(world):
    world.build()
    before = foreign(world.channel, "noarch")
    assert "gone" not in before["tiny-app-2.0-py_0.conda"]["depends"]
    for subdir in ("noarch", "linux-64", "win-64"):
        for file in (world.upstream / subdir).glob("repodata*"):
            file.unlink()
    outcome = world.build()
    assert not outcome["changed"]
    assert foreign(world.channel, "noarch") == before


def test_patch_instructions_lead_from_the_archives_to_the_hot_fixes(world):
    world.build()
    plain = records(world.channel, "noarch", "repodata_from_packages.json")
    patches = json.loads((world.channel / "noarch/patch_instructions.json").read_bytes())
    fn = "tiny-app-2.0-py_0.conda"
    assert "gone" in plain[fn]["depends"]
    assert "gone" not in patches["packages.conda"][fn]["depends"]


def test_unchanged_rebuild_touches_nothing(world):
    world.build()
    before = snapshot(world.channels)
    outcome = world.build()
    assert (outcome["changed"], outcome["release"], outcome["bytes_fetched"]) == (False, 1, 0)
    assert outcome["platforms"]["linux-64"] == world.build()["platforms"]["linux-64"]
    assert snapshot(world.channels) == before


def test_update_takes_new_packages_and_drops_zombies(world):
    first = world.build()
    new = replace(tiny.PACKAGES[2], version="1!2.1")
    world.serve(*tiny.PACKAGES, new)
    assert not world.build()["changed"]
    outcome = world.build("--update")
    assert outcome["release"] == 2
    assert "linux-64/tiny-lib-1!2.1-0.conda" in outcome["added"]
    assert "linux-64/tiny-lib-1!2.0+x-0.conda" in outcome["removed"]
    assert not set(outcome["removed"]) & check(world.channel)
    assert first["platforms"]["win-64"]["packages"] == outcome["platforms"]["win-64"]["packages"]


def test_a_changed_hot_fix_alone_makes_a_release(world):
    world.build()
    path = world.upstream / "noarch/repodata.json"
    document = json.loads(path.read_bytes())
    document["packages.conda"]["tiny-data-1.0-0.conda"]["license"] = "Apache-2.0"
    path.write_text(json.dumps(document))
    outcome = world.build("--update")
    assert (outcome["changed"], outcome["bytes_fetched"]) == (True, 0)
    assert foreign(world.channel, "noarch")["tiny-data-1.0-0.conda"]["license"] == "Apache-2.0"


def test_pip_stays_out_when_the_label_says_so(world):
    world.build(add_pip=False, packages=["python"], platforms={"linux-64": {}})
    assert {fn.split("-")[0] for fn in foreign(world.channel, "linux-64")} == {"python"}
    assert not foreign(world.channel, "noarch")


def test_virtual_packages_come_from_the_profile_only(world):
    message = world.fail(4, platforms={"linux-64": {"__glibc": "2.12"}})
    assert "__glibc >=2.17" in message
    assert "linux-64" in message


def test_dry_run_and_diff_write_nothing(world, capsys):
    world.write()
    assert world.repack("label", "bank", "--dry-run") == 0
    assert "would become release 1" in capsys.readouterr().out
    assert not world.channel.exists()
    assert not (world.labels / "bank.lock").exists()
    world.build()
    before = snapshot(world.channels)
    world.write(packages=["tiny-lib"])
    assert world.repack("diff", "bank", "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert "noarch/tiny-app-2.0-py_0.conda" in outcome["removed"]
    assert snapshot(world.channels) == before


def test_history_and_restore(world, capsys):
    world.build()
    first = snapshot(world.channel)
    world.build(packages=["tiny-lib"])
    assert world.repack("history", "bank", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["release"], row["published"]) for row in rows] == [(1, False), (2, True)]
    assert world.repack("restore", "bank", "1") == 0
    again = snapshot(world.channel)
    assert {path: row[2] for path, row in again.items()} == {p: r[2] for p, r in first.items()}
    assert world.repack("restore", "bank", "7") == 2
    assert world.build(packages=["tiny-data"])["release"] == 3


def test_keep_releases_bounds_the_history(world):
    for spec in ("tiny-data", "tiny-lib", "python"):
        world.build(packages=[spec], keep_releases=2)
    assert Channels(world.channels).releases(LabelName("bank")) == (2, 3)


def test_damage_is_repaired_under_the_same_number(world):
    world.build()
    whole = snapshot(world.channel)
    (world.channel / "noarch/tiny-data-1.0-0.conda").unlink()
    (world.channel / "noarch/repodata.json").write_bytes(b"{}")
    (world.channel / "linux-64/zombie-1-0.conda").write_bytes(b"zombie")
    outcome = world.build()
    assert (outcome["changed"], outcome["release"]) == (False, 1)
    now = snapshot(world.channel)
    assert {path: row[2] for path, row in now.items()} == {p: r[2] for p, r in whole.items()}


def test_second_label_shares_every_byte(world):
    world.build()
    (world.labels / "other.yaml").write_text(json.dumps({**world.label, "label": "other"}))
    world.name = "other"
    world.label["label"] = "other"
    assert world.build()["bytes_fetched"] == 0
    one = world.channels / "bank/linux-64/python-3.9.7-0.conda"
    assert one.samefile(world.channels / "other/linux-64/python-3.9.7-0.conda")


def test_private_channel_leaves_no_trace_of_its_token(world, monkeypatch, capsys):
    private = world.root / "served/private"
    world.upstream.rename(private.parent.mkdir() or private)
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    with serving(private.parent) as (url, _asked):
        outcome = world.build(channels=[url + "/t/${BANK_TOKEN}/private"])
        assert outcome["bytes_fetched"] > 0
        # The lock has no token in it; the label gives it back.
        for path in world.store.glob("packages/*/*"):
            path.unlink()
        assert world.build(packages=["tiny-app", "tiny-data"])["bytes_fetched"] > 0
        assert world.repack("diff", "bank") == 0
        monkeypatch.setenv("BANK_TOKEN", "wrong-token")
        message = world.fail(5, "--update")
        assert "wrong-token" not in message
    for folder in (world.channels, world.labels):
        for path, (_inode, _time, data) in snapshot(folder).items():
            assert TOKEN.encode() not in data, path
    assert TOKEN not in "".join(capsys.readouterr())


def test_a_secret_in_a_record_stops_the_release(world, monkeypatch):
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    leaky = replace(tiny.PACKAGES[4], hotfix={**tiny.PACKAGES[4].hotfix, "notes": f"by {TOKEN}"})
    world.serve(*tiny.PACKAGES[:4], leaky)
    with serving(world.root) as (url, _asked):
        base = url + "/t/${BANK_TOKEN}/" + world.upstream.as_uri().rsplit("/", 1)[1]
        message = world.fail(6, channels=[base])
    assert TOKEN not in message
    assert "noarch/repodata" in message


def test_failed_health_check_publishes_nothing(world):
    world.build()
    command = ["python", "-c", "import sys; sys.exit('model is missing')"]
    message = world.fail(7, health_check=command, packages=["tiny-app", "tiny-data"])
    assert "model is missing" in message
    assert world.build("--prove", "solved")["platforms"]["linux-64"]["proof"] == "solved"


CALL_HOME = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", PORT))
except OSError as error:
    sys.exit(f"no way: {error}")
"""


def test_health_check_has_no_network(world):
    with serving(world.root) as (url, _asked):
        program = CALL_HOME.replace("PORT", url.rsplit(":", 1)[1])
        message = world.fail(7, health_check=["python", "-c", program])
    assert "no way" in message


def test_link_scripts_are_listed_and_strict_labels_refuse_them(world):
    script = {"bin/.tiny-data-post-link.sh": "curl https://example.org/model\n"}
    scripted = replace(tiny.PACKAGES[3], files={**tiny.PACKAGES[3].files, **script})
    world.serve(*tiny.PACKAGES[:3], scripted, tiny.PACKAGES[4])
    message = world.fail(7, strict=True)
    assert "post-link" in message
    warnings = world.build(strict=False)["warnings"]
    assert any("https://example.org/model" in warning for warning in warnings)


def test_label_that_is_called_like_its_package(tmp_path):
    world = World(tmp_path, name="tiny-app")
    world.build()
    assert set(check(world.channel)) >= {"noarch/tiny-app-2.0-py_0.conda"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["label", "bnak"], 2, "did you mean 'bank'"),
        (["label", "../bank"], 2, "is not made of"),
        (["label", "nul"], 2, "reserved name on Windows"),
        (["label"], 2, "no label was named"),
        (["label", "bank", "--prove", "hoped"], 2, "hoped"),
        (["lable", "bank"], 2, "lable"),
        (["history", "none"], 2, "no release"),
    ],
)
def test_wrong_command_lines(world, capsys, monkeypatch, arguments, code, words):
    world.write()
    monkeypatch.chdir(world.root)
    assert run(arguments) == code
    assert words in capsys.readouterr().err


def test_old_conda_gets_tar_bz2_and_no_virtual_packages(world):
    first = world.build(package_format="tar.bz2", platforms={"linux-64": {"conda": "4.3"}})
    paths = check(world.channel, ("noarch", "linux-64"))
    assert all(path.endswith(".tar.bz2") for path in paths)
    for subdir in ("noarch", "linux-64"):
        for record in records(world.channel, subdir).values():
            assert not [spec for spec in record["depends"] if spec.startswith("__")]
    fixed = foreign(world.channel, "noarch")["tiny-app-2.0-py_0.tar.bz2"]
    assert fixed["depends"] == ["python >=3.6", "tiny-lib >=1!1", "tiny-data"]
    changed = {change["before"]: change for change in first["changes"]}
    assert changed["linux-64/tiny-lib-1!2.0+x-0.conda"]["dropped"] == ["depends __glibc >=2.17"]
    lock = (world.labels / "bank.lock").read_text()
    assert "# repack: linux-64/tiny-lib-1!2.0+x-0.conda -> " in lock
    before = snapshot(world.channels)
    again = world.build()
    assert (again["changed"], again["bytes_fetched"]) == (False, 0)
    assert snapshot(world.channels) == before
    world.write()
    assert world.repack("diff", "bank") == 0


def test_old_conda_and_a_new_python_are_warned_about(world):
    python = replace(tiny.PACKAGES[0], version="3.11.9")
    world.serve(python, *tiny.PACKAGES[1:])
    warnings = world.build(package_format="tar.bz2", platforms={"linux-64": {}})["warnings"]
    assert any("tiny-app" in warning and "3.10" in warning for warning in warnings)


def test_bundles_travel_as_packages_and_count_their_builds(world):
    models = world.root / "dätä" / "models"
    models.mkdir(parents=True)
    (models / "risk.bin").write_bytes(b"weights")
    bundle = {"models": {"path": str(models), "version": "2024.10.0"}}
    read = "open(__import__('os').environ['CONDA_PREFIX'] + '/share/repack/bank/models/risk.bin')"
    first = world.build(bundles=bundle, health_check=["python", "-c", f"{read}.read()"])
    (name,) = [path for path in first["added"] if "bank-models" in path]
    meta = foreign_of(world.channel, "linux-64", "bank")["depends"]
    assert any(spec.startswith("bank-models 2024.10.0 ") for spec in meta)
    assert not world.build()["changed"]
    (models / "risk.bin").write_bytes(b"better weights")
    second = world.build()
    assert second["removed"].count(name) == 1
    assert foreign_of(world.channel, "noarch", "bank-models")["build_number"] == 1


def foreign_of(folder, subdir, name):
    (found,) = [r for r in records(folder, subdir).values() if r["name"] == name]
    return found


def test_every_bad_file_of_every_bundle_is_listed(world):
    for name in ("models", "strategies"):
        folder = world.root / name
        folder.mkdir()
        (folder / "nul.txt").write_text("x")
        (folder / "link").symlink_to("nul.txt")
    bundles = {n: {"path": str(world.root / n), "version": "1"} for n in ("models", "strategies")}
    message = world.fail(6, bundles=bundles)
    for path in ("models/nul.txt", "models/link", "strategies/nul.txt", "strategies/link"):
        assert path in message


def test_unset_key_variable_is_a_mistake_of_the_label(world):
    signing = {"hmac": "oem=env:NO_SUCH_KEY", "key_id": "oem"}
    assert "NO_SUCH_KEY is not set" in world.fail(3, signing=signing)


def test_diff_sees_a_changed_bundle(world, capsys):
    models = world.root / "models"
    models.mkdir()
    (models / "risk.bin").write_bytes(b"weights")
    world.build(bundles={"models": {"path": str(models), "version": "1"}})
    assert world.repack("diff", "bank", "--json") == 0
    assert not json.loads(capsys.readouterr().out)["changed"]
    (models / "risk.bin").write_bytes(b"better")
    assert world.repack("diff", "bank", "--json") == 0
    (added,) = json.loads(capsys.readouterr().out)["added"]
    assert world.build()["added"].count(added) == 1


def test_a_lost_store_changes_no_record(world):
    found = records(world.upstream, "noarch")
    found["tiny-data-1.0-0.conda"]["x-field"] = ["of", "upstream"]
    tiny.write_repodata(world.upstream / "noarch", found)
    world.build()
    shutil.rmtree(world.store)
    assert not world.build()["changed"]


def test_the_installers_know_how_long_paths_get_on_windows(world):
    world.build()
    plan = json.loads((world.channel / "repack/install.json").read_bytes())["subdirs"]
    paths = plan["win-64"]["paths"]
    profile = json.loads((world.channel / "repack/profile.json").read_bytes())
    assert paths.keys() == {"cached", "linked", "longest_root", "longest_prefix"}
    assert paths["cached"].startswith("pkgs/")
    # the release's own two packages come after the profile
    assert paths["longest_root"] <= profile["win-64"]["paths"]["longest_root"]
    assert "paths" not in plan["linux-64"]
