"""What a soak says: a line for each day, and what was wrong."""

from tests.soak.soak import Result, Row

__all__ = ["HEADER", "faults_in", "line"]

_WARM = 3
"""A third of the days warms up: code is loaded, and what is remembered up to a limit fills."""
_BLOCKS = 2.0
"""Blocks of memory a session that may be kept, from the warm days to the last ones: a string, and
its place. A Pod that is kept is found by `_PODS`, an entry in a table by `_ENTRIES`."""
_NOISE = 8000
"""Blocks by which one night differs from another. In 38 nights of 12 runs, of three days and of
twelve, on a machine with ten times its load: up to 3000 more or less than the mean. It goes by the
connections that are open still (20 to 100; 40 to 100 blocks each) and by what is remembered."""
_MEMORY = 16.0
"""MB that the process may grow after the warm days. Measured: 10 from the first day to the third,
2 in the next ten. The allocator keeps what a black-out had made it take."""
_PODS = 30
"""Pods in memory by night, wherever they are held. Measured: 15, those that are free in three
replicas, to 20."""
_ENTRIES = 60
"""Entries that a table may have by night. All that is there are five servers in each of three
replicas, which are 15 entries; the most that was measured were 24."""
_REMEMBERED = {
    "Meter._recent": 300,
    "Meter._starts": 150,
    "PortPool._holders": 600,
    "PortPool._refused": 600,
    "PortPool._released": 600,
    "Store._deleted": 768,
    "_Kept.data": 300,
    "Core.abandoned": 192,
}
"""Entries in three replicas' tables that remember up to a limit: an entry a number of the pool, 50
starts, the allocations of the last four seconds (131 were measured), and what `haste` says. A Pod
has five keys, and its last version is at hand."""

HEADER = (
    f"{'day':>4}{'asked':>7}{'given':>7}{'released':>9}{'lost':>6}{'refused':>8}{'faults':>7}"
    f"{'night':>8}{'memory':>10}{'blocks':>9}{'tasks':>7}{'conns':>7}{'pods':>6}{'tables':>8}{'cluster':>10}"
)


def line(row: Row) -> str:
    """Return a day's line."""
    counts, own = row.counts, row.own
    told = (
        f"{row.day:>4}{counts['asked']:>7}{counts['given']:>7}{counts['released']:>9}"
        f"{counts['lost']:>6}{counts['refused']:>8}{row.troubles:>7}{row.night:>6.1f} s"
        f"{own.memory:>7.1f} MB{own.blocks:>8.1f}k{own.tasks:>7}{own.connections:>7}"
        f"{own.pods:>6}{own.tables:>8}"
        f"{row.world:>7.1f} MB"
    )
    return "\n     WRONG: ".join([told, *row.wrong])


def faults_in(result: Result) -> list[str]:
    """Return what was wrong with a soak: all that was noticed, and what grew."""
    found = [wrong for row in result.rows for wrong in row.wrong]
    if not any(row.counts["released"] for row in result.rows):
        found.append("no match was played: the machine is too busy")
    found += [f"{count} {what} are left" for what, count in result.left.items()]
    return found + _grown(result.rows) + _filled(result.rows[-1].tables)


def _filled(tables: dict[str, int]) -> list[str]:
    """Return which tables have entries for what is no more."""
    return [
        f"{place} has {count} entries: more than {most}"
        for place, count in tables.items()
        if count > (most := _REMEMBERED.get(place, _ENTRIES))
    ]


def _grown(rows: list[Row]) -> list[str]:
    """Return what was not flat after the first days."""
    count = max(1, len(rows) // _WARM)
    warm, last = rows[:count], rows[-count:]
    sessions = sum(row.counts["asked"] for row in rows[count:])
    found = []

    def grew(what: str, before: float, after: float, allowed: float) -> None:
        if after > allowed:
            found.append(f"{what} grew from {before:.4g} to {after:.4g}: more than {allowed:.4g}")

    blocks, memory = warm[-1].own.blocks, max(row.own.memory for row in warm)
    now = min(row.own.blocks for row in last)
    grew("blocks", blocks, now, blocks + (_BLOCKS * sessions + _NOISE) / 1000)
    grew("memory", memory, last[-1].own.memory, memory + _MEMORY)
    tasks = max(row.own.tasks for row in warm)
    grew("tasks", tasks, min(row.own.tasks for row in last), tasks)
    if (pods := min(row.own.pods for row in last)) > _PODS:
        found.append(f"{pods} Pods are in memory: more than {_PODS}")
    return found
