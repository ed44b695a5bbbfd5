"""Patches: every kind of package there is, and every kind of damage."""

from __future__ import annotations

import array
import bz2
import hashlib
import io
import random
import tarfile
import zipfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.archive.package import JOB, PackageFile, PackageSpec, with_content_build
from repack.archive.writer import pack
from repack.delta import patch, payload, recompress
from repack.delta import patch_format as model
from repack.delta.patch_format import Part, Patch, Recipe, Segment
from repack.delta.payload import Payload
from repack.errors import IntegrityError

LIMIT = 1 << 40


def tar(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def zstd(level, threads=0, *, sized=True, checksum=False, job=0, overlap=0):
    def press(data):
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            source_size=len(data) if sized else 0,
            threads=threads,
            job_size=job,
            overlap_log=overlap,
            write_checksum=checksum,
            write_content_size=sized,
        )
        machine = zstandard.ZstdCompressor(compression_params=parameters)
        pressed = machine.compressobj(size=len(data) if sized else -1)
        # in pieces, as tools do that stream a tar
        pieces = [pressed.compress(data[at : at + 10_000]) for at in range(0, len(data), 10_000)]
        return b"".join([*pieces, pressed.flush()])

    return press


def conda(path, files, press):
    dist = path.name.removesuffix(".conda")
    info = {"info/index.json": b'{"name": "x"}' * 50}
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in {
            "metadata.json": b'{"conda_pkg_format_version": 2}',
            f"pkg-{dist}.tar.zst": press(tar(files)),
            f"info-{dist}.tar.zst": press(tar(info)),
        }.items():
            zipped.writestr(zipfile.ZipInfo(name), data)
    return path


def old_package(path, files, _press=None):
    path.write_bytes(bz2.compress(tar(files), 9))
    return path


