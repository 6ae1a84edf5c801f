"""Mistakes that a type checker tells before the program runs: each line says which.

A comment names the rule that mypy says is broken, then that or those of pyright.
"""

from podfleet import (
    AsyncFleet,
    ExposureStrategy,
    Fleet,
    FleetServer,
    GameServer,
    GameServerTemplate,
    HostPort,
    Port,
    PortPool,
    ScalingPolicy,
)

template = GameServerTemplate(image="arena:1.4", ports=[Port("game", 7777, "UDP")])
exposure = HostPort(PortPool(7000, 7999))


class NoEndpoints(ExposureStrategy):
    pass


class NoAnswer(ScalingPolicy):
    pass


def construct() -> None:
    Fleet("arena", template, exposure)  # call-arg, reportCallIssue
    Fleet("arena", template=template)  # call-arg, reportCallIssue
    Fleet("arena", template=template, exposure="hostport")  # arg-type, reportArgumentType
    Fleet(
        "arena",
        template=template,
        exposure=exposure,
        ready="20%",  # arg-type, reportArgumentType
        packing="tight",  # arg-type, reportArgumentType
    )
    Port("game", "7777")  # arg-type, reportArgumentType
    HostPort((7000, 7999))  # arg-type, reportArgumentType
    GameServerTemplate(ports=[7777])  # list-item, reportArgumentType
    NoEndpoints()  # abstract, reportAbstractUsage
    NoAnswer()  # abstract, reportAbstractUsage


def use(fleet: Fleet, server: FleetServer) -> None:
    fleet.allocate(42)  # arg-type, reportArgumentType
    fleet.allocate("match-42", 10)  # call-arg, reportCallIssue
    fleet.allocate("match-42", time_out=10)  # call-arg, reportCallIssue
    fleet.find("match-42").release()  # union-attr, reportOptionalMemberAccess
    server.name = "other"  # misc, reportAttributeAccessIssue
    server.endpoint.port = 7001  # misc, reportAttributeAccessIssue
    number: str = server.endpoint.port  # assignment, reportAssignmentType
    print(number)


async def use_async(fleet: AsyncFleet, plain: GameServer) -> None:
    server = fleet.allocate("match-42")
    server.release()  # attr-defined, reportAttributeAccessIssue reportUnknownMemberType
    with fleet:  # attr-defined, reportGeneralTypeIssues
        pass
    plain.release()  # attr-defined, reportAttributeAccessIssue reportUnknownMemberType
