"""Bounded room for records, dealt out among tenants: a flood pushes out the flooding tenant's own first."""

from __future__ import annotations

Key = tuple[str, str]
"""A tenant, and a name of its own."""


class Room:
    """Room for *most* records; knows who holds how many, and of each tenant which was unused for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, dict[Key, None]] = {}
        self._count = 0

    def take(self, key: Key) -> Key | None:
        """Note that *key* is of use now; return the key that must go for it, if one must.

        That is its own tenant's, if that holds more than its share, else one of the tenant that holds most.
        """
        mine = self._held.setdefault(key[0], {})
        if key in mine:
            del mine[key]
        else:
            self._count += 1
        mine[key] = None
        if self._count <= self._most:
            return None
        share = self._most / len(self._held)
        crowd = mine if len(mine) > max(1, share) else max(self._held.values(), key=len)
        oldest = next(iter(crowd))
        self.leave(oldest)
        return oldest

    def leave(self, key: Key) -> None:
        """Forget *key*, if it is held."""
        mine = self._held.get(key[0], {})
        if key in mine:
            del mine[key]
            self._count -= 1
            if not mine:
                del self._held[key[0]]
