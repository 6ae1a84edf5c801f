"""The command's subcommands, and what becomes of their errors."""

from __future__ import annotations

import sys

import typer

from podfleet.cli.allocate import allocate
from podfleet.cli.bench import bench
from podfleet.cli.demo import demo
from podfleet.cli.describe import describe
from podfleet.cli.exits import exit_code
from podfleet.cli.ls import ls
from podfleet.cli.manifests import manifests
from podfleet.cli.preflight import preflight
from podfleet.cli.release import release
from podfleet.cli.run import run
from podfleet.cli.top import top
from podfleet.errors import PodfleetError

__all__ = ["app", "main"]

app = typer.Typer(
    name="podfleet",
    help="Run game servers on Kubernetes: look after the fleets that your code defines.",
    no_args_is_help=True,
    # Plain help, on a terminal and in a pipe: it can be read aloud, copied and searched.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _command in (demo, preflight, manifests, run, ls, top, describe, allocate, release, bench):
    app.command()(_command)


@app.callback()
def _podfleet() -> None:
    """Run game servers on Kubernetes: look after the fleets that your code defines.

    A fleet is named by where your code has it: game:fleet is the variable "fleet" of the module
    game.py in this directory, or of an installed one. It is found as uvicorn finds an app.

    The cluster is the one that kubectl uses, unless the fleet or an option names another.
    """


def main() -> None:
    """Run the command; an error is told in words, with an exit code of its kind."""
    try:
        app()
    except PodfleetError as error:
        for words in (f"podfleet: {error}", *getattr(error, "__notes__", ())):
            print(words, file=sys.stderr)  # noqa: T201
        sys.exit(exit_code(error))
