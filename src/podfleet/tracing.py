"""Spans for OpenTelemetry: how long fleets take for what they do. Needs `podfleet[tracing]`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry import trace
except ImportError as error:
    raise ImportError(
        "podfleet.tracing needs the API of OpenTelemetry: pip install 'podfleet[tracing]'"
    ) from error

from attrs import frozen

from podfleet.fleet.trace import Attributes, send_spans_to

__all__ = ["instrument", "uninstrument"]


def instrument(provider: trace.TracerProvider | None = None) -> None:
    """Have all fleets of this process make spans, from now on.

    A span is a child of what is current where the call was made: an ``allocate`` in a handler is
    part of that request's trace, also by a `Fleet` that does not await. Called again, it replaces
    the provider.

    Args:
        provider: Where spans go; by default where the program sends its own.

    Example:
        >>> from podfleet.tracing import instrument, uninstrument
        >>> instrument()
        >>> uninstrument()
    """
    send_spans_to(_Tracer(trace.get_tracer("podfleet", tracer_provider=provider)))


def uninstrument() -> None:
    """Have no more spans made."""
    send_spans_to(None)


@frozen
class _Span:
    span: trace.Span

    def tell(self, attributes: Attributes) -> None:
        self.span.set_attributes(attributes)


@frozen
class _Tracer:
    tracer: trace.Tracer

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[_Span]:
        with self.tracer.start_as_current_span(name, attributes=attributes) as span:
            yield _Span(span)
