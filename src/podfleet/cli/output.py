"""What a command prints: columns or sentences for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

__all__ = ["Format", "Output", "columns", "print_json"]


class Format(StrEnum):
    """How a command prints what it found."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[
    Format, typer.Option("--output", "-o", help="Print for people, or as JSON for programs.")
]


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as they must be. Pure.

    Example:
        >>> print(columns(("name", "state"), [("arena-1", "ready"), ("a-2", "allocated")]))
        NAME     STATE
        arena-1  ready
        a-2      allocated
    """
    lines = [[cell.upper() for cell in head], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
