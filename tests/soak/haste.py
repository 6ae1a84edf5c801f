"""podfleet with its patience shortened: what takes a minute of a real day takes seconds here."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from podfleet.fleet import core
from podfleet.fleet.pool import orphans
from podfleet.fleet.tending import meter, reaper, surplus, tender, upkeep, works
from podfleet.kube import reflector, store, transport
from podfleet.local.api import watching

__all__ = ["frequent_bookmarks", "haste"]

_SHORTER: tuple[tuple[ModuleType, str, object], ...] = (
    (surplus, "_LASTS", 2.0),
    (reaper, "_ENDED", 1.0),
    (reaper, "_FAILING", 3.0),
    (reaper, "_UNREADY", 3.0),
    (orphans, "_AFTER", 2.0),
    (tender, "_LASTS", 3.0),
    (tender, "_RENEW", 1.5),
    (upkeep, "_ASKED", 0.3),
    (works, "_GOING", 10.0),
    (upkeep, "_LOOK", 1.0),
    (upkeep, "_PAUSE", (0.1, 2.0)),
    (upkeep, "_OTHERS_TURN", (0.2, 0.4)),
    (meter, "_OF_LATE", 4.0),
    (meter, "_AT_LEAST", 1.0),
    (reflector, "_SILENCE", 3.0),
    (reflector, "_WATCH_SECONDS", (5, 10)),
    (reflector, "_BACKOFF", (0.1, 2.0)),
    (transport, "_REQUEST_TIMEOUT", 3.0),
    # What is remembered is full before it is measured.
    (core, "_REMEMBERED_NAMES", 64),
    (store, "_REMEMBERED_DELETIONS", 256),
)
_BOOKMARKS = 1.0  # seconds: what a silence is measured by


@contextmanager
def haste() -> Iterator[None]:
    """Shorten it in this process, for as long as the block lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in _SHORTER:
            patch.setattr(module, name, value)
        yield


@contextmanager
def frequent_bookmarks() -> Iterator[None]:
    """Have an embedded cluster in this process send bookmarks as often as haste expects them.

    No more than that: its administrator is as patient as ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "_BOOKMARKS", _BOOKMARKS)
        yield
