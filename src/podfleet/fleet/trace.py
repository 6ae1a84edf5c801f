"""Spans of what fleets do, if anybody wants them: `podfleet.tracing` does, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias

__all__ = ["Attributes", "Span", "SpanMaker", "of_pod", "send_spans_to", "span"]

Attributes: TypeAlias = Mapping[str, str | int | bool]


class Span(Protocol):
    """A piece of work that is under way."""

    def tell(self, attributes: Attributes) -> None:
        """Say more about it."""


class SpanMaker(Protocol):
    """What makes spans."""

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """Return a span that lasts as long as the block."""


class _Silence:
    """The span that nobody wants."""

    def tell(self, attributes: Attributes) -> None:
        pass


_SILENCE = nullcontext(_Silence())
_maker: SpanMaker | None = None


def send_spans_to(maker: SpanMaker | None) -> None:
    """Have spans made from now on, by all fleets of this process; ``None`` for no more."""
    global _maker
    _maker = maker


def span(what: str, fleet: str, session: str | None = None) -> AbstractContextManager[Span]:
    """Return a span that lasts as long as the block.

    Args:
        what: What is done.
        fleet: The fleet, or the group of fleets.
        session: For which session.
    """
    if _maker is None:
        return _SILENCE
    attributes = {"podfleet.fleet": fleet}
    if session is not None:
        attributes["podfleet.session"] = session
    return _maker.span(f"podfleet.{what}", attributes)


def of_pod(name: str, namespace: str) -> dict[str, str]:
    """Return the attributes that name a Pod, in the words that OpenTelemetry has for them."""
    return {"k8s.pod.name": name, "k8s.namespace.name": namespace}
