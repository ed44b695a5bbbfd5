"""What channels and their history name."""

from __future__ import annotations

import json

import pytest

from repack.errors import IntegrityError, UsageError
from repack.store import references


def hexed(letter: str) -> str:
    return letter * 64


def put(channels, path, content):
    file = channels / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def repodata(**packages):
    rows = {fn + ".conda": {"sha256": sha256} for fn, sha256 in packages.items()}
    return {"packages": {}, "packages.conda": rows}


def test_digests_of_channels_papers_and_history(tmp_path):
    put(tmp_path, "bank/linux-64/repodata.json", repodata(a=hexed("a")))
    put(tmp_path, "bank/repack/lock.yml", f"sha256: {hexed('b')}\nmd5: {'c' * 32}\n")
    put(tmp_path, "bank/repack/manifest.json", {"sha384": "d" * 96, "sha256": hexed("E")})
    put(tmp_path, ".history/bank/1/noarch/repodata.json", repodata(f=hexed("f")))
    put(tmp_path, ".history/bank/1/repack/manifest.json", {"sha256": hexed("1")})
    put(tmp_path, ".history/bank/1/lock.yml", f"sha256: {hexed('2')}")
    put(tmp_path, ".staging/bank/noarch/repodata.json", repodata(z=hexed("9")))
    put(tmp_path, "bank/noarch/a.conda", hexed("8"))
    assert references.read_digests(tmp_path) == {hexed(c) for c in "abef12"}


def test_no_channels_is_not_an_empty_answer(tmp_path):
    with pytest.raises(UsageError, match="no channels here"):
        references.read_digests(tmp_path / "gone")
    assert references.read_digests(tmp_path) == frozenset()


def test_uses(tmp_path):
    put(tmp_path, "bank/noarch/repodata.json", repodata(a=hexed("a"), b=hexed("b")))
    put(tmp_path, "shop/noarch/repodata.json", repodata(a=hexed("a")))
    uses = references.read_uses(tmp_path)
    assert uses[hexed("a")] == references.Usage("a.conda", ("bank", "shop"))
    assert uses[hexed("b")].labels == ("bank",)


@pytest.mark.parametrize("text", ["{", "[]", '{"packages": 1}', '{"packages": {"a": 1}}'])
def test_a_repodata_that_is_none(tmp_path, text):
    put(tmp_path, "bank/noarch/repodata.json", text)
    with pytest.raises(IntegrityError):
        references.read_uses(tmp_path)
