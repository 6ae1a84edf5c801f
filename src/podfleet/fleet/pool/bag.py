"""`Bag`: a set that can be asked for its n-th item. Pure."""

from __future__ import annotations

__all__ = ["Bag"]


class Bag:
    """A set that can be asked for its n-th item, in no order."""

    def __init__(self) -> None:
        self._items: list[str] = []
        self._at: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> str:
        return self._items[index]

    def add(self, item: str) -> None:
        """Add an item that is not in it."""
        self._at[item] = len(self._items)
        self._items.append(item)

    def remove(self, item: str) -> None:
        """Remove an item that is in it."""
        index, last = self._at.pop(item), self._items.pop()
        if last != item:
            self._items[index] = last
            self._at[last] = index
