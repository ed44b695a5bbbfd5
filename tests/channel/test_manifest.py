from __future__ import annotations

import hashlib
import json
import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repack.channel import integrity, layout
from repack.channel.manifest import Artifact, IntegrityRef, Manifest, build, parse
from repack.codec import sha256sums
from repack.errors import IntegrityError, RepackError, SignatureError
from repack.file_entry import UNKNOWN_SIZE, FileEntry
from repack.keys.shared_key import SharedKey
from repack.names import Digest, Digest384, RelPath

LONG = int(os.environ.get("REPACK_FUZZ", "1"))
KEY = SharedKey("oem-updates", bytes(range(32)))
SHA256, SHA384 = hashlib.sha256(b"").hexdigest(), hashlib.sha384(b"").hexdigest()
# as the contract shows it, both kinds of artifact
DOCUMENT = {
    "id": "halkbank",
    "version": "12",
    "platform": ["noarch", "linux-64", "win-64"],
    "runtime": "conda",
    "generated_at": "2026-11-20T12:00:00Z",
    "artifacts": [
        {"path": "linux-64/a.conda", "sha384": SHA384, "sha256": SHA256, "size": 1, "type": "full"},
        {
            "path": "delta.patch",
            "sha384": SHA384,
            "sha256": SHA256,
            "size": 1,
            "type": "diff",
            "base_id": "halkbank@11",
        },
    ],
    "integrity_manifest": {"path": "integrity.json", "sha256": SHA256},
}


def written(**changes):
    return json.dumps({**DOCUMENT, **changes}).encode()


def row(**changes):
    return written(artifacts=[{**DOCUMENT["artifacts"][0], **changes}])


def test_the_contract_example_is_read():
    found = parse(written(), "m")
    assert found.release == 12
    assert found.platform == ("noarch", "linux-64", "win-64")
    assert found.artifacts[1] == Artifact(
        RelPath("delta.patch"), 1, Digest(SHA256), Digest384(SHA384), "diff", "halkbank@11"
    )
    assert found.integrity == IntegrityRef(RelPath("integrity.json"), Digest(SHA256))


def test_an_update_package_has_a_platform_as_text():
    found = parse(written(platform="linux-x86_64", version="2024.05"), "m")
    assert found.platform == "linux-x86_64"
    with pytest.raises(IntegrityError, match="no release number"):
        _ = found.release


def test_built_signed_written_read_checked():
    head = Manifest("halkbank", "3", ("noarch",), (), generated_at="now", extra={"proof": "linked"})
    rows = (
        Artifact(RelPath("b"), 2, Digest(SHA256), Digest384(SHA384)),
        Artifact(RelPath("a"), 1, Digest(SHA256), None),
    )
    made = build(head, rows, IntegrityRef(RelPath("repack/integrity.json"), Digest(SHA256)))
    found = parse(made.signed(KEY).to_bytes(), "m")
    found.check(KEY, "m")
    assert [one.path for one in found.artifacts] == ["a", "b"]
    assert found.extra == {"proof": "linked"}
    assert found.payload() == made.payload()


def test_unknown_fields_are_kept_and_signed():
    data = parse(written(later={"x": [1, 2.5, None]}), "m").signed(KEY).to_bytes()
    parse(data, "m").check(KEY, "m")
    forged = json.loads(data)
    forged["later"]["x"][0] = 2
    with pytest.raises(SignatureError):
        parse(json.dumps(forged).encode(), "m").check(KEY, "m")


def test_rewriting_the_file_otherwise_does_not_break_the_signature():
    document = json.loads(parse(written(), "m").signed(KEY).to_bytes())
    shuffled = json.dumps(dict(reversed(document.items())), indent=7).encode()
    parse(shuffled, "m").check(KEY, "m")


def test_unsigned_is_said():
    with pytest.raises(SignatureError, match="not signed"):
        parse(written(), "m").check(KEY, "m")


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"null",
        written(id=""),
        written(id=7),
        written(version=12),
        written(platform=[1]),
        written(platform=None),
        written(runtime=None),
        written(generated_at=5),
        written(artifacts={}),
        written(artifacts=["x"]),
        written(artifacts=[*DOCUMENT["artifacts"], DOCUMENT["artifacts"][0]]),
        written(artifacts=[DOCUMENT["artifacts"][0], {**DOCUMENT["artifacts"][0], "path": "LINUX-64/A.conda"}]),
        written(integrity_manifest=[]),
        written(integrity_manifest={"path": "../x", "sha256": SHA256}),
        written(integrity_manifest={"path": "x", "sha256": "ab"}),
        written(signature=[]),
        written(signature=None),
        row(path="../x"),
        row(path="/etc/passwd"),
        row(path="C:/x"),
        row(path="a\\b"),
        row(path="a//b"),
        row(path=""),
        row(path="a/./b"),
        row(path="a\0b"),
        row(size=-1),
        row(size=True),
        row(size=1.0),
        row(size="1"),
        row(size=1 << 80),
        row(sha256="xyz"),
        row(sha384=SHA256),
        row(sha256=None, sha384=None),
        row(type="patch"),
        row(type=["full"]),
        row(base_id=3),
        json.dumps({**DOCUMENT, "x": math.nan}).encode(),
        b'{"id": "a", "id": "b"}',
    ],
    ids=range(39),
)  # fmt: skip
def test_bad_manifests_are_refused(data):
    with pytest.raises(IntegrityError) as caught:
        parse(data, "manifest.json")
    assert "manifest.json" in caught.value.text()


