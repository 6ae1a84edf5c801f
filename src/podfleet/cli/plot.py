"""A picture of the benchmark: how many calls took how long at most. Needs `podfleet[plots]`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from podfleet.bench import Comparison
from podfleet.errors import ConfigurationError

__all__ = ["Plot"]


class Plot:
    """A picture that can be drawn: what keeps it from it is told before anything is measured.

    Args:
        file: Where it goes; its suffix says of which kind it is.

    Raises:
        ConfigurationError: It cannot be drawn there, or matplotlib is not installed.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._figure: Any = import_module("matplotlib.figure").Figure(figsize=(8, 4.5))
        except ModuleNotFoundError as error:
            advice = "needs matplotlib: pip install 'podfleet[plots]'"
            raise ConfigurationError("--plot", str(file), advice) from error
        kinds = self._figure.canvas.get_supported_filetypes()
        if file.suffix.removeprefix(".") not in kinds:
            raise ConfigurationError("--plot", str(file), f"must end in one of {', '.join(kinds)}")
        if not file.parent.is_dir():
            raise ConfigurationError("--plot", str(file), f"there is no folder {file.parent}")
        self._file = file

    def draw(self, measured: Comparison, title: str) -> None:
        """Draw it.

        Raises:
            ConfigurationError: It cannot be written there.
        """
        axes = self._figure.subplots()
        for name, figures in (("PATCH", measured.patch), ("allocate", measured.allocate)):
            times = sorted(second * 1000 for second in figures.seconds)
            shares = [100 * (place + 1) / len(times) for place in range(len(times))]
            axes.step(times, shares, where="post", label=f"{name}: {figures.p50 * 1000:.1f} ms")
        axes.set(title=title, xscale="log", xlabel="milliseconds", ylabel="% of the calls", ylim=0)
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend(title="half of them within", loc="lower right")
        self._figure.tight_layout()
        try:
            self._figure.savefig(self._file, dpi=150)
        except OSError as error:
            words = f"cannot be written: {error.strerror or error}"
            raise ConfigurationError("--plot", str(self._file), words) from error
