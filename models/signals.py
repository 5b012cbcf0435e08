"""What contexts tell a session in one word each: a table, one row a signal, a bit in the session's row.

A context knows what one session cannot: what its device was yesterday, what its principal usually does, who
else failed from its network. Each message of a context may say which of its signals hold now; a signal it
does not name no longer holds. A message without the member ``signals`` leaves them as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Source = Literal["device", "principal", "lineage", "network"]


class Signal(NamedTuple):
    """A word a context may say: *name*, the context that says it, and what it means."""

    name: str
    source: Source
    text: str


SIGNALS: Final[tuple[Signal, ...]] = (
    Signal("unfamiliar_use", "principal", "used a scope or sensitive operation new to its principal"),
    Signal("unfamiliar_tool", "principal", "used a tool new to its agent"),
    Signal("chains_usual", "principal", "its principal makes credentials and widens rights regularly"),
    Signal("parent_at_risk", "lineage", "the session it was born from is at MEDIUM or HIGH"),
)
"""A signal's place is its bit in session rows: new ones go to the end."""
SIGNAL_BIT: Final = {signal.name: index for index, signal in enumerate(SIGNALS)}


def packed(names: Iterable[str]) -> int:
    """The signals *names* as bits; a name nobody knows (of a newer version) says nothing."""
    return sum(1 << SIGNAL_BIT[name] for name in set(names) if name in SIGNAL_BIT)


def bits_of(source: str) -> int:
    """All signals of one *source* as bits."""
    return packed(signal.name for signal in SIGNALS if signal.source == source)


def told(signals: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    """Where the signal *name* is among *signals*."""
    answer: NDArray[np.bool_] = signals >> np.uint64(SIGNAL_BIT[name]) & np.uint64(1) != 0
    return answer


def signal_columns(events: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """What ``session.context`` events say in signals, and which of them say anything."""
    said = [event.get("signals") for event in events]
    return {
        "signals": np.array([packed(names or ()) for names in said], np.uint64),
        "signalled": np.array([names is not None for names in said], np.bool_),
    }
