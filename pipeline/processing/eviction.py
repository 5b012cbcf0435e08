"""Tenant-fair LRU eviction: in a full partition the largest tenant loses its least recently used record.

So a tenant pays for its own flood. Records of low value are evicted first: somebody who makes up names, for example
to guess accounts, pushes out other made-up names before records that took weeks to learn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from itertools import chain
from typing import Final

from pydantic_core import to_json

Key = tuple[str, str]
"""A tenant and a name within it."""

LONGEST_NAME_BYTES: Final = 6 * 128 + 3
"""Largest size of an `Id` in JSON, with quotes and a comma: a control character takes six bytes (RFC 8259 §7)."""
_RECOUNTS: Final = 16
"""How often the largest tenant is searched for while every tenant changes once, on average."""


def exceeds(names: Collection[str], limit: int, limit_bytes: int) -> bool:
    """Return whether *names* are more than *limit*, or take more than *limit_bytes* in a record's JSON."""
    if len(names) > limit:
        return True
    return len(names) * LONGEST_NAME_BYTES > limit_bytes and len(to_json(list(names))) > limit_bytes


class TenantFairLru:
    """Keys of at most *limit* records, by tenant, least recently used first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Not a plain dict: finding its first key gets slower with every key deleted before it.
        self._used: dict[str, OrderedDict[Key, None]] = {}
        self._low_value: dict[str, OrderedDict[Key, None]] = {}
        self._count = 0
        self._largest = ""
        self._until_recount = 0

    def use(self, key: Key) -> None:
        """Mark a record as used now; a new key is added."""
        keys = self._used.setdefault(key[0], OrderedDict())
        self._count += key not in keys
        keys[key] = None
        keys.move_to_end(key)

    def set_low_value(self, key: Key, *, low_value: bool) -> None:
        """Mark a record that is used now as of low value, or not: records of low value are evicted first."""
        keys = self._low_value.setdefault(key[0], OrderedDict())
        keys.pop(key, None)
        if low_value:
            keys[key] = None

    def forget(self, key: Key) -> None:
        """Remove the key of a record that was deleted."""
        keys = self._used[key[0]]
        del keys[key]
        self._low_value.get(key[0], keys).pop(key, None)
        self._count -= 1
        if not keys:
            del self._used[key[0]]
            self._low_value.pop(key[0], None)

    def to_evict(self, keep: Key) -> Key | None:
        """Return the key of the record to evict if there are too many, else `None`; never *keep*, which is in use."""
        if self._count <= self._limit:
            return None
        for tenant in chain((self._largest_tenant(),), self._used):
            for keys in (self._low_value.get(tenant, ()), self._used[tenant]):
                if (candidate := next((key for key in keys if key != keep), None)) is not None:
                    return candidate
        return None

    def has_tenant(self, tenant: str) -> bool:
        """Return whether there is any record of *tenant*."""
        return tenant in self._used

    def _largest_tenant(self) -> str:
        """The tenant with the most records, as of the last search: with many tenants each search is slow."""
        self._until_recount -= 1
        if self._until_recount < 0 or self._largest not in self._used:
            # Equal tenants by name: after a rebalance another worker, which saw the tenants in another order, must
            # choose the same one.
            self._largest = max(self._used, key=lambda tenant: (len(self._used[tenant]), tenant))
            self._until_recount = len(self._used) // _RECOUNTS
        return self._largest
