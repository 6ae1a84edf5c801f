"""What a benchmark tells: lines of a table, some with a target."""

import json
from pathlib import Path

from attrs import asdict, frozen


@frozen
class Line:
    """One line of the table.

    Args:
        what: What was measured.
        value: In the unit.
        base: What it is measured against, in the unit; ``None`` if it stands alone.
        unit: The unit.
        target: What the ratio, or the value, is to be: at most, or at least.
        at_least: Which of the two.
    """

    what: str
    value: float
    base: float | None
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float:
        """The value by its base; the value itself if it stands alone."""
        return self.value if self.base is None else self.value / self.base

    @property
    def met(self) -> bool | None:
        """Whether the target is met."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


def report(lines: list[Line]) -> None:
    """Print the table."""
    print(f"{'':34}{'measured':>12}{'PATCH':>12}{'ratio':>8}  target")
    for line in lines:
        base = "" if line.base is None else f"{line.base:.4g} {line.unit}"
        ratio = "" if line.base is None else f"{line.ratio:.2f}"
        target = ""
        if line.target is not None:
            met = "" if line.met else "  MISSED"
            target = f"{'>=' if line.at_least else '<='} {line.target:g}{met}"
        measured = f"{line.value:.4g} {line.unit}"
        print(f"{line.what:34}{measured:>12}{base:>12}{ratio:>8}  {target}")


def write(lines: list[Line], file: Path) -> None:
    """Keep the figures, as JSON."""
    figures = [{**asdict(one), "ratio": one.ratio, "met": one.met} for one in lines]
    file.write_text(json.dumps(figures, indent=1))
