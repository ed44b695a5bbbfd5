from __future__ import annotations

import bz2
import contextlib
import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from repack.archive.facts import About, Script, check_archive
from repack.archive.reader import scan_archive
from repack.errors import IntegrityError, PlaceError
from repack.fs.digests import sha384
from tests.archives import Package, member, tar, zipped

SUFFIXES = (".conda", ".tar.bz2")


def made(package: Package, suffix: str) -> bytes:
    return package.conda() if suffix == ".conda" else package.bz2()


def read(tmp_path, package: Package, suffix=".conda", depth="whole", data: bytes | None = None):
    data = made(package, suffix) if data is None else data
    path = tmp_path / "archive"
    path.write_bytes(data)
    return scan_archive(path, package.record(data, suffix), depth)


def refused(tmp_path, package, match, suffix=".conda", **how):
    with pytest.raises(IntegrityError, match=match) as caught:
        read(tmp_path, package, suffix, **how)
    assert caught.value.where == f"{package.subdir}/{package.dist}{suffix}"
    return caught.value


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("depth", ["info", "whole"])
def test_facts_of_a_package(tmp_path, suffix, depth):
    package = Package(
        files={"lib/a.txt": b"abc", "share/long/er/path.txt": b"de", "share/LONG/er/path.txt": b""},
        index={"license": "MIT", "depends": ["b"]},
        info={
            "info/about.json": b'{"home": "https://x.org", "summary": "s", "license": "GPL"}',
            "info/test/a-very-long-name-of-a-test-file.py": b"",
        },
    )
    facts = read(tmp_path, package, suffix, depth)
    assert facts.depth == depth
    assert facts.index["depends"] == ["b"]
    assert facts.about == About(licence="MIT", summary="s", home="https://x.org")
    assert (facts.files, facts.unpacked) == (3, 5)
    assert facts.longest_path == "info/test/a-very-long-name-of-a-test-file.py"
    assert facts.longest_linked == "share/LONG/er/path.txt"
    assert facts.case_twins == (("share/LONG/er/path.txt", "share/long/er/path.txt"),)
    assert (facts.noarch, facts.has_link_json, facts.scripts) == (None, False, ())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("depth", ["info", "whole"])
def test_noarch_python(tmp_path, suffix, depth):
    package = Package(
        subdir="noarch",
        files={"site-packages/thing/module.py": b"", "site-packages/con.py": b""},
        index={"noarch": "python"},
        info={"info/link.json": b'{"noarch": {"type": "python"}}'},
    )
    facts = read(tmp_path, package, suffix, depth)
    assert (facts.noarch, facts.has_link_json) == ("python", True)
    assert facts.longest_linked == "Lib/site-packages/thing/__pycache__/module.cpython-311.pyc"
    assert len(facts.windows_faults) == 1


@pytest.mark.parametrize(
    ("noarch", "link", "expected"),
    [
        (True, b'{"noarch": {"type": "python"}}', "python"),
        (True, None, "generic"),
        ("generic", None, "generic"),
        (None, b'{"noarch": 1}', None),
    ],
)
def test_old_kinds_of_noarch(tmp_path, noarch, link, expected):
    package = Package(index={"noarch": noarch}, info={"info/link.json": link})
    assert read(tmp_path, package).noarch == expected


def test_windows_faults_only_where_windows_is_meant(tmp_path):
    files = {"man/A::B.3": b""}
    assert read(tmp_path, Package(files=files)).windows_faults == ()
    assert len(read(tmp_path, Package(files=files, subdir="win-64")).windows_faults) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("depth", ["info", "whole"])
def test_link_scripts_are_read(tmp_path, suffix, depth):
    package = Package(
        files={
            "a": b"x" * 100_000,
            "bin/.thing-post-link.sh": b"curl -L 'https://data.example.org/x.tgz'; wget ftp://y/z\n",
            "Scripts/.thing-pre-unlink.bat": b"@echo off",
            "bin/thing-post-link.sh": b"https://not-a-link-script.example.org",
            "z": b"y",
        }
    )
    facts = read(tmp_path, package, suffix, depth)
    assert facts.scripts == (
        Script("Scripts/.thing-pre-unlink.bat", "pre-unlink"),
        Script(
            "bin/.thing-post-link.sh",
            "post-link",
            ("https://data.example.org/x.tgz", "ftp://y/z"),
        ),
    )


def test_a_huge_link_script_is_read_in_part(tmp_path):
    script = b"http://a.example.org\n" + b"#" * (1 << 20)
    facts = read(tmp_path, Package(files={"bin/.thing-pre-link.sh": script}))
    assert facts.scripts[0].urls == ("http://a.example.org",)


@pytest.mark.parametrize("depth", ["info", "whole"])
def test_description_behind_the_payload(tmp_path, depth):
    package = Package()
    facts = read(tmp_path, package, ".tar.bz2", depth, package.bz2(order="info last"))
    assert facts.files == 1


