"""Bytes that are no YAML, no JSON, or no label: told with a line, never a traceback."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.codec.document import parse_document
from repack.codec.tree import Items, Scalar, Table
from repack.errors import LabelError, Problem
from repack.label.reader import MAX_LABEL
from tests.label.test_reader import problems, read

try:
    chr(0xFFFFFFFF)
except (OverflowError, ValueError) as error:
    TOO_LARGE = str(error)  # Python 3.13 says it in other words


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "1: the file is empty"),
        (b"# nothing\n", "1: the file is empty"),
        (b"\xef\xbb\xbf", "1: the file is empty"),
        ("label: x\n".encode("utf-16"), "1: the file is UTF-16 (save it as UTF-8)"),
        (b"label: x\nb: \xe4\n", "2: byte 0xe4 is not UTF-8 (save the file as UTF-8)"),
        (b"label: x\nb: \x00\n", "2: control character U+0000 in the file"),
        (b"a:\n\tb: 1\n", "2: not YAML: found character '\\t' that cannot start any token (indent with spaces, not with tabs)"),
        (b"a: b: c\n", "1: not YAML: mapping values are not allowed here (quote a text that holds ': ', and check the indentation)"),
        (b"label: x\nb: *c\n", "2: not YAML: found undefined alias 'c' (quote a text that starts with '*')"),
        (b"label: x\nb: [1\n", "3: not YAML: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\n---\nb: 1\n", "2: not YAML: but found another document (one file holds one label; remove the '---')"),
        (b"a: !!python/object:os.system x\n", "1: tag 'tag:yaml.org,2002:python/object:os.system' means nothing here"),
        (b"a: !x {}\n", "1: tag '!x' means nothing here"),
        (b"? [a]\n: 1\n", "1: a key must be one word"),
        (b"- a\n- b\n", "1: the file must be a mapping of keys, not a list"),
        (b"hello\n", "1: the file must be a mapping of keys, not the text 'hello'"),
        (b"[" * 5000, "1: nested too deeply"),
        (b"a: &a [*a]\n", "1: nested too deeply"),
        (b'a: "\\ud800"\n', "1: half a surrogate pair in a text"),
        (b'a: "\\UFFFFFFFF"\n', f"1: not YAML: {TOO_LARGE}"),
        (b"#" * (10 << 20), f"1: the file has {10 << 20} bytes; at most {MAX_LABEL} are read"),
    ],
    ids=range(21),
)  # fmt: skip
def test_bytes_that_are_no_label(data, said):
    assert problems(data) == [f"halkbank.yaml:{said}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1,x]", "1: not JSON: Expecting value, column 4"),
        ("[1 2]", "1: not JSON: Expecting ',' delimiter, column 4"),
        ('{"a" 1}', "1: not JSON: Expecting ':' delimiter, column 6"),
        ("{a: 1}", "1: not JSON: Expecting property name enclosed in double quotes, column 2"),
        ('{"a": "b', "1: not JSON: Unterminated string starting at, column 7"),
        ('{"a": "\\ud800"}', "1: half a surrogate pair in a text"),
        ("{}\n{}", "2: not JSON: Extra data, column 1"),
        ("// no", "1: not JSON: Expecting value, column 1"),
        ("[" * 99 + "]" * 99, "1: nested too deeply"),
        ("NaN", "1: not JSON: Expecting value, column 1"),
    ],
)
def test_text_that_is_no_json(text, said):
    assert problems(text, "x.json") == [f"x.json:{said}"]


def plain(node):
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, Items):
        return [plain(value) for value in node.values]
    assert isinstance(node, Scalar)
    match node.kind:
        case "text":
            return node.text
        case "null":
            return None
        case "bool":
            return node.text == "true"
        case _:
            return float(node.text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**50), 2**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_is_read_as_the_library_reads_it(value, ascii_only, indent):
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators).replace(
        "\x7f", "\\u007f"
    )
    assert plain(parse_document(text.encode(), "x.json", MAX_LABEL)) == value


def test_json_that_yaml_reads_otherwise():
    key = "é" * 2000
    text = f'{{"{key}": 1,\r\n\t"a"\n\n: [{{"b" :2}}],\n"c":"\\/\u2028\x85"}}'
    node = parse_document(text.encode(), "x.json", MAX_LABEL)
    assert plain(node) == {key: 1, "a": [{"b": 2}], "c": "/\u2028\x85"}
    assert isinstance(node, Table)
    assert [entry.line for entry in node.entries] == [1, 2, 5]


KEYS = ["label", "channels", "platforms", "packages", "bundles", "signing", "linux-64", "from"]
pieces = st.sampled_from(
    [*KEYS, ": ", "\n", "  ", "- ", "{", "}", "[", "]", ", ", '"', "'", "&a ", "*a", "!!str ", "| ",
     "> ", "? ", "# ", "---\n", "...\n", "%YAML 1.1\n", "<<", "\t", "~", "${V}", "::", "2.30", "\\u",
     "\\x", "\r", "\u2028", "\ufeff", "é", "😀", "0x", "1_0", ".inf", "2026-01-01", "0o7", "@", "`"]
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map("".join), st.sampled_from(["x.yaml", "x.json"]))
def test_no_text_leads_to_anything_but_a_label_error(text, where):
    told: tuple[Problem, ...] = ()
    try:
        read(text, where, expect_name=None)
    except LabelError as error:
        told = error.problems or (Problem("", "an error without problems"),)
    assert all(problem.where.startswith(f"{where}:") for problem in told)


@given(st.binary(max_size=200), st.sampled_from(["x.yaml", "x.json"]))
def test_no_bytes_lead_to_anything_but_a_label_error(data, where):
    with pytest.raises(LabelError):
        read(data, where)


@given(
    st.dictionaries(
        st.sampled_from([*KEYS, "installers", "licences", "exclude_newer"]), json_values
    )
)
def test_no_values_lead_to_anything_but_a_label_error(document):
    with pytest.raises(LabelError):
        read(json.dumps(document).replace("\x7f", ""), "x.json")
