"""Locks that somebody edited: packages come from the label's channels, with the content they had."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest

from tests import tiny
from tests.world import TOKEN, World, records, serving

EVIL = tiny.Package("tiny-data", "1.0", (), "noarch", "generic", files={"share/tiny/x": "evil\n"})
FN = "tiny-data-1.0-0.conda"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, {"platforms": {"linux-64": {}}, "packages": ["tiny-data"]})


def point_elsewhere(world: World, channel: str, archive: bytes) -> None:
    """Edit the lock: the package comes from ``channel``, with the hash that it has there."""
    lock = world.labels / "bank.lock"
    text, places = re.subn(
        rf"- conda: .*/noarch/{FN}", f"- conda: {channel}/noarch/{FN}", lock.read_text()
    )
    assert places == 2
    for name in ("sha256", "md5"):
        digest = hashlib.new(name, archive).hexdigest()
        text, hashes = re.subn(rf"  {name}: [0-9a-f]+", f"  {name}: {digest}", text)
        assert hashes == 1
    lock.write_text(text)


def evil_channel(world: World):
    folder = tiny.channel(world.root / "evil", (EVIL,))
    return folder, (folder / "noarch" / FN).read_bytes()


@pytest.mark.parametrize("published", [True, False])
def test_a_lock_that_names_another_host_is_refused(world, published):
    world.build()
    if not published:
        shutil.rmtree(world.channels)
        shutil.rmtree(world.store)
    folder, data = evil_channel(world)
    with serving(folder) as (url, asked):
        point_elsewhere(world, url, data)
        message = world.fail(6)
        assert not asked
    assert f"{url}/noarch/{FN}" in message
    assert "--update" in message
    assert not world.build("--update").get("error")


@pytest.mark.parametrize("way", ["/../evil", "/sub", "evil"])
def test_a_url_that_only_begins_like_the_channel_is_refused(world, way):
    """``CHANNEL/../evil``, a folder below the channel, and a neighbour called ``CHANNELevil``."""
    world.build()
    _folder, data = evil_channel(world)
    point_elsewhere(world, world.upstream.as_uri() + way, data)
    assert "outside of the label's channels" in world.fail(6)


def test_another_subdir_or_file_of_the_channel_is_refused(world):
    world.build()
    lock = world.labels / "bank.lock"
    lock.write_text(lock.read_text().replace(f"noarch/{FN}", f"noarch/x/{FN}"))
    assert world.repack("label", "bank") == 6


def test_a_secret_of_the_channel_goes_to_no_other_host(world):
    """The token stands in the label; the lock decides neither host nor user."""
    shutil.copytree(world.upstream, world.root / "up" / "private")
    folder, data = evil_channel(world)
    with serving(world.root / "up") as (url, asked), serving(folder) as (evil, heard):
        world.build(channels=[f"{url}/t/{TOKEN}/private"])
        shutil.rmtree(world.store)
        point_elsewhere(world, f"{evil}/private", data)
        world.fail(6)
        assert not heard
        assert any(TOKEN in path for path in asked)


def test_a_mirror_of_the_channel_is_one_of_its_places(world, monkeypatch):
    with serving(world.upstream) as (url, _), serving(world.upstream) as (mirror, asked):
        world.build(channels=[url])
        settings = world.root / "config" / "rattler"
        settings.mkdir(parents=True)
        (settings / "config.toml").write_text(f'[mirrors]\n"{url}" = ["{mirror}"]\n')
        data = (world.upstream / "noarch" / FN).read_bytes()
        point_elsewhere(world, mirror, data)
        world.fail(6)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(world.root / "config"))
        shutil.rmtree(world.store)
        world.build()
        assert f"/noarch/{FN}" in asked


def test_base_url_of_upstreams_own_repodata_is_kept_where_it_was_solved(world):
    """CEP 15: upstream itself sends clients to another place, which no lock can."""
    files = world.root / "files"
    with serving(files) as (elsewhere, _):
        for subdir in ("noarch", "linux-64"):
            shutil.copytree(world.upstream / subdir, files / subdir)
            path = world.upstream / subdir / "repodata.json"
            document = json.loads(path.read_bytes())
            document["info"]["base_url"] = f"{elsewhere}/{subdir}"
            path.write_text(json.dumps(document))
            for other in path.parent.glob("repodata.json.*"):
                other.unlink()
        with serving(world.upstream) as (url, _):
            assert world.build(channels=[url])["changed"]
            assert elsewhere in (world.labels / "bank.lock").read_text()
            assert not world.build()["changed"]


def swap(world: World) -> None:
    """Upstream replaces a file: same name and version, other content."""
    others = tuple(package for package in tiny.PACKAGES if package.name != "tiny-data")
    world.serve(*others, EVIL)


def forget(world: World) -> None:
    """A fresh machine: of the earlier build there is the lock alone."""
    shutil.rmtree(world.channels)
    shutil.rmtree(world.store)


def test_changed_content_of_an_unchanged_version_is_a_difference(world, capsys):
    world.build()
    before = records(world.upstream, "noarch")[FN]["sha256"]
    swap(world)
    after = records(world.upstream, "noarch")[FN]["sha256"]
    capsys.readouterr()
    assert world.repack("diff", "bank", "--update") == 0
    shown = capsys.readouterr().out
    assert "content" in shown.split("since release 1")[1].splitlines()[0]
    assert before in shown
    assert after in shown
    assert world.repack("diff", "bank", "--update", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert any(FN in warning for warning in document["warnings"])
    # A name that was published keeps its content, strict or not.
    assert FN in world.fail(6, "--update")


def test_changed_content_shows_on_the_page_and_in_the_build(world):
    world.build()
    before = records(world.upstream, "noarch")[FN]["sha256"]
    swap(world)
    forget(world)
    built = world.build("--update")
    assert any(FN in warning and before in warning for warning in built["warnings"])
    page = (world.channel / "index.html").read_text()
    assert before in page
    assert "other content" in page
    assert not any(FN in warning for warning in world.build()["warnings"])


def test_changed_content_is_refused_under_strict(world):
    world.build(strict=True)
    swap(world)
    forget(world)
    message = world.fail(6, "--update")
    assert "strict" in message
    assert FN in message
    world.build("--update", strict=False)


def test_an_edited_hash_in_the_lock_is_held_against_the_published_channel(world):
    world.build(strict=True)
    swap(world)
    data = (world.upstream / "noarch" / FN).read_bytes()
    point_elsewhere(world, world.upstream.as_uri(), data)
    assert "strict" in world.fail(6)


def explicit(world: World, url: str, digest: str = "") -> None:
    (world.labels / "linux.txt").write_text(
        f"# platform: linux-64\n@EXPLICIT\n{url}/noarch/{FN}{digest}\n"
    )
    world.label.pop("packages", None)
    world.label["from"] = ["linux.txt"]


def test_a_given_lock_sends_nobody_to_its_hosts(world):
    folder, data = evil_channel(world)
    with serving(folder) as (evil, asked):
        explicit(world, evil, "#" + hashlib.md5(data).hexdigest())
        assert FN in world.fail(6)
        explicit(world, evil, "#" + records(world.upstream, "noarch")[FN]["md5"])
        built = world.build(strict=True)
        assert any(evil in warning for warning in built["warnings"])
        assert not asked
    published = (world.channel / "noarch" / FN).read_bytes()
    assert published == (world.upstream / "noarch" / FN).read_bytes() != data


def test_a_given_lock_from_elsewhere_without_a_hash_is_refused_under_strict(world):
    explicit(world, "https://evil.example.org/ch")
    assert "no hash" in world.fail(6, strict=True)
    built = world.build(strict=False)
    assert any("evil.example.org" in warning for warning in built["warnings"])
    explicit(world, world.upstream.as_uri())
    assert not any("outside" in warning for warning in world.build(strict=True)["warnings"])