def test_only_the_description_is_read(tmp_path):
    package = Package(files={"big": b"0" * 100_000})
    with zipfile.ZipFile(io.BytesIO(package.conda())) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[f"pkg-{package.dist}.tar.zst"] = b"no zstd at all"
    data = zipped(parts)
    assert read(tmp_path, package, depth="info", data=data).unpacked == 100_000
    refused(tmp_path, package, "damaged", data=data)


def test_old_packages_have_a_plain_list(tmp_path):
    package = Package(info={"info/paths.json": None, "info/files": b"lib/thing.txt\n\n"})
    facts = read(tmp_path, package)
    assert (facts.files, facts.unpacked) == (1, None)
    both = Package(info={"info/files": b"other\n"})
    assert read(tmp_path, both).files == 1
    assert read(tmp_path, Package(info={"info/files": b"lib/thing.txt"})).unpacked == 6


def test_real_packages(tmp_path):
    rattler_build = pytest.importorskip("rattler_build")
    source = tmp_path / "source"
    (source / "site-packages").mkdir(parents=True)
    (source / "site-packages" / "thing.py").write_text("x = 1\n")
    for kind, suffix in (("Conda", ".conda"), ("TarBz2", ".tar.bz2")):
        rattler_build.assemble_package(
            "thing",
            "1.0",
            "noarch",
            "0",
            tmp_path / "out",
            files_dir=source,
            noarch="python",
            license="MIT",
            archive_type=getattr(rattler_build.ArchiveType, kind),
            timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        )
        (path,) = (tmp_path / "out").rglob(f"*{suffix}")
        record = Package(subdir="noarch").record(path.read_bytes(), suffix)
        for depth in ("info", "whole"):
            facts = scan_archive(path, record, depth)
            check_archive(facts, record)
            assert (facts.noarch, facts.files, facts.about.licence) == ("python", 1, "MIT")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/../../b", "C:/x", "a\\..\\b", "a//b"])
def test_hostile_members_are_refused(tmp_path, suffix, name):
    refused(tmp_path, Package(extra=[(member(name), b"x")]), "leads out", suffix)
    refused(tmp_path, Package(extra=[(member(name, tarfile.DIRTYPE), b"")]), "leads out", suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("depth", ["info", "whole"])
def test_hostile_lists_are_refused(tmp_path, suffix, depth):
    rows = json.dumps({"paths": [{"_path": "../../.bashrc", "size_in_bytes": 1}]}).encode()
    refused(tmp_path, Package(info={"info/paths.json": rows}), "leads out", suffix, depth=depth)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ((member("a", tarfile.SYMTYPE, "/etc/passwd"), b""), "leads out"),
        ((member("a", tarfile.SYMTYPE, "../.."), b""), "leads out"),
        ((member("a", tarfile.LNKTYPE, "../x"), b""), "hard link to nothing"),
        ((member("a", tarfile.CHRTYPE), b""), "no file, folder or link"),
        ((member("a", tarfile.FIFOTYPE), b""), "no file, folder or link"),
        ((member("lib/thing.txt"), b"again"), "twice"),
        ((member("./lib/thing.txt"), b"again"), "twice"),
    ],
)
def test_hostile_kinds_of_members_are_refused(tmp_path, suffix, extra, match):
    refused(tmp_path, Package(extra=[extra]), match, suffix)


def test_writing_through_a_link_is_refused(tmp_path):
    extra = [(member("out", tarfile.SYMTYPE, "lib"), b""), (member("out/x"), b"")]
    refused(tmp_path, Package(extra=extra), "through")


def test_harmless_links_folders_and_dots_pass(tmp_path):
    package = Package(
        files={"./lib/a": b"a"},
        info={
            "info/paths.json": json.dumps(
                {
                    "paths": [
                        {"_path": "lib/a", "size_in_bytes": 1},
                        {"_path": "lib/b", "path_type": "softlink"},
                        {"_path": "lib/c", "path_type": "hardlink"},
                        {"_path": "empty", "path_type": "directory"},
                    ]
                }
            ).encode()
        },
        extra=[
            (member("./", tarfile.DIRTYPE), b""),
            (member("lib/", tarfile.DIRTYPE), b""),
            (member("lib/b", tarfile.SYMTYPE, "a"), b""),
            (member("lib/c", tarfile.LNKTYPE, "lib/a"), b""),
        ],
    )
    assert read(tmp_path, package).files == 3


