"""A page of a list, one object at a time. Pure.

A page of 500 Pods takes 20 MB as dicts, and Python hardly ever gives such memory back: so never
more than one object is made at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from podfleet.model import Manifest

__all__ = ["Page"]

_ITEMS = '"items":['
_DECODER = json.JSONDecoder()


@frozen
class Page:
    """A page of a list, as the API server sends it: ``metadata`` first, ``items`` last.

    Args:
        text: The answer.

    Example:
        >>> page = Page('{"metadata":{"resourceVersion":"7"},"items":[{"a":1},{"a":2}]}')
        >>> page.metadata, list(page)
        ({'resourceVersion': '7'}, [{'a': 1}, {'a': 2}])
    """

    text: str

    @property
    def metadata(self) -> Manifest:
        """The list's own: its version, and what to ask for the next page with."""
        head, items, _ = self.text.partition(_ITEMS)
        found: Manifest = json.loads(f"{head}{items}]}}" if items else self.text)["metadata"]
        return found

    def __iter__(self) -> Iterator[Manifest]:
        """Yield the objects."""
        at = self.text.find(_ITEMS)
        if at < 0:
            shown: dict[str, Any] = json.loads(self.text)
            yield from shown.get("items") or []
            return
        at += len(_ITEMS)
        while self.text[at] != "]":
            item, at = _DECODER.raw_decode(self.text, at)
            yield item
            while self.text[at] in ", \n":
                at += 1
