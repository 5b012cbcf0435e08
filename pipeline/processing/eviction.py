"""Who must go where there is no room for more: of many records one, of the names in a record the oldest.

A tenant pays for its own flood. Whoever makes names up, as somebody does who guesses whose account there
might be, pushes out what is worth little before what took weeks to learn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from itertools import chain
from typing import Final

from pydantic_core import to_json

Key = tuple[str, str]
"""A tenant, and a name in it."""

LONGEST_NAME_BYTES: Final = 6 * 128 + 3
"""Of an `Id` in JSON with its quotes and a comma: a control character becomes six bytes (RFC 8259 §7)."""
_LOOKS: Final = 16
"""So many times for each change of all tenants is looked for the one that holds most."""


def exceeds(names: Collection[str], most: int, most_bytes: int) -> bool:
    """Whether *names* are more than *most*, or take more than *most_bytes* in a record's JSON."""
    if len(names) > most:
        return True
    return len(names) * LONGEST_NAME_BYTES > most_bytes and len(to_json(list(names))) > most_bytes


class TenantFairLru:
    """Room for *most* records; holds their keys, the one unused for longest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Of a plain dict the first key is found ever more slowly, the more before it are gone.
        self._used: dict[str, OrderedDict[Key, None]] = {}
        self._slight: dict[str, OrderedDict[Key, None]] = {}
        self._held = 0
        self._largest = ""
        self._until_look = 0

    def use(self, key: Key) -> None:
        """A record is used now."""
        of_tenant = self._used.setdefault(key[0], OrderedDict())
        self._held += key not in of_tenant
        of_tenant[key] = None
        of_tenant.move_to_end(key)

    def set_low_value(self, key: Key, *, slight: bool) -> None:
        """Whether there is little in a record that is used now: those are the first to go."""
        of_tenant = self._slight.setdefault(key[0], OrderedDict())
        of_tenant.pop(key, None)
        if slight:
            of_tenant[key] = None

    def forget(self, key: Key) -> None:
        """A record is gone."""
        of_tenant = self._used[key[0]]
        del of_tenant[key]
        self._slight.get(key[0], of_tenant).pop(key, None)
        self._held -= 1
        if not of_tenant:
            del self._used[key[0]]
            self._slight.pop(key[0], None)

    def surplus(self, keep: Key) -> Key | None:
        """The record that must go, if there are too many; never *keep*, whose tenant has one for sure."""
        if self._held <= self._most:
            return None
        for tenant in chain((self._largest_tenant(),), self._used):
            for keys in (self._slight.get(tenant, ()), self._used[tenant]):
                if (going := next((key for key in keys if key != keep), None)) is not None:
                    return going
        return None

    def has(self, tenant: str) -> bool:
        """Whether there is any record of *tenant*."""
        return tenant in self._used

    def _largest_tenant(self) -> str:
        """The tenant that holds most; of many tenants looked for only once in a while."""
        self._until_look -= 1
        if self._until_look < 0 or self._largest not in self._used:
            # Of equals by name: whoever takes over, and learned of them in another order, says the same.
            self._largest = max(self._used, key=lambda tenant: (len(self._used[tenant]), tenant))
            self._until_look = len(self._used) // _LOOKS
        return self._largest
