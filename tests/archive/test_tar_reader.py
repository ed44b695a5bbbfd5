from __future__ import annotations

import io
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repack.archive.tar_reader import TarReader
from repack.errors import IntegrityError
from tests.archives import member, tar

NAME = st.text(st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1)
PATH = st.lists(NAME, min_size=1, max_size=40).map("/".join)
FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
BIG = 1 << 30


def chunks(data: bytes, size: int = 1000):
    return (data[at : at + size] for at in range(0, len(data), size))


def scan(data: bytes, size: int = 1000, limit: int = BIG):
    archive = TarReader(chunks(data, size), limit)
    found = [(found, archive.read_all(BIG)) for found in archive]
    archive.finish()
    return found


def checked(block: bytes) -> bytes:
    """The block with its checksum set right."""
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def header(name=b"x", size=b"00000000000", kind=b"0", magic=b"ustar\x0000", prefix=b"") -> bytes:
    block = name.ljust(148, b"\0") if len(name) > 100 else name.ljust(100, b"\0") + b"\0" * 48
    block = block[:124] + size.ljust(12, b"\0") + block[136:]
    block += b" " * 8 + kind + b"\0" * 100 + magic + b"\0" * 80 + prefix.ljust(155, b"\0")
    return checked(block.ljust(512, b"\0"))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(PATH, st.binary(max_size=2000)), max_size=6),
    st.sampled_from(FORMS[1:]),
    st.integers(1, 3000),
)
def test_reads_what_tarfile_reads(files, form, size):
    data = tar([(member(name), body) for name, body in files], form)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as archive:
        expected = [(m.name, archive.extractfile(m).read()) for m in archive if m.isfile()]
    # tarfile cuts slashes off names of files, which no archive maker writes.
    assert [(m.name, body) for m, body in scan(data, size)] == expected


@pytest.mark.parametrize("form", FORMS)
def test_names_as_long_as_each_form_allows(form):
    long = "/".join(["a" * 70] * (3 if form == tarfile.USTAR_FORMAT else 30))
    found = scan(tar([(member(long), b"1"), (member("b"), b"2")], form))
    assert [(m.name, body) for m, body in found] == [(long, b"1"), ("b", b"2")]


def test_links_and_folders():
    long = "x" * 300
    members = [
        (member("folder/", tarfile.DIRTYPE), b""),
        (member("file"), b"1"),
        (member("soft", tarfile.SYMTYPE, long), b""),
        (member("hard", tarfile.LNKTYPE, "file"), b""),
    ]
    for form in FORMS[1:]:
        found = [m for m, _ in scan(tar(members, form))]
        assert [(m.name, m.kind, m.target) for m in found] == [
            ("folder", "folder", ""),
            ("file", "file", ""),
            ("soft", "symlink", long),
            ("hard", "hardlink", "file"),
        ]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"Z"])
def test_devices_and_the_like_are_refused(kind):
    with pytest.raises(IntegrityError, match="no file, folder or link"):
        scan(header(kind=kind) + bytes(1024))


@pytest.mark.parametrize("cut", [100, 512, 700, 1024, 1200])
def test_cut_off_is_noticed(cut):
    data = tar([(member("a"), b"x" * 100), (member("b"), b"y" * 300)])[:cut]
    if cut == 1024:  # between two members; what is missing shows in the list of files
        assert len(scan(data)) == 1
    else:
        with pytest.raises(IntegrityError, match="cut off"):
            scan(data)


def test_skipped_data_that_is_cut_off_is_noticed():
    data = tar([(member("a"), b"x" * 5000), (member("b"), b"")])[:3000]
    with pytest.raises(IntegrityError, match="cut off"):
        list(TarReader(chunks(data), BIG))


def test_damage_is_noticed():
    data = bytearray(tar([(member("a"), b"x")]))
    data[0] ^= 1
    with pytest.raises(IntegrityError, match="checksum"):
        scan(bytes(data))


