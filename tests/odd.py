"""Values of every kind, for arguments that expect another: what a fuzz test draws from."""

from __future__ import annotations

import datetime
import decimal
import itertools
import types
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["ODD", "replaced"]


class Rude:
    """An object that is of no use anywhere."""


def a_cycle() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["spec"] = made["metadata"] = made
    return made


def deep(levels: int) -> Any:
    made: Any = "x"
    for level in range(levels):
        made = [made] if level % 2 else {"spec": made}
    return made


def _function(*_: object, **__: object) -> object:
    return Rude()


SPECIAL = [
    *(None, True, False, 0, -1, 1, 65536, 2**31, 2**63, 10**300, -(10**300)),
    *(0.0, -0.5, 1e308, float("nan"), float("inf"), float("-inf"), 1j, decimal.Decimal("1.5")),
    *("", " ", "\0", "\ud800", "a\udc80b", "x" * 10_000, "é", "../x", "a/b", "a/b/c", "/", "*"),
    *("{'a': 1}", "name=x", "\u202e", "A" * 64, "1", "true", "null", "-", ".", "a\nb", "%2e%2e"),
    *(b"", b"\xff", bytearray(b"x"), (), [], {}, [None], [[]], {"": ""}, {None: None}, {1: 2}),
    *({"a": None}, {"a/b": "\ud800"}, {"spec": {"containers": {"a": None}}}, {"x": {1, 2}}),
    *(object(), Rude(), Rude, int, print, _function, lambda: None, Ellipsis, NotImplemented),
    *(
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2026, 1, 1),
        datetime.timedelta(1),
    ),
    *(types.MappingProxyType({"a": 1}), range(3), {1, 2}, frozenset("ab"), ValueError("x")),
    *(deep(50), deep(90), a_cycle(), itertools),
]

_SCALARS = (
    st.sampled_from(SPECIAL)
    | st.text(st.characters(), max_size=20)
    | st.text("abcAB019-._/:*%~ \0\ud800", max_size=80)
    | st.integers()
    | st.floats()
    | st.binary(max_size=8)
    | st.booleans()
)

ODD = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "labels", "name", "containers", "requests"]),
            inner,
            max_size=3,
        )
        | st.builds(lambda items: iter(items), st.lists(inner, max_size=2))
    ),
    max_leaves=6,
)


def replaced(given: Mapping[str, Any], names: tuple[str, ...] = ()) -> Any:
    """Return a strategy of arguments of which one to three are odd.

    Args:
        given: Good arguments.
        names: Those that may be given besides.
    """
    return st.dictionaries(
        st.sampled_from(sorted({*given, *names})), ODD, min_size=1, max_size=3
    ).map(lambda odd: {**given, **odd})
