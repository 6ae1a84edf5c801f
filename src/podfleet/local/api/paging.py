"""`Pages`: what is left of lists that were read in part."""

from __future__ import annotations

import base64
import binascii
import json
from collections import OrderedDict

from attrs import define, field

from podfleet.local.objects.statuses import bad_request, expired
from podfleet.local.objects.store import Record

__all__ = ["Pages"]

_MOST = 64  # lists that are remembered for the next page


@define
class Pages:
    """The rests of lists, by the token that asks for the next page."""

    _lists: OrderedDict[str, list[Record]] = field(factory=OrderedDict)

    def keep(self, version: str, rest: list[Record]) -> str:
        """Remember what is left of a list; return the token."""
        token = json.dumps({"v": "podfleet", "rv": version, "rest": len(rest), "id": id(rest)})
        encoded = base64.urlsafe_b64encode(token.encode()).decode()
        self._lists[encoded] = rest
        while len(self._lists) > _MOST:
            self._lists.popitem(last=False)
        return encoded

    def rest(self, token: str) -> tuple[str, list[Record]]:
        """Return the version of a list, and what is left of it.

        Raises:
            Refusal: The token is none, or is forgotten.
        """
        if token in self._lists:
            version = json.loads(base64.urlsafe_b64decode(token))["rv"]
            return version, self._lists[token]
        try:
            json.loads(base64.urlsafe_b64decode(token))
        except (binascii.Error, ValueError):
            raise bad_request("continue key is not valid") from None
        raise expired(
            "The provided continue parameter is too old to display a consistent list result. You "
            "can start a new list without the continue parameter."
        )

    def clear(self) -> None:
        """Forget them all."""
        self._lists.clear()
