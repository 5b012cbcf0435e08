"""Operations: their usual volumes, habits of calling them in some order, and the fields of one call."""

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
    """One row: how often it is called relative to the others of its role (*weight*), its sensitivity and volumes.

    *records* are the minimum and maximum of a usual call; *kilobytes* is the median size of a response; *leads_to*
    names the operations that usually follow.
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
        """The scope that permits it: `orders.read`, `orders.write`, `s3`, or the name of an agent's tool."""
        if self.tool is not None:
            return self.tool
        if self.method is None:
            return self.name.split(":")[0]
        noun = self.name.split("/")[1]
        return f"{noun}.{'write' if self.method in _WRITES else 'read'}"

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The fields that are the same for every call."""
        constant = {"operation": self.name, "sensitivity": self.sensitivity, "scope": self.scope}
        if self.method is not None:
            constant["method"] = self.method
        return constant if self.tool is None else constant | {"tool": self.tool}


class Habit(NamedTuple):
    """Order of somebody's operations: with probability *follow*, the next is one that the last leads to.

    *taste* seeds the personal weights, as people of the same role have different preferences.
    """

    follow: float = 0.0
    taste: int = 0


NO_HABIT: Final = Habit()


def scopes(operations: tuple[Operation, ...]) -> list[str]:
    """Return the scopes that *operations* need, in order."""
    return sorted({operation.scope for operation in operations})


def walk(operations: tuple[Operation, ...], habit: Habit, rng: Random) -> Iterator[Operation]:
    """Yield operations in the order in which somebody with this *habit* calls them."""
    cumulative, followers = _preferences(operations, habit.taste)
    last = len(operations) - 1
    current = 0
    while True:
        following = followers[current]
        if following and rng.random() < habit.follow:
            current = following[int(rng.random() * len(following))]
        else:
            current = min(bisect(cumulative, rng.random() * cumulative[-1]), last)
        yield operations[current]


@lru_cache(maxsize=4096)
def _preferences(
    operations: tuple[Operation, ...], taste: int
) -> tuple[tuple[float, ...], tuple[tuple[int, ...], ...]]:
    """Cumulative personal weights, and for each operation the indices of those it leads to."""
    own = Random(taste)  # noqa: S311 - not a secret
    weights = [operation.weight * (own.lognormvariate(0, 0.5) if taste else 1.0) for operation in operations]
    index_of = {operation.name: index for index, operation in enumerate(operations)}
    followers = tuple(
        tuple(index_of[name] for name in operation.leads_to if name in index_of) for operation in operations
    )
    return tuple(accumulate(weights)), followers


_STATUSES: Final = (200, 304, 404, 403, 429, 500)
_STATUS_WEIGHTS: Final = tuple(accumulate((950, 20, 15, 6, 3, 6)))


def call(operation: Operation, rng: Random) -> dict[str, Any]:
    """Return the fields of one call of *operation*: status, sizes, records, latency, resource."""
    status = _STATUSES[bisect(_STATUS_WEIGHTS, rng.random() * _STATUS_WEIGHTS[-1])]
    good = status == 200
    if good and operation.method == "POST":
        status = 201
    return operation.fields | {
        "status": status,
        "bytes_in": 180 + int(rng.expovariate(0.004)),
        "bytes_out": int(operation.kilobytes * 1024 * rng.lognormvariate(0, 0.6)) if good else 240,
        "records": rng.randint(*operation.records) if good else 0,
        "latency_ms": int(12 + rng.lognormvariate(3.2, 0.7)),
        "resource": f"r-{int(rng.expovariate(0.02)):04d}",
    }


def denied(operation: Operation, rng: Random, statuses: tuple[int, ...] = (403, 404)) -> dict[str, Any]:
    """Return the fields of a call of *operation* that is denied."""
    return call(operation, rng) | {"status": rng.choice(statuses), "bytes_out": 240, "records": 0}
