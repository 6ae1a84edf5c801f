"""`Decoding`: how one request's objects are read, and what its sender is warned of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from attrs import define, field

from podfleet.local.api.request import Target
from podfleet.local.objects.fields import Read, read, read_patched
from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.statuses import bad_request

__all__ = ["Decoding"]


@define
class Decoding:
    """Reads the objects of one request.

    Args:
        query: Of the request; ``fieldValidation`` is ``Strict``, ``Warn`` (the default) or
            ``Ignore``.
    """

    query: Mapping[str, str]
    _unknown: list[str] = field(factory=list)

    def body(self, target: Target, body: Any) -> dict[str, Any]:
        """Return an object that was sent, of known fields only.

        Raises:
            Refusal: It is none, or has values of another type.
        """
        if not isinstance(body, dict):
            raise bad_request("the body is no object")
        kind = target.kind
        if target.subresource not in ("", "status") or body.get("kind", kind.name) != kind.name:
            return body  # a TokenRequest, or what is going to be refused
        return self._manifest(read(kind, body, strict=self._is("Strict")))

    def patched(self, kind: Kind, patched: Any) -> dict[str, Any]:
        """Return an object after a patch, likewise."""
        if not isinstance(patched, dict):
            raise bad_request("error decoding patch: it leaves no object")
        return self._manifest(read_patched(kind, patched, strict=self._is("Strict")))

    def warn(self, response: web.StreamResponse) -> None:
        """Name the fields that were dropped, as kubectl shows them."""
        if self._is("Warn"):
            for words in self._unknown:
                escaped = words.replace('"', '\\"')
                response.headers.add("Warning", f'299 - "{escaped}"')

    def _is(self, mode: str) -> bool:
        return self.query.get("fieldValidation", "Warn") == mode

    def _manifest(self, found: Read) -> dict[str, Any]:
        self._unknown += found.unknown
        return found.manifest
