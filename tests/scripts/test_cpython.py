import struct
import sys

import pytest

from scripts.cpython import CannotPackError, relocate


def elf(path, runpath, tag=29):
    """The smallest 64-bit file with a dynamic section that `relocate` can read."""
    strings = b"\0libfoo.so\0" + runpath + b"\0tail\0"
    dynamic = struct.pack("<qQqQqQ", 1, 1, tag, 11, 0, 0)
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    at_strings, at_dynamic = 64, 64 + len(strings)
    struct.pack_into("<Q", head, 0x28, at_dynamic + len(dynamic))
    struct.pack_into("<HH", head, 0x3A, 64, 2)
    sections = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at_strings, len(strings), 0, 0, 0, 0)
    sections += struct.pack("<IIQQQQIIQQ", 0, 6, 0, 0, at_dynamic, len(dynamic), 0, 0, 0, 16)
    path.write_bytes(bytes(head) + strings + dynamic + sections)
    return path


@pytest.mark.parametrize("tag", [15, 29], ids=["RPATH", "RUNPATH"])
def test_an_absolute_library_path_becomes_relative(tmp_path, tag):
    file = elf(tmp_path / "python", b"/usr/local/lib", tag)
    before = file.read_bytes()
    assert relocate(file, "$ORIGIN/../lib")
    assert file.read_bytes() == before.replace(b"/usr/local/lib", b"$ORIGIN/../lib")


def test_what_is_left_of_the_old_path_is_erased(tmp_path):
    file = elf(tmp_path / "python", b"/home/me/.pyenv/lib")
    assert relocate(file, "$ORIGIN")
    assert b"\0$ORIGIN" + b"\0" * 13 + b"tail" in file.read_bytes()


def test_a_path_that_is_too_short_is_an_error(tmp_path):
    with pytest.raises(CannotPackError, match="no room"):
        relocate(elf(tmp_path / "python", b"/lib"), "$ORIGIN/../lib")


def test_what_needs_nothing_is_left_alone(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert not relocate(script, "$ORIGIN")
    assert not relocate(elf(tmp_path / "a", b"$ORIGIN/../lib"), "$ORIGIN/../lib")
    assert not relocate(elf(tmp_path / "b", b"/usr/lib", tag=5), "$ORIGIN")


@pytest.mark.skipif(sys.platform != "linux", reason="packs a Linux interpreter")
@pytest.mark.slow
def test_the_same_interpreter_gives_the_same_bytes(tmp_path):
    from scripts.cpython import pack_linux

    first, second = pack_linux(tmp_path / "a"), pack_linux(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
