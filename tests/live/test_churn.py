"""All at once: matches come and go, the pool is scaled, rolled out, and its tender killed."""

import multiprocessing
import os
import signal
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from podfleet import Fleet, ServerState
from podfleet.fleet.tending import surplus
from podfleet.model.manifest import annotations_of, labels_of, uid_of
from podfleet.model.names import REVISION, SESSION
from podfleet.model.server import ClaimState, claim_state
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.onlooker import Onlooker
from tests.live.players import Line, Said, Script, play, read

PLAYERS = 8
FREE = 20  # servers in the end
PATIENCE = 170.0  # seconds for it all
KILLS = (0.25, 0.6)  # when so much has been played the tender is killed
_CONTEXT: Any = multiprocessing.get_context("forkserver")


@define(eq=False)
class Players:
    """The players' processes.

    Args:
        script: What they play.
    """

    script: Script
    running: dict[int, Any] = field(factory=dict)
    killed: list[int] = field(factory=list)

    def start(self, number: int) -> None:
        """Start one, or start it again."""
        process = _CONTEXT.Process(target=play, args=(number, self.script), daemon=True)
        process.start()
        self.running[number] = process

    def stop(self) -> None:
        """End those that still run."""
        for process in self.running.values():
            process.kill()
            process.join()

    def lines(self) -> list[Line]:
        """Return what they all have written down."""
        return [line for number in range(PLAYERS) for line in read(self.script.log(number))]

    def have_played(self, part: float) -> bool:
        """Return whether such a part of the sessions have had a server."""
        assert not self.check_alive()
        got = sum(line.said is Said.GOT for line in self.lines())
        return got >= part * PLAYERS * self.script.sessions

    def kill_tender(self, backend: Backend) -> None:
        """Kill the process that holds the Lease, and start it again."""
        number = eventually(lambda: self._tender(backend), 30)[0]
        process = self.running[number]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        self.killed.append(number)
        self.start(number)

    def _tender(self, backend: Backend) -> list[int]:
        """Return who holds the Lease, and still plays."""
        holder = holder_of(backend)
        latest = {
            number: [one.what for one in read(self.script.log(number)) if one.said is Said.LIVES]
            for number, process in self.running.items()
            if process.is_alive()
        }
        return [number for number, lives in latest.items() if lives[-1:] == [holder]]

    def check_alive(self) -> bool:
        """Return whether all have come to their end.

        Raises:
            AssertionError: One failed.
        """
        codes = {number: process.exitcode for number, process in self.running.items()}
        failed = {number: code for number, code in codes.items() if code not in (None, 0)}
        assert not failed, f"players failed: {failed}: see their stderr"
        return all(code == 0 for code in codes.values())


def holder_of(backend: Backend) -> str:
    leases = backend.objects("coordination.k8s.io/v1", "leases")
    found = [one for one in leases if one["metadata"]["name"] == "arena-tender"]
    return str(found[0]["spec"].get("holderIdentity", "")) if found else ""


def test_scaled_rolled_out_and_killed_no_match_is_lost_or_doubled(
    backend: Backend,
    crowd: dict[str, Any],
    thorough: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surplus, "_LASTS", 1.0)  # seconds
    began = time.monotonic()
    script = Script(
        backend.namespace,
        backend.kubeconfig,
        backend.cluster.image,
        crowd,
        tmp_path,
        sessions=500 if thorough else 90,
        began=began,
    )
    last = make(Fleet, backend, **script.settings(3, ready=FREE))  # and for their rights
    onlooker = Onlooker(backend.cluster.kubeconfig, backend.namespace)
    players = Players(script)
    with onlooker.watching():
        try:
            for number in range(PLAYERS):
                players.start(number)
            for part in KILLS:
                eventually(partial(players.have_played, part), PATIENCE)
                players.kill_tender(backend)
            eventually(players.check_alive, PATIENCE)
        finally:
            players.stop()
        lines = players.lines()
        check_sessions(script, lines)
        held = held_in_the_end(lines)
        check_sums(backend, last, held)
        check_deletions(onlooker, lines)
    went = [seen for seen in onlooker.seen.values() if seen.going is not None]
    free = [seen for seen in went if not seen.last_session]
    print(
        f"\n{PLAYERS} players with {script.sessions} sessions each in "
        f"{time.monotonic() - began:.0f} s: {len(onlooker.seen)} servers, {len(went)} deleted, of "
        f"which {len(free)} were free; the tender was killed as player {players.killed}"
    )


def check_sessions(script: Script, lines: list[Line]) -> None:
    """Check that each session had one server of its own."""
    assert not [line for line in lines if line.said is Said.LOST]
    by_session, by_server = defaultdict(set), defaultdict(set)
    for line in lines:
        if line.said is Said.GOT:
            by_session[line.what].add(line.uid)
            by_server[line.uid].add(line.what)
    assert len(by_session) == PLAYERS * script.sessions
    assert {session: uids for session, uids in by_session.items() if len(uids) > 1} == {}
    assert {uid: sessions for uid, sessions in by_server.items() if len(sessions) > 1} == {}


def held_in_the_end(lines: list[Line]) -> dict[str, str]:
    """Return the sessions that were not ended, and the UIDs of their servers."""
    held = {line.what: line.uid for line in lines if line.said is Said.GOT}
    for line in lines:
        if line.said is Said.ENDED:
            del held[line.what]
    return held


def check_sums(backend: Backend, fleet: Fleet, held: dict[str, str]) -> None:
    """Check that there is what was not ended, and what is kept free, and nothing else."""
    with fleet:
        fleet.reconcile()
        eventually(lambda: fleet.rollout_status().complete, 60)

        def exact() -> bool:
            counts = {state: count for state, count in fleet.status().servers.items() if count}
            return counts == {ServerState.READY: FREE, ServerState.ALLOCATED: len(held)}

        eventually(exact, 60)
        shown = backend.pods()
        taken = [pod for pod in shown if claim_state(pod) is ClaimState.ALLOCATED]
        assert {annotations_of(pod)[SESSION]: uid_of(pod) for pod in taken} == held
        assert len(shown) == FREE + len(held)
        free = {labels_of(pod)[REVISION] for pod in shown if pod not in taken}
        assert free == {fleet.revision}
        registered = [
            annotations_of(lease).get(SESSION)
            for lease in backend.objects("coordination.k8s.io/v1", "leases")
        ]
        assert sorted(filter(None, registered)) == sorted(held)


def check_deletions(onlooker: Onlooker, lines: list[Line]) -> None:
    """Check that no server was deleted before its match was over, as an onlooker saw it."""
    ends = {line.uid: line for line in lines if line.said is Said.ENDS}
    for uid, seen in onlooker.seen.items():
        assert len(seen.sessions) <= 1
        if seen.going is not None and seen.last_session:
            assert uid in ends, f"{uid} of {seen.last_session} was deleted, and never released"
            assert ends[uid].what == seen.last_session
            assert ends[uid].at <= seen.going, f"{uid} went before {seen.last_session} ended"
    assert len({seen.revision for seen in onlooker.seen.values()}) == 3