def versions(size=3_000_000):
    """Two versions of some files: text, a program, and data that is not like anything."""
    generator = random.Random(3)
    words = [generator.randbytes(4).hex() for _ in range(500)]
    text = " ".join(generator.choice(words) for _ in range(size // 9)).encode()
    blob = generator.randbytes(size)
    new = text[: size // 3] + b"a sentence that was not there" + text[size // 3 :]
    return (
        {"share/text": text, "lib/blob": blob},
        {"share/new": b"new", "share/text": new, "lib/blob": blob[:-100] + bytes(100)},
    )


def made(tmp_path, base, package):
    """The patch and its payloads."""
    before = payload.unpack(base, base.name, tmp_path / "base", LIMIT)
    own = payload.unpack(package, package.name, tmp_path / "own", LIMIT)
    with (tmp_path / "patch").open("wb") as out:
        found = patch.make_patch(package, package.name, before, own, out)
    return found, before


def again(tmp_path, before):
    with (tmp_path / "again").open("wb") as out:
        patch.apply_patch(tmp_path / "patch", before, out)
    assert patch.is_raw(tmp_path / "patch") == (before.path.suffix == ".conda")
    return (tmp_path / "again").read_bytes()


WAYS = {
    "rattler-build": zstd(6, 2),
    "rattler-build, one thread": zstd(6),
    "conda-build": zstd(19),
    "highest": zstd(22),
    "fastest": zstd(1),
    "repack": zstd(9, 2, checksum=True, job=8 << 20, overlap=1),
    "no content size": zstd(3, sized=False),
}


@pytest.mark.parametrize("press", WAYS.values(), ids=WAYS)
def test_conda_packages_come_back_byte_for_byte(tmp_path, press):
    old, new = versions(600_000)
    base = conda(tmp_path / "x-1-0.conda", old, press)
    package = conda(tmp_path / "x-2-0.conda", new, press)
    found, before = made(tmp_path, base, package)
    assert found is not None
    assert again(tmp_path, before) == package.read_bytes()
    assert found.size == package.stat().st_size
    assert (tmp_path / "patch").stat().st_size < package.stat().st_size / 50


@pytest.mark.parametrize(("first", "second"), [(".tar.bz2", ".tar.bz2"), (".tar.bz2", ".conda")])
def test_old_packages_too_and_from_one_format_to_the_other(tmp_path, first, second):
    old, new = versions(600_000)
    build = {".tar.bz2": old_package, ".conda": conda}
    base = build[first](tmp_path / f"x-1-0{first}", old, zstd(6))
    package = build[second](tmp_path / f"x-2-0{second}", new, zstd(6))
    found, before = made(tmp_path, base, package)
    assert found is not None
    assert again(tmp_path, before) == package.read_bytes()
    assert (tmp_path / "patch").stat().st_size < package.stat().st_size / 20


def test_repacks_own_packages_of_several_jobs(tmp_path):
    press = zstd(3, 2, checksum=True, job=1 << 20, overlap=6)
    generator = random.Random(9)
    files = {"a": generator.randbytes(5_000_000)}
    base = conda(tmp_path / "x-1-0.conda", files, press)
    package = conda(tmp_path / "x-2-0.conda", {"a": files["a"][:-1] + b"!"}, press)
    # a job size nobody uses: no recipe, and no patch
    assert made(tmp_path, base, package)[0] is None


def test_what_nobody_can_press_again_gets_no_patch(tmp_path):
    old, new = versions(300_000)

    def odd(data):
        return zstandard.compress(data[:1000], 3) + zstandard.compress(data[1000:], 7)

    base, package = conda(tmp_path / "x-1-0.conda", old, odd), tmp_path / "x-2-0.conda"
    assert made(tmp_path, base, conda(package, new, odd))[0] is None
    # a zip that compresses is none of conda's
    conda(package, new, zstd(6))
    with zipfile.ZipFile(package) as zipped:
        members = {info.filename: zipped.read(info) for info in zipped.infolist()}
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    assert made(tmp_path, base, package)[0] is None


def raw(tmp_path, base, package):
    """The raw patch, and what it makes is the package."""
    before = payload.unpack(base, base.name, tmp_path / "base", LIMIT)
    own = payload.unpack(package, package.name, tmp_path / "own", LIMIT)
    with (tmp_path / "patch").open("wb") as out:
        patch.make_raw_patch(package, (base, before), own, out)
    assert again(tmp_path, Payload.raw(base)) == package.read_bytes()
    return (tmp_path / "patch").stat().st_size


def bundle(folder, files, threads=0):
    """Pack files as repack packs bundles."""
    folder.mkdir()
    members = tuple(PackageFile.of(name, data) for name, data in files.items())
    return pack(
        with_content_build(PackageSpec("x", "1", members=members)), folder, ".conda", threads
    ).path


def weights(seed, size):
    """Numbers as networks have them: zstd presses them by a few per cent."""
    generator = random.Random(seed)
    return array.array("f", (generator.gauss(0, 0.02) for _ in range(size // 4))).tobytes()


def test_raw_patches_press_nothing_again(tmp_path):
    data = random.Random(4).randbytes(3_000_000)
    old, new = {"a": data, "b": b"1"}, {"a": data[:9] + b"?" + data[10:], "b": b"2" * 5000}
    for number, press in enumerate(WAYS.values()):
        base = conda(tmp_path / f"x-1-{number}.conda", old, press)
        assert raw(tmp_path, base, conda(tmp_path / f"x-2-{number}.conda", new, press)) < 10_000


def test_bundles_change_where_their_files_change(tmp_path):
    """One file grows and one goes: what is behind has the same bytes, compressed too."""
    one, two = weights(1, JOB), weights(2, JOB + 5000)
    old = {"a": b"a" * 70_000, "b": one, "c": b"some text " * 9, "d": two, "e": b"end"}
    new = {**old, "a": b"b" * 90_001, "c": b"", "e": b"other"}
    base, package = bundle(tmp_path / "1", old), bundle(tmp_path / "2", new)
    assert raw(tmp_path, base, package) < package.stat().st_size / 500


def test_large_bundles_find_their_like(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "RAW_SEGMENT", 1 << 20)
    monkeypatch.setattr(model, "RAW_REACH", 2 << 20)
    one, two = weights(1, JOB), weights(2, JOB)
    base = bundle(tmp_path / "1", {"b": one, "c": two})
    package = bundle(tmp_path / "2", {"a": weights(3, JOB), "b": one, "c": two})
    assert raw(tmp_path, base, package) < package.stat().st_size * 0.4


def test_bundles_come_back_from_pressed_patches_too(tmp_path):
    """Files that end at, before and behind the end of a job."""
    words = random.Random(5).randbytes(1000).hex().encode()
    sizes = (JOB - 512, JOB, JOB + 512, 3, 2 * JOB - 1024, 1)
    old = {f"f{number}": (words * (size // 2000 + 1))[:size] for number, size in enumerate(sizes)}
    new = {**old, "f0": old["f0"] + b"more", "f3": b"other"}
    base, package = bundle(tmp_path / "1", old), bundle(tmp_path / "2", new, threads=1)
    found, before = made(tmp_path, base, package)
    assert any(len(part.recipe.cuts) > 1 for part in found.parts if part.recipe)
    assert again(tmp_path, before) == package.read_bytes()
    assert bundle(tmp_path / "3", new, threads=2).read_bytes() == package.read_bytes()


def test_large_payloads_are_cut_into_segments_that_find_their_like(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "SEGMENT", 200_000)
    monkeypatch.setattr(model, "REACH", 400_000)
    old, new = versions(1_000_000)
    # what stands before shifts all that follows by more than a segment's reach
    new = {"before": random.Random(8).randbytes(900_000), **new}
    base = conda(tmp_path / "x-1-0.conda", old, zstd(6))
    package = conda(tmp_path / "x-2-0.conda", new, zstd(6))
    found, before = made(tmp_path, base, package)
    assert max(len(part.segments) for part in found.parts) > 10
    assert again(tmp_path, before) == package.read_bytes()
    assert (tmp_path / "patch").stat().st_size < 900_000 * 1.05


def test_empty_and_tiny_payloads(tmp_path):
    for number, files in enumerate(({}, {"a": b""}, {"a": b"x"}, {"a": b"y" * 1000})):
        base = conda(tmp_path / "x-1-0.conda", {}, zstd(3))
        package = conda(tmp_path / f"x-{number + 2}-0.conda", files, zstd(3))
        found, before = made(tmp_path, base, package)
        assert found is not None
        assert again(tmp_path, before) == package.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    old, new = versions(20_000)
    base = conda(folder / "x-1-0.conda", old, zstd(6))
    package = conda(folder / "x-2-0.conda", new, zstd(6))
    _, before = made(folder, base, package)
    return folder, before, package.read_bytes()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_patches_are_refused_or_give_other_bytes(small, data):
    folder, before, _ = small
    raw = bytearray((folder / "patch").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))]
    (folder / "bad").write_bytes(raw)
    try:
        with (folder / "out").open("wb") as out:
            patch.apply_patch(folder / "bad", before, out)
    except IntegrityError:
        return
    # whoever applies a patch compares the digest
    assert len(hashlib.sha256((folder / "out").read_bytes()).hexdigest()) == 64


SEGMENT = Segment(100, 0, 10, 50)
LIES = [
    Patch((Part(100, Recipe("zstd", 3), (replace(SEGMENT, size=1 << 40),)),)),
    Patch((Part(100, Recipe("zstd", 3), (replace(SEGMENT, reach=1 << 40),)),)),
    Patch((Part(100, Recipe("zstd", 3), (replace(SEGMENT, data=1 << 40),)),)),
    Patch((Part(100, Recipe("zstd", 3), (replace(SEGMENT, start=-1),)),)),
    Patch((Part(100, Recipe("zstd", 99), (SEGMENT,)),)),
    Patch((Part(100, Recipe("zstd", 3, job=1 << 40), (SEGMENT,)),)),
    Patch((Part(100, Recipe("zip", 3), (SEGMENT,)),)),
    Patch((Part(100, Recipe("bz2", 10), (SEGMENT,)),)),
    Patch((Part(100, Recipe("zstd", 3, checksum=1), (SEGMENT,)),)),
    Patch((Part(101, None, (SEGMENT,)),)),
    Patch((Part(-1),)),
    Patch((Part(True),)),
]


@pytest.mark.parametrize("lie", LIES)
def test_index_that_lies(small, lie):
    folder, before, _ = small
    (folder / "bad").write_bytes(bytes(50) + lie.footer())
    with pytest.raises(IntegrityError), (folder / "out").open("wb") as out:
        patch.apply_patch(folder / "bad", before, out)


def test_index_that_wants_what_is_not_there(small):
    folder, before, _ = small
    for segment in (replace(SEGMENT, start=before.size), replace(SEGMENT, reach=before.size + 1)):
        index = Patch((Part(100, Recipe("zstd", 3), (segment,)),))
        (folder / "bad").write_bytes(bytes(50) + index.footer())
        with (
            pytest.raises(IntegrityError, match="more of its base"),
            (folder / "o").open("wb") as o,
        ):
            patch.apply_patch(folder / "bad", before, o)


def test_another_recipe_gives_other_bytes_and_is_seen(small):
    folder, before, whole = small
    with (folder / "patch").open("rb") as stream:
        index = patch.read_index(stream, "patch")
        data = stream.read()[: -len(index.footer())]
    parts = tuple(
        replace(part, recipe=replace(part.recipe, level=1)) if part.recipe else part
        for part in index.parts
    )
    (folder / "bad").write_bytes(data + Patch(parts).footer())
    with (
        pytest.raises(IntegrityError, match="bytes are others"),
        (folder / "out").open("wb") as out,
    ):
        patch.apply_patch(folder / "bad", before, out)
    assert len(whole) == index.size


def test_recipe_that_would_take_too_much_memory(small):
    folder, before, _ = small
    index = Patch((Part(100, Recipe("zstd", 22, sized=False), (SEGMENT,)),))
    (folder / "bad").write_bytes(bytes(50) + index.footer())
    with pytest.raises(IntegrityError, match="too much memory"), (folder / "o").open("wb") as out:
        patch.apply_patch(folder / "bad", before, out)


def test_base_that_unpacks_to_more_than_said(tmp_path):
    base = conda(tmp_path / "x-1-0.conda", {"a": bytes(5_000_000)}, zstd(3))
    with pytest.raises(IntegrityError, match="unpacks to more"):
        payload.unpack(base, base.name, tmp_path / "base", 1_000_000)


def test_tools_are_named():
    assert dict(recompress.tools())["zstd"].count(".") == 2