def test_missing_files_are_refused_and_extra_ones_told(tmp_path):
    rows = {"paths": [{"_path": name, "size_in_bytes": 0} for name in ("lib/thing.txt", "gone")]}
    package = Package(info={"info/paths.json": json.dumps(rows).encode()})
    error = refused(tmp_path, package, "lacks files")
    assert "gone" in error.got
    package = Package(extra=[(member("more"), b"x"), (member("info/odd"), b"")])
    assert read(tmp_path, package).unlisted == ("more",)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_archives_are_refused_whereever_they_end(tmp_path, suffix):
    package = Package(files={f"f{n}": bytes(range(256)) * 8 for n in range(20)})
    data = made(package, suffix)
    for cut in range(0, len(data), max(1, len(data) // 40)):
        refused(tmp_path, package, "archive|description", suffix, data=data[:cut])


def test_a_truncated_stream_in_a_whole_zip_is_refused(tmp_path):
    package = Package(files={"a": b"x" * 10_000})
    stream = zstandard.compress(tar(package.payload()))
    data = zipped(
        {
            "metadata.json": b'{"conda_pkg_format_version": 2}',
            f"pkg-{package.dist}.tar.zst": stream[:-5],
            f"info-{package.dist}.tar.zst": zstandard.compress(package.info_tar()),
        }
    )
    refused(tmp_path, package, "cut off", data=data)


def test_several_compressed_streams_in_a_row_are_one(tmp_path):
    package = Package()
    whole = bz2.decompress(package.bz2())
    data = bz2.compress(whole[:700]) + bz2.compress(whole[700:])
    assert read(tmp_path, package, ".tar.bz2", data=data).files == 1


def test_bombs_are_stopped(tmp_path):
    package = Package(extra=[(member("bomb"), bytes(300 << 20))])
    refused(tmp_path, package, "unpacks to more")


def parts_of(package: Package) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(package.conda())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"metadata.json": b'{"conda_pkg_format_version": 3}'}, "unknown version"),
        ({"metadata.json": b"[]"}, "metadata.json"),
        ({"metadata.json": b"\xff"}, "metadata.json"),
        ({"metadata.json": None}, "no .conda"),
        ({"info-thing-1.0-0.tar.zst": None}, "no .conda"),
        ({"pkg-thing-1.0-0.tar.zst": None}, "no .conda"),
        ({"info-thing-1.0-0.tar.zst": b""}, "cut off"),
    ],
)
def test_broken_parts_of_a_conda_are_refused(tmp_path, change, match):
    package = Package()
    parts = {k: v for k, v in (parts_of(package) | change).items() if v is not None}
    refused(tmp_path, package, match, data=zipped(parts))


def test_an_archive_under_another_name_is_refused(tmp_path):
    data = Package(name="other").conda()
    refused(tmp_path, Package(), "no .conda", depth="info", data=data)


def test_what_only_some_readers_see_is_refused(tmp_path):
    package = Package()
    data = package.conda()
    other = Package(files={"evil": b"x"}).conda()
    refused(tmp_path, package, "hidden", data=other[: other.rindex(b"PK\x01\x02") - 90] + data)
    shorter = zipped(dict(list(parts_of(package).items())))
    at = shorter.index(b"PK\x01\x02")
    refused(tmp_path, package, "hidden|damaged", data=shorter[:at] + b"x" * 100 + shorter[at:])


@pytest.mark.parametrize("name", ["info/index.json", "info/paths.json"])
@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"paths": [1]}', b"[" * 100_000])
def test_broken_descriptions_are_refused(tmp_path, name, text):
    if (name, text) == ("info/index.json", b'{"paths": [1]}'):
        return
    refused(tmp_path, Package(info={name: text}), name, depth="info")


@pytest.mark.parametrize("rows", [b'{"paths": [{"_path": 1}]}', b'{"paths": [{}]}', b'{"paths":1}'])
def test_broken_lists_are_refused(tmp_path, rows):
    refused(tmp_path, Package(info={"info/paths.json": rows}), "no list of paths")


def test_descriptions_must_be_there(tmp_path):
    refused(tmp_path, Package(info={"info/index.json": None}), "no conda package")
    refused(tmp_path, Package(info={"info/paths.json": None}), "neither")
    text = {"info/paths.json": None, "info/files": b"\xff"}
    refused(tmp_path, Package(info=text), "not UTF-8")
    refused(tmp_path, Package(info={"info/index.json": b" " * (5 << 20)}), "too large")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damage_anywhere_is_an_integrity_error_or_nothing(tmp_path_factory, data):
    suffix = data.draw(st.sampled_from(SUFFIXES))
    package = Package(files={"lib/a": b"abc" * 50, "lib/b": b""})
    spoilt = bytearray(made(package, suffix))
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("spoilt") / "archive"
    path.write_bytes(bytes(spoilt))
    for depth in ("info", "whole"):
        with contextlib.suppress(IntegrityError):
            assert scan_archive(path, package.record(b"", suffix), depth).files == 2


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(PlaceError):
        scan_archive(tmp_path / "gone", Package().record(b""), "info")


def test_sha384(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha384(path) == (
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
        "8086072ba1e7cc2358baeca134c825a7"
    )
