"""`Machine`: what the kubelets of an embedded cluster share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
from attrs import define, field

from podfleet.local.clock import Clock
from podfleet.local.controllers.events import Events
from podfleet.local.network.addresses import Addresses
from podfleet.local.node.programs import Images, Programs
from podfleet.local.objects.registry import Registry

__all__ = ["Machine"]

_log = logging.getLogger(__name__)


@define
class Machine:
    """The machine that everything runs on.

    Args:
        registry: The cluster's objects.
        events: What is said about them.
        images: What each image runs.
        programs: Starts it.
        addresses: Gives Pods theirs.
        folder: The cluster's files.
        session: For probes over HTTP.
    """

    registry: Registry
    events: Events
    images: Images
    programs: Programs
    addresses: Addresses
    folder: Path
    session: aiohttp.ClientSession
    _tasks: set[asyncio.Task[Any]] = field(factory=set)

    @property
    def clock(self) -> Clock:
        """The cluster's time."""
        return self.registry.clock

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done in the background, until the cluster stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("the embedded cluster failed in %r", task, exc_info=task.exception())

    async def stop(self) -> None:
        """End what runs in the background."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