@pytest.mark.parametrize("size", [b"0000000001_0", b"-1", b"+1", b"0x10", b"99", b"\xff" * 12])
def test_numbers_that_readers_understand_differently_are_refused(size):
    with pytest.raises(IntegrityError, match="number"):
        scan(header(size=size) + bytes(1024))


def test_large_numbers_in_gnu_form():
    size = b"\x80" + (3).to_bytes(11)
    ((found, body),) = scan(header(size=size) + b"abc".ljust(512, b"\0") + bytes(1024))
    assert (found.size, body) == (3, b"abc")


def test_a_prefix_counts_only_where_all_readers_count_it():
    ((found, _),) = scan(header(prefix=b"up/here") + bytes(1024))
    assert found.name == "up/here/x"
    with pytest.raises(IntegrityError, match="differently"):
        scan(header(prefix=b"up/here", magic=b"ustar  \0") + bytes(1024))


@pytest.mark.parametrize("kind", [b"1", b"2", b"5"])
def test_only_files_have_data(kind):
    with pytest.raises(IntegrityError, match="has data"):
        scan(header(size=b"5", kind=kind) + bytes(1024))


def pax(data: bytes, kind: bytes = b"x") -> bytes:
    size = b"%011o" % len(data)
    return header(size=size, kind=kind) + data.ljust(-(-len(data) // 512) * 512, b"\0")


def test_pax_fields_that_matter():
    data = pax(b"14 path=a/bcd\n10 size=3\n6 a=b\n") + header(size=b"7") + b"abc".ljust(512, b"\0")
    ((found, body),) = scan(data + bytes(1024))
    assert (found.name, body) == ("a/bcd", b"abc")


@pytest.mark.parametrize(
    "data", [b"99 path=x\n", b"path=x\n", b"0 path=x\n", b"9 path=xy", b"7 path\n", b"x"]
)
def test_broken_pax_headers_are_refused(data):
    with pytest.raises(IntegrityError, match="pax"):
        scan(pax(data) + header() + bytes(1024))


def test_sparse_files_are_refused():
    with pytest.raises(IntegrityError, match="sparse"):
        scan(pax(b"22 GNU.sparse.major=1\n") + header() + bytes(1024))


def test_a_global_header_may_comment_but_not_rename():
    assert [m.name for m, _ in scan(pax(b"14 comment=ab\n", b"g") + header() + bytes(1024))] == [
        "x"
    ]
    with pytest.raises(IntegrityError, match="global"):
        scan(pax(b"9 path=y\n", b"g") + header() + bytes(1024))


def test_an_extension_must_belong_to_a_member():
    with pytest.raises(IntegrityError, match="extension"):
        scan(pax(b"9 path=y\n") + bytes(1024))


def test_an_extension_is_bounded():
    with pytest.raises(IntegrityError, match="too large"):
        scan(header(size=b"%011o" % (2 << 20), kind=b"L") + bytes(4 << 20))


def test_names_are_utf8():
    with pytest.raises(IntegrityError, match="UTF-8"):
        scan(header(name=b"\xff") + bytes(1024))


def test_nothing_hides_behind_the_end():
    data = tar([(member("a"), b"x")])
    with pytest.raises(IntegrityError, match="hidden"):
        scan(data + data)


def test_the_limit_holds_even_for_skipped_data():
    data = tar([(member("a"), bytes(100_000))])
    with pytest.raises(IntegrityError, match="unpacks to more"):
        list(TarReader(chunks(data), 50_000))


def test_data_is_given_at_most_once_and_within_bounds():
    archive = TarReader(chunks(tar([(member("a"), b"x" * 3000), (member("b"), b"y")])), BIG)
    assert next(members := iter(archive)).name == "a"
    with pytest.raises(IntegrityError, match="too large"):
        archive.read_all(2999)
    assert archive.read(10) == b"x" * 10
    assert archive.read_all(BIG) == b"x" * 2990
    assert archive.read_all(BIG) == b""
    assert next(members).name == "b"


def test_the_checksum_trick_is_the_sum():
    block = bytes(range(256)) * 2
    assert zlib.adler32(block) & 0xFFFF == (sum(block) + 1) % 65521
