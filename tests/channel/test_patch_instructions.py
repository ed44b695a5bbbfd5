from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from repack.archive.facts import About, Facts
from repack.channel.patch_instructions import patch_instructions, repodata_from_packages
from tests.archives import Package


def merge_or_update(base: dict, new: dict, *, top: bool) -> dict:
    """What conda-index 0.13 does: ``utils_build.merge_or_update_dict`` with ``merge=False``."""
    if base == new:
        return base
    for key in [key for key in new if key in base] if top else list(new):
        value = new[key]
        if hasattr(value, "keys"):
            base[key] = merge_or_update(base.get(key, value), value, top=False)
        elif value is None and key in base:
            del base[key]
        else:
            base[key] = value
    return base


def apply(document: dict, instructions: dict) -> dict:
    """What conda-index 0.13 does: ``_apply_instructions``."""
    document, instructions = copy.deepcopy(document), copy.deepcopy(instructions)
    older = instructions["packages"]
    merge_or_update(document["packages"], older, top=True)
    twins = {fn.replace(".tar.bz2", ".conda"): patch for fn, patch in older.items()}
    merge_or_update(document["packages.conda"], twins, top=True)
    merge_or_update(document["packages.conda"], instructions["packages.conda"], top=True)
    return document


def pair(raw: dict[str, Any], index: dict[str, Any], suffix: str = ".conda"):
    record = Package().record(b"x", suffix)
    own = {key: record.raw[key] for key in ("md5", "sha256", "size", "name", "version", "build")}
    record = Package().record(b"x", suffix, depends=None, build_number=0)
    merged = {**own, "build_number": 0, "subdir": "linux-64", **raw}
    record = type(record).of(merged, record.fn, record.url)
    given = {"name": "thing", "version": "1.0", "build": "0", "build_number": 0}
    facts = Facts("info", {**given, "subdir": "linux-64", **index}, About(), 1, 1, "", "")
    return record, facts


KEY = st.sampled_from(["depends", "constrains", "license", "run_exports", "x", "arch", "mtime"])
LEAF = st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.lists(st.text(max_size=2)))
# No null: conda-index takes it for "remove", so that it cannot come out as a value.
INNER = st.dictionaries(st.sampled_from("abc"), LEAF, max_size=2)
VALUE = st.one_of(LEAF, INNER, st.dictionaries(st.sampled_from("abc"), INNER, max_size=2))
FIELDS = st.dictionaries(KEY, VALUE, max_size=5)


def turns_into_an_object(base: Any, wanted: Any) -> bool:
    """Whether a field is of the one kind that no patch can express."""
    if not isinstance(wanted, dict) or not isinstance(base, dict):
        return isinstance(wanted, dict)
    return any(turns_into_an_object(base[key], wanted[key]) for key in wanted if key in base)


@given(FIELDS, FIELDS)
def test_applying_the_patch_gives_upstreams_record(raw, index):
    packages = [pair(raw, index)]
    document = repodata_from_packages("linux-64", packages)
    base = document["packages.conda"]["thing-1.0-0.conda"]
    assume(not any(turns_into_an_object(base[key], raw[key]) for key in raw if key in base))
    patched = apply(document, patch_instructions(packages))
    assert patched["packages.conda"]["thing-1.0-0.conda"] == packages[0][0].raw


@given(FIELDS, FIELDS, FIELDS, FIELDS)
def test_twins_of_both_formats(raw, index, raw_old, index_old):
    def flat(fields):
        return {key: json.dumps(value) for key, value in fields.items()}

    packages = [
        pair(flat(raw), flat(index)),
        pair(flat(raw_old), flat(index_old), ".tar.bz2"),
    ]
    document = repodata_from_packages("linux-64", packages)
    patched = apply(document, patch_instructions(packages))
    assert patched["packages.conda"]["thing-1.0-0.conda"] == packages[0][0].raw
    assert patched["packages"]["thing-1.0-0.tar.bz2"] == packages[1][0].raw


def test_a_field_that_turns_into_an_object_does_no_harm():
    packages = [pair({"x": {"a": 1}, "license": "MIT"}, {"x": "text"})]
    instructions = patch_instructions(packages)
    assert instructions["packages.conda"] == {"thing-1.0-0.conda": {"license": "MIT"}}
    apply(repodata_from_packages("linux-64", packages), instructions)


def test_objects_are_patched_inside():
    packages = [pair({"x": {"a": 1, "c": {"d": 2}}}, {"x": {"b": 3, "c": {"d": 1}}})]
    instructions = patch_instructions(packages)
    assert instructions["packages.conda"]["thing-1.0-0.conda"] == {
        "x": {"a": 1, "b": None, "c": {"d": 2}}
    }
    twins = [*packages, pair({"x": {"a": 1}}, {"x": {"b": 3, "c": {"d": 1}}}, ".tar.bz2")]
    patched = apply(repodata_from_packages("linux-64", twins), patch_instructions(twins))
    assert patched["packages.conda"]["thing-1.0-0.conda"] == packages[0][0].raw


def test_documents_as_conda_index_writes_them():
    index = {"depends": ["a <2"], "arch": "x86_64", "platform": "linux", "timestamp": 1}
    packages = [pair({"depends": ["a <3"], "timestamp": 1}, index)]
    record = packages[0][0]
    assert repodata_from_packages("linux-64", packages) == {
        "info": {"subdir": "linux-64"},
        "packages": {},
        "packages.conda": {record.fn: {**record.raw, "depends": ["a <2"]}},
        "removed": [],
        "repodata_version": 1,
    }
    assert patch_instructions(packages) == {
        "patch_instructions_version": 1,
        "packages": {},
        "packages.conda": {record.fn: {"depends": ["a <3"]}},
        "revoke": [],
        "remove": [],
    }


def test_unpatched_packages_are_not_named():
    packages = [pair({"depends": []}, {"depends": []})]
    assert patch_instructions(packages)["packages.conda"] == {}
