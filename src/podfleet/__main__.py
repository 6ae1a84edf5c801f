"""`podfleet`, and ``python -m podfleet``: the command. Needs `podfleet[cli]`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command, or say how to install what it needs."""
    try:
        from podfleet.cli.app import main as command
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(f"podfleet: the command needs {error.name}: pip install 'podfleet[cli]'")
    command()


if __name__ == "__main__":
    main()
