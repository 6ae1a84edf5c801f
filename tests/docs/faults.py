"""Write the table of docs/faults.md from the rules of tests/live/matrix.py.

python -m tests.docs.faults
"""

from pathlib import Path

from tests.live.matrix import FAILURES, Outcome, expected
from tests.live.matrix_operations import OPERATIONS

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- written by tests/docs/faults.py -->\n", "<!-- up to here -->\n"


def table() -> str:
    """Return a row for each operation; faults under which all end alike share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for failure in FAILURES.values():
        cells = tuple(_words(expected(one, failure)) for one in OPERATIONS.values())
        columns.setdefault(cells, []).append(failure.name)
    heads = ["call", *map("; ".join, columns.values())]
    rows = [" | ".join(heads), " | ".join("---" for _ in heads)]
    for number, name in enumerate(OPERATIONS):
        rows.append(" | ".join([_code(name), *(cells[number] for cells in columns)]))
    return "".join(f"| {row} |\n" for row in rows)


def _code(name: str) -> str:
    if name.startswith("`"):
        return name
    call, comma, rest = name.partition(", ")
    return f"`{call}`{comma}{rest}"


def _words(outcomes: tuple[Outcome, ...]) -> str:
    return " or ".join("✓" if one is None else f"`{one.__name__}`" for one in outcomes)


def page() -> str:
    """Return the page as it is to be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
