"""Which packages of a delta go as patches."""

from __future__ import annotations

from repack.delta.patch_format import Part, Recipe, Segment
from repack.delta.selection import PatchCandidate, choose, pays
from repack.names import RelPath

A, B, C = (RelPath(f"noarch/{name}-1-0.conda") for name in "abc")
MB = 10**6


def pressed(whole, size, level, times=3):
    """A patch whose stream of ``times`` the package's size is compressed again."""
    segments = (Segment(whole * times, 0, 0, size),)
    return PatchCandidate(whole, size, (Part(whole, Recipe("zstd", level), segments),))


def raw(whole, size):
    return PatchCandidate(whole, size, (Part(whole, None, (Segment(whole, 0, 0, size),)),))


def test_raw_patches_are_free_unless_they_save_nothing():
    good, poor = raw(100 * MB, MB), raw(100 * MB, 95 * MB)
    assert choose({A: [good], B: [poor]}, 200 * MB, None) == {A: good}


def test_recompression_has_a_limit_and_what_saves_most_for_its_time_comes_first():
    # reckoned: 353 MB are copied in 0.5 s, so 0.25 s each and 0.5 s together
    quick, slow, other = (pressed(4 * MB, n * MB, 6) for n in (1, 3, 2))
    assert choose({B: [slow], C: [other], A: [quick]}, 353 * MB, None) == {A: quick, C: other}
    assert choose({A: [pressed(8 * MB, MB, 19)]}, 353 * MB, None) == {}


def test_a_large_bundle_is_never_pressed_again_by_itself():
    again = pressed(200 * MB, 2 * MB, 9, 1)
    assert choose({A: [again]}, 230 * MB, None) == {}
    assert choose({A: [again, raw(200 * MB, 80 * MB)]}, 230 * MB, None) == {
        A: raw(200 * MB, 80 * MB)
    }
    assert choose({A: [again]}, 230 * MB, 1e5) == {A: again}


def test_small_channels_are_not_held_to_what_nobody_notices():
    small = pressed(MB, MB // 10, 9)
    assert choose({A: [small]}, 2 * MB, None) == {A: small}


def test_what_beats_a_raw_patch_takes_its_place():
    free, better = raw(2 * MB, MB), pressed(2 * MB, MB // 10, 6)
    assert choose({A: [free, better]}, 353 * MB, None) == {A: better}
    worse = pressed(2 * MB, MB + 1, 6)
    assert choose({A: [free, worse]}, 353 * MB, None) == {A: free}


def test_the_way_to_the_target_decides_where_its_speed_is_given():
    patch = pressed(10 * MB, MB, 6, 1)
    assert not pays(patch, 100e6)
    assert pays(patch, 1e6)
    assert not pays(patch, 0)
    assert choose({A: [patch, raw(10 * MB, 2 * MB)]}, 353 * MB, 1e9) == {}
    assert choose({A: [patch, raw(10 * MB, 2 * MB)]}, 353 * MB, 1e3) == {A: patch}


def test_what_saves_next_to_nothing_goes_whole():
    assert not pays(raw(60_000, 0), None)
    assert pays(raw(70_000, 1000), None)
    assert not pays(pressed(10 * MB, 8 * MB, 19, 1), None)
