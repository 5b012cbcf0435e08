"""What a call is: an operation with its usual sizes, habits of calling one after another, one filled in."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from random import Random
from typing import Any, Final, NamedTuple

_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class Operation:
    """One row: how often it is called beside the others of its role (*weight*), on what data, and how much.

    *records* are the fewest and the most a usual call touches; *kilobytes* is the median answer; *leads_to*
    names what the same people do next, where they do what they always do.
    """

    name: str
    weight: float
    sensitivity: str = "internal"
    records: tuple[int, int] = (0, 1)
    kilobytes: float = 2.0
    tool: str | None = None
    leads_to: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @cached_property
    def method(self) -> str | None:
        """The HTTP method, unknown for `service:Action`."""
        return self.name.split(" ")[0] if " " in self.name else None

    @cached_property
    def scope(self) -> str:
        """The scope that allows it: `orders.read`, `orders.write`, `s3`, or the name of an agent's tool."""
        if self.tool is not None:
            return self.tool
        if self.method is None:
            return self.name.split(":")[0]
        noun = self.name.split("/")[1]
        return f"{noun}.{'write' if self.method in _WRITES else 'read'}"

    @cached_property
    def members(self) -> dict[str, Any]:
        """The members of a call that are the same whenever it is made."""
        by_key = {"operation": self.name, "sensitivity": self.sensitivity, "scope": self.scope}
        if self.method is not None:
            by_key["method"] = self.method
        return by_key if self.tool is None else by_key | {"tool": self.tool}


class Habit(NamedTuple):
    """How somebody goes through their operations: with probability *follow* to what the last one leads to.

    *taste* tells people of the same role apart: their favourites differ.
    """

    follow: float = 0.0
    taste: int = 0


NO_HABIT: Final = Habit()


def scopes(operations: tuple[Operation, ...]) -> list[str]:
    """Return the scopes that *operations* need, in order."""
    return sorted({operation.scope for operation in operations})


def walk(operations: tuple[Operation, ...], habit: Habit, rng: Random) -> Iterator[Operation]:
    """Yield one operation after another, as somebody with this *habit* calls them."""
    rising, followers = _mixed(operations, habit.taste)
    last = len(operations) - 1
    at = 0
    while True:
        following = followers[at]
        if following and rng.random() < habit.follow:
            at = following[int(rng.random() * len(following))]
        else:
            at = min(bisect(rising, rng.random() * rising[-1]), last)
        yield operations[at]


@lru_cache(maxsize=4096)
def _mixed(operations: tuple[Operation, ...], taste: int) -> tuple[tuple[float, ...], tuple[tuple[int, ...], ...]]:
    """The running sum of the weights, each to one's taste; and for each operation the places it leads to."""
    own = Random(taste)  # noqa: S311 - a taste, not a secret
    weights = [operation.weight * (own.lognormvariate(0, 0.5) if taste else 1.0) for operation in operations]
    place = {operation.name: index for index, operation in enumerate(operations)}
    followers = tuple(tuple(place[name] for name in operation.leads_to if name in place) for operation in operations)
    return tuple(accumulate(weights)), followers


_STATUSES: Final = (200, 304, 404, 403, 429, 500)
_STATUS_WEIGHTS: Final = tuple(accumulate((950, 20, 15, 6, 3, 6)))


def call(operation: Operation, rng: Random) -> dict[str, Any]:
    """Return the members of one call of *operation*: status, sizes, records, latency, what was touched."""
    status = _STATUSES[bisect(_STATUS_WEIGHTS, rng.random() * _STATUS_WEIGHTS[-1])]
    good = status == 200
    if good and operation.method == "POST":
        status = 201
    return operation.members | {
        "status": status,
        "bytes_in": 180 + int(rng.expovariate(0.004)),
        "bytes_out": int(operation.kilobytes * 1024 * rng.lognormvariate(0, 0.6)) if good else 240,
        "records": rng.randint(*operation.records) if good else 0,
        "latency_ms": int(12 + rng.lognormvariate(3.2, 0.7)),
        "resource": f"r-{int(rng.expovariate(0.02)):04d}",
    }


def denied(operation: Operation, rng: Random, statuses: tuple[int, ...] = (403, 404)) -> dict[str, Any]:
    """Return the members of a call of *operation* that is refused."""
    return call(operation, rng) | {"status": rng.choice(statuses), "bytes_out": 240, "records": 0}
