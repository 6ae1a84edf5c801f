"""The same, awaited, and parts of one's own: a strategy and a scaling policy."""

from collections.abc import Callable, Mapping
from typing import Any, assert_type

from podfleet import (
    AsyncFleet,
    AsyncFleetGroup,
    AsyncFleetServer,
    ClusterView,
    ConfigurationError,
    Endpoint,
    EventStream,
    ExposureStrategy,
    FleetEvent,
    FleetStatus,
    GameServerTemplate,
    Load,
    Port,
    RolloutStatus,
    ScalingPolicy,
    async_wait_ready,
)


class PodAddress(ExposureStrategy):
    def endpoints(
        self, pod: Mapping[str, Any], template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        address = pod["status"].get("podIP")
        if not address:
            return None
        return tuple(
            Endpoint(address, one.number, one.protocol, one.name) for one in template.ports
        )


class TwiceTheLine(ScalingPolicy):
    def free(self, load: Load) -> int | None:
        assert_type(load.waiting, int)
        return 2 * load.waiting


fleet = AsyncFleet(
    "arena",
    template=GameServerTemplate(image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777)]),
    exposure=PodAddress(),
    ready=TwiceTheLine(),
)


async def match() -> Endpoint:
    async with fleet as same:
        assert_type(same, AsyncFleet)
        server = await same.allocate(session="match-42", timeout=10, limit=3600)
        assert_type(server, AsyncFleetServer)
        await server.release()
        return server.endpoint


async def look() -> None:
    assert_type(await fleet.find("match-42"), AsyncFleetServer | None)
    assert_type(await fleet.servers(), list[AsyncFleetServer])
    assert_type(await fleet.status(), FleetStatus)
    assert_type(await fleet.rollout_status(), RolloutStatus)
    await async_wait_ready("arena-x", timeout=5)


async def listen() -> None:
    stream = fleet.events()
    assert_type(stream, EventStream)
    async for event in stream:
        assert_type(event, FleetEvent)
    assert_type(await fleet.on_event(print), Callable[[], None])


async def group() -> AsyncFleetServer:
    try:
        return await AsyncFleetGroup("arena", [fleet]).allocate("match-42")
    except ConfigurationError as error:
        assert_type(error.field, str)
        raise
