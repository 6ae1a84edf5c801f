"""Cores of its own for the test cluster, as where a backend runs on another machine.

On one small machine a benchmark and its cluster take the same cores: what the client's own work
takes is then lost to the API server as well, which no backend's does.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster import cgroups


@contextmanager
def apart() -> Iterator[None]:
    """Have the test cluster run on one half of the cores, this process on the other."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    _place([os.getpid()], cores[:half])
    _place(cgroups.processes(), cores[half:] or cores)
    try:
        yield
    finally:
        _place([os.getpid(), *cgroups.processes()], cores)


def _place(processes: Iterable[int], cores: Iterable[int]) -> None:
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for thread in Path(f"/proc/{process}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cores)
