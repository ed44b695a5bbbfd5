"""The schema that editors get, against the reader and against docs/label.md."""

from __future__ import annotations

import json
from pathlib import Path

from repack.label.label import Label
from repack.label.schema import SCHEMA, label_schema

DOCS = Path(__file__).parents[2] / "docs" / "label.md"
# Keys of the file that go by another name inside.
RENAMED = {"label": "name", "from": "source", "$schema": None}


def keys(schema, path=""):
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}{name}", inner
        yield from keys(inner, f"{path}{name}.")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from keys(schema[key], path)


def test_every_key_of_the_file_has_a_place_in_the_label():
    fields = {RENAMED.get(key, key) for key in SCHEMA["properties"]} - {None}
    # `after_install` may hold two words
    assert fields == set(Label.__slots__) - {"secrets", "notes", "places", "after_bundles"}


def test_every_key_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    missing = [path for path, _ in keys(SCHEMA) if f"`{path.rsplit('.')[-1]}`" not in text]
    assert missing == []


def test_the_schema_for_editors_is_plain_json_schema():
    schema = label_schema()
    assert json.loads(json.dumps(schema)) == schema
    known = {"$schema", "title", "type", "description", "properties", "required", "items", "enum",
             "additionalProperties", "minItems", "minProperties", "minimum", "maximum", "pattern",
             "propertyNames", "oneOf"}  # fmt: skip
    assert set(schema) <= known
    for path, inner in keys(schema):
        assert set(inner) <= known, path


def test_optional_keys_may_be_empty_for_editors_too():
    properties = label_schema()["properties"]
    assert properties["constraints"]["type"] == ["array", "null"]
    assert properties["package_format"]["enum"] == ["keep", "tar.bz2", None]
    assert properties["label"]["type"] == "string"
    assert properties["platforms"]["properties"]["win-64"]["type"] == ["object", "null"]


def test_making_it_leaves_the_readers_alone():
    before = json.dumps(SCHEMA)
    label_schema()
    assert json.dumps(SCHEMA) == before
