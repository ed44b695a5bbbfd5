"""Structs with hidden and uncompared fields."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from repack.structs import Value


class Login(Value, frozen=True):
    hidden_fields: ClassVar = ("token",)
    uncompared_fields: ClassVar = ("source",)

    host: str
    token: str
    source: Any = None


class Other(Value, frozen=True):
    host: str
    token: str
    source: Any = None


def test_a_hidden_field_is_not_shown():
    assert repr(Login("a", "hunter2", 1)) == "Login(host='a', source=1)"
    assert "hunter2" not in f"{[Login('a', 'hunter2')]}"


def test_equality_leaves_out_what_is_not_compared():
    one, same, other = Login("a", "t", {"x": 1}), Login("a", "t", [2]), Login("a", "u")
    assert one == same
    assert not one != same  # noqa: SIM202 - `!=` is a method of its own
    assert hash(one) == hash(same)
    assert one != other
    assert not one == other  # noqa: SIM201
    assert len({one, same, other}) == 2


def test_another_class_is_never_equal():
    assert Login("a", "t") != Other("a", "t")
    assert Login("a", "t") != ("a", "t", None)


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        Login("a", "t").host = "b"
