"""Deltas made to do harm: refused with exit code 6, the channel untouched, nothing outside it."""

from __future__ import annotations

import hashlib
import random
import tarfile

import pytest
import zstandard

from tests.deltas import Deltas, contents, rewrite


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    deltas = Deltas(tmp_path_factory.mktemp("hostile"))
    deltas.file = deltas.create(1, 2)
    return deltas


@pytest.fixture
def deltas(made, tmp_path):
    return made.copied(tmp_path)


def listed(document, path, data=b"x"):
    """Let the manifest list one more member."""
    document["artifacts"].append(
        {
            "path": path,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "type": "full",
        }
    )


def member(name, data=b"x"):
    def add(members):
        members[name] = tarfile.TarInfo(name), data

    return add


BAD_PATHS = [
    "../evil.txt",
    "/etc/evil.txt",
    "noarch/../../evil.txt",
    "..\\evil.txt",
    "C:/evil.txt",
    "noarch/./evil.txt",
    "noarch//evil.txt",
    "evil\x00.txt",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_path_that_leads_out(deltas, path):
    file = rewrite(
        deltas.file, deltas.root / "d", lambda m: listed(m, path), member(path.replace("\x00", ""))
    )
    deltas.refuse(file)
    assert not list(deltas.root.rglob("evil*"))


@pytest.mark.parametrize(
    "path",
    [
        ".repack-x/evil",
        "noarch/._evil",
        "NOARCH/repodata.json",
        "noarch/con.txt",
        "noarch/evil.conda",
        "noarch/evil.txt",
        "repack/metadata/root.json",
        "repack/metadata/timestamp.json",
    ],
)
def test_member_that_the_release_does_not_have(deltas, path):
    file = rewrite(deltas.file, deltas.root / "d", lambda m: listed(m, path), member(path))
    # metadata without a root is refused as `repack verify` refuses it
    deltas.refuse(file, code=14 if "metadata" in path else 6)


def link(kind, target):
    def change(members):
        name = "repack/lock.yml"
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        members[name] = info, b""

    return change


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_member_that_is_no_file(deltas, kind):
    deltas.refuse(rewrite(deltas.file, deltas.root / "d", members=link(kind, "/etc/passwd")))


@pytest.mark.parametrize("name", ["noarch/repodata.json", "patches/noarch/tiny-model-2-0.conda"])
def test_member_swapped_cut_or_gone(deltas, name):
    def swap(members):
        members[name] = members[name][0], bytes(len(members[name][1]))

    def cut(members):
        members[name] = members[name][0], members[name][1][:-1]

    for change in (swap, cut, lambda members: members.pop(name), member("extra.txt")):
        deltas.refuse(rewrite(deltas.file, deltas.root / "d", members=change))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("delta"),
        lambda m: m["delta"].update(format=2),
        lambda m: m["delta"].update(form="odd"),
        lambda m: m["delta"].update(base="1"),
        lambda m: m["delta"].pop("target"),
        lambda m: m["delta"].update(patches=7),
        lambda m: m["delta"].update(patches=[]),
        lambda m: m["delta"].update(dropped=["../x"]),
        lambda m: m["delta"].update(tools=[]),
        lambda m: m["delta"]["target"].update(release=3),
        lambda m: m["delta"]["target"].update(release=0),
        lambda m: m["delta"]["target"].update(manifest="0" * 64),
        lambda m: m["delta"]["patches"][0].update(path="../x.conda"),
        lambda m: m["delta"]["patches"][0].update(path="noarch/x.conda"),
        lambda m: m["delta"]["patches"][0].update(path="noarch/repodata.json"),
        lambda m: m["delta"]["patches"][0].update(base="../../etc/passwd"),
        lambda m: m["delta"]["patches"][0].update(base_sha256="0" * 64),
        lambda m: m["delta"]["patches"][0].update(unpacked=10),
        lambda m: m["delta"]["patches"][0].update(unpacked=-1),
        lambda m: m.update(version="9"),
        lambda m: m.update(artifacts={}),
        lambda m: next(a for a in m["artifacts"] if a["type"] == "diff").update(base_id="bank@9"),
        lambda m: m["artifacts"][0].update(sha256="0" * 64),
        lambda m: m["artifacts"][0].update(size=1 << 50),
    ],
)
def test_manifest_that_lies(deltas, change):
    deltas.refuse(rewrite(deltas.file, deltas.root / "d", manifest=change))
    assert not list(deltas.customer.parent.glob(".staging/*"))


def test_room_is_checked_before_the_first_byte(deltas):
    def huge(manifest):
        manifest["delta"]["patches"][0]["unpacked"] = 1 << 55

    text = deltas.refuse(rewrite(deltas.file, deltas.root / "d", manifest=huge), code=9)
    assert "not room enough" in text


def test_cut_off_anywhere(deltas):
    data = deltas.file.read_bytes()
    file = deltas.root / "cut"
    for length in (0, 1, 4, 100, len(data) // 2, len(data) - 100, len(data) - 5, len(data) - 1):
        file.write_bytes(data[:length])
        deltas.refuse(file)
    file.write_bytes(data + b"x")
    deltas.refuse(file)


def test_one_bit_anywhere(deltas):
    data, file, generator = deltas.file.read_bytes(), deltas.root / "bit", random.Random(5)
    for _ in range(40):
        at = generator.randrange(len(data))
        file.write_bytes(
            data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]
        )
        before = contents(deltas.customer)
        code, text = deltas.apply(file)
        # a frame's header has bits without a meaning
        assert code in {0, 6}, text
        assert contents(deltas.customer) in (before, deltas.whole[2])
        if code == 0:
            break


def test_bomb_stops_at_what_the_manifest_says(deltas):
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(300 << 20))
    file = deltas.root / "bomb"
    file.write_bytes(bomb)
    deltas.refuse(file)

    def swell(members):
        members["repack/lock.yml"] = members["repack/lock.yml"][0], bytes(8 << 20)

    deltas.refuse(rewrite(deltas.file, file, members=swell))


def test_no_delta_at_all(deltas):
    for name, data in {"text": b"hello\n" * 500, "empty": b"", "zeros": bytes(10240)}.items():
        (deltas.root / name).write_bytes(data)
        deltas.refuse(deltas.root / name)
    channel_file = deltas.customer / "noarch/repodata.json.zst"
    deltas.refuse(channel_file)
