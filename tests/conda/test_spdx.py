"""Licence policies: what is denied, what is unknown, and that no text breaks the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_expression import ExpressionError, get_spdx_licensing

from repack.conda.spdx import LicencePolicy, judge_licence, unknown_identifiers

POLICY = LicencePolicy(("GPL-3.0-only", "agpl-*", "BUSL-1.1"))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("MIT", "allowed"),
        ("mit AND bsd-3-clause", "allowed"),
        ("LicenseRef-Proprietary", "allowed"),
        ("GPL-3.0-only", "denied"),
        ("GPL-3.0", "denied"),  # the old spelling
        ("GPL-3.0-or-later", "allowed"),  # another identifier: name both
        ("MIT OR GPL-3.0-only", "allowed"),
        ("MIT AND GPL-3.0-only", "denied"),
        ("MIT AND (Zlib OR GPL-3.0-only)", "allowed"),
        ("(MIT AND BUSL-1.1) OR GPL-3.0-only", "denied"),
        ("GPL-3.0-only WITH GCC-exception-3.1", "denied"),
        ("AGPL-3.0-or-later", "denied"),
        ("", "unknown"),
        ("BSD", "unknown"),
        ("Apache 2.0", "unknown"),
        ("MIT/X11", "unknown"),
        ("MIT AND", "unknown"),
        ("(" * 5000, "unknown"),
    ],
)
def test_verdicts(text, verdict):
    assert judge_licence(text, POLICY).verdict == verdict


def test_a_licence_outside_spdx_can_be_denied_by_its_name():
    policy = LicencePolicy(("proprietary", "MIT/*"))
    assert judge_licence("Proprietary", policy).verdict == "denied"
    assert judge_licence("MIT/X11", policy).verdict == "denied"


def test_expressions_come_out_in_the_spelling_of_spdx():
    found = judge_licence("gpl-2.0+ or mit", LicencePolicy())
    assert found.text == "GPL-2.0-or-later OR MIT"
    assert found.is_spdx
    assert found.identifiers == ("GPL-2.0-or-later", "MIT")


def test_typing_mistakes_in_a_policy_are_found():
    assert unknown_identifiers(LicencePolicy(("MIT", "GPL3", "AGPL-*"))) == ("GPL3",)


@given(st.text(max_size=60))
def test_any_text_gets_a_verdict(text):
    assert judge_licence(text, POLICY).verdict in {"allowed", "denied", "unknown"}


_KNOWN = get_spdx_licensing()
_WORDS = st.sampled_from(
    ["MIT", "gpl-2.0", "GPL 2.0+", "bsd-3-clause", "Classpath-exception-2.0", "LicenseRef-x", "Foo"]
    + [key for key in _KNOWN.known_symbols if key.startswith(("GPL", "Apache", "LGPL"))]
)
_JOINTS = st.sampled_from([" OR ", " and ", " WITH ", " ", ", ", "/", " (", ") "])


@given(st.lists(st.tuples(_WORDS, _JOINTS), min_size=1, max_size=4))
def test_reads_as_one_does_that_knows_all_licences(parts):
    text = "".join(word + joint for word, joint in parts)[: -len(parts[-1][1])]

    found = judge_licence(text, LicencePolicy())

    try:
        parsed = _KNOWN.parse(text)
    except ExpressionError:
        parsed = None
    if parsed is None:
        assert not found.is_spdx
    else:
        assert found.identifiers == tuple(sorted(_KNOWN.license_keys(parsed)))
        unknown = [key.lower() for key in _KNOWN.unknown_license_keys(parsed)]
        assert found.is_spdx == all(key.startswith("licenseref-") for key in unknown)
        assert found.text == (str(parsed) if found.is_spdx else text)
