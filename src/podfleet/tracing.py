"""Spans for OpenTelemetry: how long fleets take for what they do. Needs `podfleet[tracing]`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import Token
from typing import Self

try:
    from opentelemetry import trace
    from opentelemetry.context import Context, attach, detach
except ImportError as error:
    raise ImportError(
        "podfleet.tracing needs the API of OpenTelemetry: pip install 'podfleet[tracing]'"
    ) from error

from attrs import define, frozen

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


@define
class _Span(AbstractContextManager["_Span"]):
    """As the API's `use_span`, whose generators take as long as the span itself."""

    span: trace.Span
    _before: Token[Context] | None = None

    def tell(self, attributes: Attributes) -> None:
        self.span.set_attributes(attributes)

    def __enter__(self) -> Self:
        self._before = attach(trace.set_span_in_context(self.span))
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        assert self._before is not None
        detach(self._before)
        if isinstance(error, Exception):  # not one that is cancelled
            self.span.record_exception(error)
            self.span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}")
        self.span.end()


@frozen
class _Tracer:
    tracer: trace.Tracer

    def span(self, name: str, attributes: Attributes) -> _Span:
        return _Span(self.tracer.start_span(name, attributes=attributes))
