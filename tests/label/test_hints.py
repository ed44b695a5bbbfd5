"""Mistakes of a label file, told at once with lines; a hint is written as it stands and is right."""

from __future__ import annotations

import pytest

from tests.world import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "wörk dir")


def write(world, *lines):
    text = "\n".join(["label: bank", f"channels: [{world.upstream.as_uri()!r}]", *lines])
    (world.labels / "bank.yaml").write_text(text, encoding="utf-8")


def test_every_mistake_is_told_before_anything_is_solved(world, capsys):
    (world.labels / "empty").mkdir()
    (world.labels / "file").write_text("")
    write(world, "packages: [no-such-package]", "platforms: {linux-64: {}}",
          "bundles:", "  a: {path: gone, version: '1'}", "  b: {path: empty, version: '1'}",
          "  c: {path: file, version: '1'}", "kep_releases: 3", "health_check: python -c 1",
          'constraints: ["a::b"]')  # fmt: skip
    assert world.repack("label", "bank") == 3
    error = capsys.readouterr().err
    for line, words in ((6, "not there"), (7, "is empty"), (8, "is no folder"),
                        (9, "did you mean 'keep_releases'?"), (10, "[python, "), (11, "'b'")):  # fmt: skip
        assert any(f"bank.yaml:{line}: " in row and words in row for row in error.splitlines())
    assert "no-such-package" not in error


def test_reading_a_label_for_its_key_needs_no_bundles(world, monkeypatch):
    from repack.cli.shared import key_options

    monkeypatch.setenv("K", "0123456789abcdef0123456789abcdef")
    write(world, "packages: [pip]", "platforms: {linux-64: {}}", "signing: {hmac: 'env:K'}",
          "bundles: {a: {path: gone, version: '1'}}")  # fmt: skip
    monkeypatch.chdir(world.root)
    folders = {"labels_dir": world.labels, "channels_dir": world.channels, "store": world.store}
    assert key_options.label_key("bank", folders) is not None


def test_a_tab_that_was_a_backslash(world, capsys):
    write(world, "packages: [pip]", "platforms: {linux-64: {}}",
          'bundles: {a: {path: "C:\\temp", version: "1"}}')  # fmt: skip
    assert world.repack("label", "bank") == 3
    assert "single quotes" in capsys.readouterr().err
