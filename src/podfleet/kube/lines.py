"""Cut a stream of bytes into lines. Pure.

aiohttp's own line reader refuses a line longer than its buffer; a watch event may be larger.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LineSplitter"]


class LineSplitter:
    r"""Cuts chunks into lines.

    Example:
        >>> lines = LineSplitter()
        >>> list(lines.feed(b'{"a": 1}\n{"b"'))
        [b'{"a": 1}']
        >>> list(lines.feed(b': 2}\n\n'))
        [b'{"b": 2}']
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield every line that is complete now, without its end; empty ones are dropped."""
        *complete, rest = chunk.split(b"\n")
        for end in complete:
            line = b"".join([*self._parts, end])
            self._parts.clear()
            if line.strip():
                yield line
        if rest:
            self._parts.append(rest)
