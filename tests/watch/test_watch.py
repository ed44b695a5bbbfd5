"""What became of published packages upstream."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

from repack.cli.main import run
from tests import tiny
from tests.world import World, serving


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "vendor", {"platforms": {"linux-64": {}}})
    made.build()
    return made


def watch(world: World, *words: str, code: int = 0):
    out, err = io.StringIO(), io.StringIO()
    folders = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = run(["watch", *words, "--json", *folders, "--store", str(world.store)])
    assert ended == code, err.getvalue()
    return json.loads(out.getvalue()) if code == 0 else err.getvalue()


def change(world: World, subdir: str, edit) -> None:
    path = world.upstream / subdir / "repodata.json"
    document = json.loads(path.read_bytes())
    edit(document)
    tiny.write_repodata(
        world.upstream / subdir, {**document["packages"], **document["packages.conda"]}
    )
    if document.get("removed"):
        written = json.loads(path.read_bytes())
        path.write_text(json.dumps({**written, "removed": document["removed"]}))


def findings(world: World) -> dict[str, str]:
    (report,) = watch(world, "bank")
    assert (report["label"], report["release"]) == ("bank", 1)
    return {row["package"]: row["kind"] for row in report["findings"]}


DATA = "noarch/tiny-data-1.0-0.conda"


def test_nothing_has_happened(world):
    assert findings(world) == {}


def test_a_withdrawn_package(world):
    def withdraw(document):
        fn = DATA.split("/")[1]
        del document["packages.conda"][fn]
        document["removed"] = [fn]

    change(world, "noarch", withdraw)
    found = findings(world)
    assert found.pop(DATA) == "withdrawn"
    assert found == {"linux-64": "unsolvable"}


def test_a_package_that_is_gone_without_a_word(world):
    change(world, "noarch", lambda d: d["packages.conda"].pop(DATA.split("/")[1]))
    assert findings(world)[DATA] == "gone"


def test_a_hotfix_is_told_field_by_field(world):
    def hotfix(document):
        document["packages.conda"][DATA.split("/")[1]]["constrains"] = ["tiny-lib <1!3"]

    change(world, "noarch", hotfix)
    (report,) = watch(world, "bank")
    assert len(report["findings"]) == 1, report["findings"]
    (found,) = report["findings"]
    assert (found["kind"], found["package"]) == ("hotfixed", DATA)
    assert found["changes"] == [{"name": "constrains", "before": None, "after": ["tiny-lib <1!3"]}]


def test_other_content_under_the_same_name(world):
    def replace(document):
        document["packages.conda"][DATA.split("/")[1]]["sha256"] = "ab" * 32

    change(world, "noarch", replace)
    assert findings(world)[DATA] == "replaced"


def test_people_read_lines(world, capsys):
    change(world, "noarch", lambda d: d["packages.conda"].pop(DATA.split("/")[1]))
    assert watch(world, "--all")
    folders = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    assert run(["watch", "bank", *folders, "--store", str(world.store)]) == 0
    out = capsys.readouterr().out
    assert "bank release 1: 2 findings" in out
    assert f"{DATA}: no longer upstream" in out


def test_each_channel_is_asked_once(tmp_path):
    world = World(tmp_path / "vendor", {"platforms": {"linux-64": {}}})
    with serving(world.upstream) as (url, asked):
        world.build(channels=[url])
        asked.clear()
        assert findings(world) == {}
        assert not [path for path in asked if path.endswith(".conda")]
        repodata = [path for path in asked if "repodata" in path]
        assert len(repodata) == len(set(repodata))


def test_without_a_release(tmp_path):
    world = World(tmp_path / "vendor")
    world.write()
    assert "no published release" in watch(world, "bank", code=2)
    assert watch(world, "--all") == []


def test_usage(world):
    assert "--all" in watch(world, code=2)
    assert "unknown label" in watch(world, "bnak", code=2)


def withdraw_and_watch(world: World) -> None:
    def withdraw(document):
        fn = DATA.split("/")[1]
        del document["packages.conda"][fn]
        document["removed"] = [fn]

    change(world, "noarch", withdraw)
    watch(world, "bank")


def test_other_commands_tell_of_it(world, capsys):
    withdraw_and_watch(world)
    assert any("withdrawn by upstream" in line for line in world.build()["warnings"])
    folders = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    assert run(["labels", *folders]) == 0
    assert "1 withdrawn by upstream" in " ".join(capsys.readouterr().out.split())


def test_a_strict_label_takes_no_withdrawn_package(world):
    withdraw_and_watch(world)
    message = world.fail(7, strict=True)
    assert DATA in message
    assert "--update" in message


def test_what_was_found_of_another_release_says_nothing(world):
    withdraw_and_watch(world)
    world.serve(*tiny.PACKAGES)
    again = world.build("--update", package_format="tar.bz2")
    assert again["release"] == 2
    assert not any("upstream, as of" in line for line in world.build()["warnings"])


def test_hotfixes_come_in_without_other_versions(world):
    def hotfix(document):
        document["packages.conda"][DATA.split("/")[1]]["constrains"] = ["tiny-lib <1!3"]

    change(world, "noarch", hotfix)
    assert world.build()["release"] == 1, "a plain build keeps the lock's records"
    refreshed = world.build("--refresh", "hotfixes")
    assert refreshed["release"] == 2
    document = json.loads((world.channel / "noarch" / "repodata.json").read_bytes())
    record = document["packages.conda"][DATA.split("/")[1]]
    assert record["constrains"] == ["tiny-lib <1!3"]
    assert world.build()["release"] == 2
    assert watch(world, "bank")[0]["findings"] == []
