"""Machine JSON to structs and back: nothing is lost, and what does not fit names its field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError
from repack.names import Digest, Digest384, LabelName, RelPath

HEX = st.text("0123456789abcdef", min_size=1)


class File(Document, frozen=True):
    path: RelPath
    size: int
    sha256: Digest
    sha384: Digest384 | None = None


class Release(Document, frozen=True):
    label: LabelName
    kind: Literal["ci", "production"]
    number: int
    files: tuple[File, ...] = ()
    base: File | None = None
    sizes: Mapping[str, int] = {}
    is_signed: bool = False
    ratio: float = 1.0


class Strict(Document, frozen=True, forbid_unknown_fields=True):
    number: int


def digests(length):
    return st.text("0123456789abcdef", min_size=length, max_size=length)


files = st.builds(
    File,
    path=st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}", fullmatch=True).map(RelPath),
    size=st.integers(0, 2**60),
    sha256=digests(64).map(Digest),
    sha384=st.none() | digests(96).map(Digest384),
)
releases = st.builds(
    Release,
    label=st.from_regex(r"bank-[a-z]{1,20}", fullmatch=True).map(LabelName),
    kind=st.sampled_from(["ci", "production"]),
    number=st.integers(0, 2**60),
    files=st.lists(files, max_size=4).map(tuple),
    base=st.none() | files,
    sizes=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)),
    is_signed=st.booleans(),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
)

FILE: dict[str, Any] = {"path": "a/b", "size": 1, "sha256": "0" * 64}
RELEASE: dict[str, Any] = {
    "label": "bank",
    "kind": "ci",
    "number": 7,
    "files": [FILE],
    "base": FILE,
}


@given(releases)
def test_what_is_encoded_decodes_to_the_same(release):
    document = json.loads(json.dumps(encode(release)))
    decoded = decode(Release, document, "x.json", "release")
    assert decoded == release
    assert type(decoded.label) is LabelName
    assert all(type(file.sha256) is Digest for file in decoded.files)


def test_encoded_fields_keep_their_order_and_are_plain():
    release = decode(Release, RELEASE, "x.json", "release")
    document = encode(release)
    assert list(document) == list(Release.__struct_fields__)
    assert type(document["label"]) is str
    assert type(document["base"]["sha256"]) is str


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"number": "7"}, "$.number"),
        ({"number": True}, "$.number"),
        ({"number": 7.5}, "$.number"),
        ({"number": None}, "$.number"),
        ({"kind": "nightly"}, "$.kind"),
        ({"is_signed": 1}, "$.is_signed"),
        ({"ratio": "1.0"}, "$.ratio"),
        ({"sizes": {"a": "1"}}, "$.sizes[...]"),
        ({"label": "../x"}, "$.label"),
        ({"label": 7}, "$.label"),
        ({"files": {}}, "$.files"),
        ({"files": [FILE, {**FILE, "size": "x"}]}, "$.files[1].size"),
        ({"files": [{**FILE, "path": "../b"}]}, "$.files[0].path"),
        ({"files": [{"path": "a", "size": 1}]}, "$.files[0]"),
        ({"base": {**FILE, "sha256": "0" * 63}}, "$.base.sha256"),
        ({"base": {**FILE, "sha384": "0" * 64}}, "$.base.sha384"),
        ({"base": []}, "$.base"),
    ],
)
def test_what_does_not_fit_names_its_field(changes, path):
    with pytest.raises(IntegrityError, match="the release is malformed") as caught:
        decode(Release, {**RELEASE, **changes}, "x.json", "release")
    assert caught.value.where == "x.json"
    assert f"`{path}`" in (caught.value.got or "")


@pytest.mark.parametrize("document", [None, [], "text", 7, True])
def test_what_is_no_object_is_refused(document):
    with pytest.raises(IntegrityError, match="the release is malformed"):
        decode(Release, document, "x.json", "release")


def test_a_missing_field_is_named():
    with pytest.raises(IntegrityError) as caught:
        decode(Release, {"label": "bank", "kind": "ci"}, "x.json", "release")
    assert "`number`" in (caught.value.got or "")


def test_unknown_fields_are_ignored_unless_forbidden():
    later = {**RELEASE, "new": {"a": 1}, "base": {**FILE, "new": []}}
    assert decode(Release, later, "x.json", "release") == decode(
        Release, RELEASE, "x.json", "release"
    )
    with pytest.raises(IntegrityError, match="malformed"):
        decode(Strict, {"number": 1, "new": 2}, "x.json", "release")


def test_lists_of_structs_decode_too():
    decoded = decode(tuple[File, ...], [FILE, FILE], "x.json", "list")
    assert decoded == (File(RelPath("a/b"), 1, Digest("0" * 64)),) * 2


def test_a_type_without_a_json_form_is_a_mistake_of_ours():
    with pytest.raises(NotImplementedError):
        encode({"x": object()})
