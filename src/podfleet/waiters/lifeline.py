"""`Lifeline`: ends what waits for a server as soon as that server has ended.

Who dials a server would otherwise dial one that crashed until its own time is up, and blame the
network. Watching begins after a moment only: most servers answer at once, and cost nothing here.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from podfleet.kube import KubeClient, Store
from podfleet.model import Manifest
from podfleet.waiters.watching import until_failed

__all__ = ["Lifeline"]

_BEGINS = 0.1  # seconds


class Lifeline:
    """A block that raises `ServerFailed` as soon as a Pod has ended, failed or gone.

    As with ``asyncio.timeout``, what the block awaits is cancelled.

    Args:
        client: Reads events and logs, once the Pod has failed.
        store: A store that a reflector keeps.
        pod: The Pod: it was ready.
        in_match: Whether a match runs there, which only the end of its server ends.
    """

    def __init__(
        self, client: KubeClient, store: Store, pod: Manifest, *, in_match: bool = False
    ) -> None:
        self._client = client
        self._store = store
        self._pod = pod
        self._in_match = in_match
        self._watching: asyncio.Task[None] | None = None
        self._is_cut = False

    async def __aenter__(self) -> None:
        """Begin."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(_BEGINS, self._begin)

    def _begin(self) -> None:
        watching = until_failed(self._client, self._store, self._pod, in_match=self._in_match)
        self._watching = asyncio.get_running_loop().create_task(watching)
        self._watching.add_done_callback(self._cut)

    def _cut(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled():
            self._is_cut = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; raise why the Pod will not serve, if that is what ended the block."""
        self._timer.cancel()
        if self._watching is None:
            return
        if not self._is_cut:
            self._watching.remove_done_callback(self._cut)
            self._watching.cancel()
            return
        failure = self._watching.exception()
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            assert failure is not None, "it does not return"
            raise failure from None