def test_one_hash_is_enough():
    assert parse(row(sha256=None), "m").artifacts[0].sha256 is None
    assert parse(row(sha384=None), "m").artifacts[0].sha384 is None


def mutated(document):
    """Any JSON value of the document replaced by any other."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=4,
    )

    @st.composite
    def draw_one(draw):
        copy = json.loads(json.dumps(document))
        here = copy
        while True:
            key = draw(
                st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here)))
            )
            if not isinstance(here[key], dict | list) or not here[key] or draw(st.booleans()):
                here[key] = draw(values)
                return copy
            here = here[key]

    return draw_one()


SIGNED = json.loads(parse(written(), "m").signed(KEY).to_bytes())


@settings(max_examples=200 * LONG, deadline=None)
@given(mutated(SIGNED))
def test_no_change_is_accepted_and_none_ends_in_a_traceback(document):
    try:
        parse(json.dumps(document).encode(), "m").check(KEY, "m")
    except IntegrityError:
        return
    # only the key's name may differ: it is a hint, and the secret decides
    copies = (document, SIGNED)
    bare = [{**one, "signature": {**one["signature"], "key_id": None}} for one in copies]
    assert bare[0] == bare[1]


@settings(max_examples=100 * LONG, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data):
    with pytest.raises(RepackError):
        parse(data, "m")


ENTRIES = [
    FileEntry(RelPath("b/ü"), 0, Digest(SHA256)),
    FileEntry(RelPath("a"), 7, Digest(SHA256)),
]


def test_integrity_list():
    data = integrity.to_bytes(ENTRIES)
    assert list(json.loads(data)["files"][0].values()) == ["a", SHA256, 7]
    assert integrity.parse(data, "i") == {entry.path: entry for entry in ENTRIES}
    assert integrity.to_bytes(reversed(ENTRIES)) == data


@pytest.mark.parametrize(
    "document", [{"a": SHA256}, {"files": {"a": SHA256}}, {"files": {"a": {"sha256": SHA256}}}]
)
def test_integrity_lists_of_other_tools(document):
    found = integrity.parse(json.dumps(document).encode(), "i")
    assert found == {RelPath("a"): FileEntry(RelPath("a"), UNKNOWN_SIZE, Digest(SHA256))}


@pytest.mark.parametrize(
    "document",
    [
        None,
        7,
        {"files": 7},
        {"files": [7]},
        {"files": [{"path": "a"}]},
        {"files": [{"path": "../a", "sha256": SHA256}]},
        {"files": [{"path": "a", "sha256": "x"}]},
        {"files": [{"path": "a", "sha256": SHA256, "size": -1}]},
        {"files": [{"path": "a", "sha256": SHA256}, {"path": "A", "sha256": SHA256}]},
        {"files": {"a": 7}},
    ],
)
def test_bad_integrity_lists(document):
    with pytest.raises(IntegrityError):
        integrity.parse(json.dumps(document).encode(), "i")


@pytest.mark.parametrize(
    ("path", "unlisted"),
    [
        ("repack/manifest.json", True),
        ("repack/integrity.json", True),
        ("repack/metadata/12.root.json", True),
        ("repack/metadata/timestamp.json", True),
        ("repack/metadata/SHA256SUMS", True),
        ("repack/releases/3/manifest.json", True),
        ("repack/metadata/evil.json", False),
        ("repack/metadata/01.root.json", False),
        ("repack/releases/3/other", False),
        ("x/repack/manifest.json", False),
        ("linux-64/repodata.json", False),
    ],
)
def test_what_cannot_be_listed(path, unlisted):
    assert layout.is_unlisted(path) is unlisted


@pytest.mark.parametrize("line", [b"abc", b"x  y", SHA256.encode() + b"  a/b", b"\xff" * 70])
def test_bad_sums(line):
    with pytest.raises(IntegrityError):
        sha256sums.parse_sums(line + b"\n", "s")


def test_sums_are_those_of_sha256sum():
    data = sha256sums.compose_sums({"b": b"", "a": b""})
    assert data.decode() == f"{SHA256}  a\n{SHA256}  b\n"
    assert sha256sums.parse_sums(data, "s") == {"a": SHA256, "b": SHA256}
