"""Find the fleets that a user's code defines: ``module:name``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from podfleet.errors import ConfigurationError
from podfleet.fleet import AsyncFleet, AsyncFleetGroup
from podfleet.sync import Fleet, FleetGroup

__all__ = ["Tended", "fleets_of", "load"]

Tended: TypeAlias = Fleet | AsyncFleet | FleetGroup | AsyncFleetGroup
"""What has servers: a fleet, or a group of them."""

_IMPORTLIB = str(Path(traceback.__file__).parent / "importlib")
_WHAT = "a Fleet, an AsyncFleet, a group of them, or a function that returns one"


def load(reference: str) -> Tended:
    """Return what a reference names.

    Args:
        reference: ``module:name``; the name may have dots, and be that of a function.

    Raises:
        ConfigurationError: It names nothing, or nothing that has servers.
    """
    module_name, colon, path = reference.partition(":")
    if not (module_name and colon and path):
        raise ConfigurationError(
            "MODULE:FLEET", reference, "must be module:name, as game:fleet for `fleet` in game.py"
        )
    module = _imported(reference, module_name)
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(
                "MODULE:FLEET",
                reference,
                f"{module_name} has no {path!r}; it has {_known(vars(module))}",
            ) from None
    if callable(found) and not isinstance(found, Tended):
        found = _called(reference, found)
    if not isinstance(found, Tended):
        raise ConfigurationError(
            "MODULE:FLEET", reference, f"is of type {type(found).__name__}; it must be {_WHAT}"
        )
    return found


def fleets_of(tended: Tended) -> tuple[AsyncFleet, ...]:
    """Return the fleets that these are made of."""
    if isinstance(tended, AsyncFleet):
        return (tended,)
    if isinstance(tended, Fleet):
        return (tended.own(),)
    return tuple(one for fleet in tended.fleets for one in fleets_of(fleet))


def _imported(reference: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            advice = f"there is no module {error.name!r} in {here}, and none is installed"
            raise ConfigurationError("MODULE:FLEET", reference, advice) from None
        raise _failure(reference, error) from error
    except Exception as error:
        raise _failure(reference, error) from error


def _called(reference: str, function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        raise _failure(reference, error) from error


def _failure(reference: str, error: Exception) -> ConfigurationError:
    """Return what went wrong in the user's code, and where: the last line that is not podfleet's.

    Of a SyntaxError the place is in its own words.
    """
    package = str(Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((package, "<", _IMPORTLIB))
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return ConfigurationError(
        "MODULE:FLEET", reference, f"cannot be loaded: {type(error).__name__}: {error}{place}"
    )


def _known(variables: Mapping[str, Any]) -> str:
    names = [name for name, value in variables.items() if isinstance(value, Tended)]
    return ", ".join(names) or "no fleet at all"
