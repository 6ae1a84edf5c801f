"""Spans of a fleet's work, as OpenTelemetry's own SDK gets them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from podfleet import AllocationTimeout, AsyncFleet, Exhausted, Fleet, FleetGroup, HeadlessDNS
from podfleet.tracing import instrument, uninstrument
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, eventually_async, make, template
from tests.live.test_warm import until_ready


class Spans:
    """The spans that were made until now, and the program's own tracer."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.provider = provider
        self.tracer = provider.get_tracer("backend")

    def of(self, what: str) -> list[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if one.name == what]


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    instrument(made.provider)
    try:
        yield made
    finally:
        uninstrument()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_a_call_is_a_child_of_the_request_that_made_it(backend: Backend, spans: Spans) -> None:
    with make(Fleet, backend, exposure=HeadlessDNS(), ready=1) as fleet:
        until_ready(fleet, 1)
        with spans.tracer.start_as_current_span("POST /matches") as request:
            server = fleet.allocate("match-1", timeout=30)
        server.release()
        [allocated] = spans.of("podfleet.allocate")
        assert parent(allocated) == request.get_span_context().span_id
        assert told(allocated) == {
            "podfleet.fleet": "arena",
            "podfleet.session": "match-1",
            "k8s.pod.name": server.name,
            "k8s.namespace.name": backend.namespace,
            "podfleet.warm": True,
            "podfleet.lost_races": 0,
        }
        [released] = spans.of("podfleet.release")
        assert parent(released) is None
        assert told(released)["k8s.pod.name"] == server.name
        # What is done in the background is no part of the request during which it began.
        eventually(lambda: spans.of("podfleet.tend"))
        assert {parent(one) for one in spans.of("podfleet.tend")} == {None}
        assert told(spans.of("podfleet.tend")[0]) == {"podfleet.fleet": "arena"}


def test_background_work_is_no_part_of_the_request_that_started_the_fleet(
    backend: Backend, spans: Spans
) -> None:
    async def request() -> None:
        fleet = make(AsyncFleet, backend, exposure=HeadlessDNS(), ready=1)
        with spans.tracer.start_as_current_span("POST /matches"):
            server = await fleet.allocate(timeout=60)
        await server.release()
        await eventually_async(lambda: spans.of("podfleet.tend"))
        await fleet.stop()

    asyncio.run(request())
    assert {parent(one) for one in spans.of("podfleet.tend")} == {None}
    assert told(spans.of("podfleet.allocate")[0])["k8s.namespace.name"] == backend.namespace


def test_a_failure_is_told_with_its_error(backend: Backend, spans: Spans) -> None:
    never = template(backend, node_selector={"podfleet.dev/none": "such"})
    with (
        make(Fleet, backend, exposure=HeadlessDNS(), template=never) as fleet,
        pytest.raises((AllocationTimeout, Exhausted)) as caught,
    ):
        fleet.allocate(timeout=2)
    [failed] = spans.of("podfleet.allocate")
    assert failed.status.status_code is StatusCode.ERROR
    [event] = failed.events
    assert str(dict(event.attributes or {})["exception.type"]).endswith(caught.type.__name__)
    assert "k8s.pod.name" not in told(failed)


def test_groups_slots_and_reservations_have_spans_too(backend: Backend, spans: Spans) -> None:
    shared = template(backend, slots=4)
    with (
        make(Fleet, backend, name="stable", template=shared, exposure=HeadlessDNS()) as stable,
        make(Fleet, backend, name="canary", template=shared, exposure=HeadlessDNS()) as canary,
        FleetGroup("both", [stable, canary]) as both,
    ):
        both.allocate("match-1", timeout=60)
        both.join("match-1")
        stable.leave("match-1", slots=1)
        both.leave("match-1")
    for what, name in (("allocate", "both"), ("join", "both"), ("leave", "stable")):
        assert told(spans.of(f"podfleet.{what}")[0])["podfleet.fleet"] == name
    with make(Fleet, backend, name="duel", exposure=HeadlessDNS()) as fleet:
        held = fleet.reserve(30, timeout=60)
        assert told(spans.of("podfleet.reserve")[0])["k8s.pod.name"] == held.name


def test_nobody_who_does_not_ask_for_spans_loads_what_makes_them() -> None:
    program = "import podfleet, sys; print([one for one in sys.modules if 'opentelemetry' in one])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.strip() == b"[]"
