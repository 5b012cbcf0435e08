"""Searches every interleaving of the model of the write order for the shortest way to a broken promise."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.write_order import START, Protocol, State, broken, steps

CameFrom = dict[State, tuple[State, str] | None]
"""The step before each state, and what happened then."""


class Found(NamedTuple):
    """What the search came to: how many states there are, and the shortest way to a broken promise."""

    states: int
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"{n:>3}  {what}" for n, what in enumerate(self.trace, start=1))


def search(protocol: Protocol) -> Found:
    """Try every interleaving, shortest first, until a promise is broken or there are no more."""
    came_from: CameFrom = {START: None}
    for state in reachable(protocol, came_from):
        if (wrong := broken(protocol, state)) is not None:
            return Found(len(came_from), (*_way(came_from, state), wrong))
    return Found(len(came_from), ())


def reachable(protocol: Protocol, came_from: CameFrom) -> Iterator[State]:
    """Yield every state that can come about, those of fewest steps first, and note how in *came_from*."""
    waiting = deque(came_from)
    while waiting:
        state = waiting.popleft()
        yield state
        for what, after in steps(protocol, state):
            if after not in came_from:
                came_from[after] = (state, what)
                waiting.append(after)


def _way(came_from: CameFrom, state: State) -> tuple[str, ...]:
    way: list[str] = []
    while (step := came_from[state]) is not None:
        state, what = step
        way.append(what)
    return tuple(reversed(way))
