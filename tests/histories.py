"""What a principal usually did on the days before, so that a test states only what is different today."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from playing import Event
from samples import auth, call

DAY_S, HOUR_S = 86_400, 3_600


@dataclass(frozen=True)
class Row:
    """A detection with a history on which it fires, nearly the same on which it does not, and honest ones."""

    rule: str
    fires: list[Event]
    quiet: list[Event]
    honest: tuple[list[Event], ...] = ()


def session(start: float, *more: Event, session_id: str, **members: Any) -> list[Event]:
    """A session that starts at *start*, does *more* and signs out after an hour."""
    who = {"session_id": session_id, **members}
    return [auth(start, **who), *more, auth(start + HOUR_S, action="sign_out", **who)]


def days(
    number: int,
    hour: float = 9,
    do: Callable[[float, dict[str, Any]], Iterable[Event]] | None = None,
    name: str = "day",
    **members: Any,
) -> list[Event]:
    """A session on each of the *number* days before the first of the tests, at *hour* UTC.

    *do* makes what a session does from the time of its start, in seconds, and its members.
    """
    told = []
    for day in range(-number, 0):
        start = day * DAY_S + hour * HOUR_S
        who = {"session_id": f"{name}{day}", **members}
        did = do(start, who) if do else [call(start + 60, **who)]
        told += session(start, *did, **who)
    return told


def repeated(count: int, apart: float = 1, **what: Any) -> Callable[[float, dict[str, Any]], list[Event]]:
    """The same call *count* times."""
    return lambda start, who: [call(start + 60 + apart * at, **who, **what) for at in range(count)]


def various(count: int, apart: float = 1, **what: Any) -> Callable[[float, dict[str, Any]], list[Event]]:
    """As many different operations."""
    return lambda start, who: [
        call(start + 60 + apart * at, **who, **{"operation": f"GET /{at}", **what}) for at in range(count)
    ]


def today(*more: Event, hour: float = 9, **members: Any) -> list[Event]:
    """Session s-1 signs in at *hour* of the first day and does *more*, the times of which are its own."""
    return [auth(hour * HOUR_S, **members), call(hour * HOUR_S + 30, **members), *more]


def now(
    do: Callable[[float, dict[str, Any]], Iterable[Event]], hour: float = 9, **members: Any
) -> list[Event]:
    """Session s-1 at *hour* of the first day does what :func:`days` let others do."""
    return today(*do(hour * HOUR_S, members), hour=hour, **members)
