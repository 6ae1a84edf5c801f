"""`Works` where no cluster shows it."""

import asyncio
import gc
from typing import Any

import pytest

from podfleet.fleet.tending.works import Works


def test_what_is_stopped_before_it_began_leaves_nothing_behind() -> None:
    async def stopped_at_once() -> None:
        unasked: Any = None
        making = asyncio.create_task(Works(unasked, unasked).create(8, lambda: 8))
        await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making

    asyncio.run(stopped_at_once())
    gc.collect()  # a coroutine that was never awaited is told of here, and fails this test
