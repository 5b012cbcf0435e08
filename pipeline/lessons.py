"""What a session taught of its principal: forgotten when it is revoked, kept when somebody vouches for it."""

from __future__ import annotations

from typing import Any, Final, Protocol

from pipeline.baseline import Baseline
from pipeline.habits import HABITS, MOST_HABITS, teacher
from pipeline.uses import Uses

MOST_DOUBTED: Final = 8
"""Revoked sessions whose lessons are kept, for an analyst may vouch for them."""
MOST_LESSONS: Final = 4
"""Kept of each kind: a session that showed more is not one to vouch for."""


class Taught(Protocol):
    """What is asked of a principal's state; see :class:`pipeline.principal.PrincipalState`."""

    habits: dict[str, dict[str, list[Any]]]
    place: list[Any]
    anonymisers: dict[str, str]
    homes: dict[str, str]
    doubted: dict[str, dict[str, list[str]]]
    baseline: Baseline
    uses: Uses


def unlearn(principal: Taught, session_id: str) -> None:
    """Forget what a revoked session taught, but so that an analyst can still vouch for it."""
    principal.baseline.unlearn(session_id)
    principal.uses.unlearn(session_id)
    taught = _lessons(principal, session_id)
    if taught:
        principal.doubted.pop(session_id, None)
        principal.doubted[session_id] = {name: values[-MOST_LESSONS:] for name, values in taught.items()}
    if len(principal.doubted) > MOST_DOUBTED:
        del principal.doubted[next(iter(principal.doubted))]
    for name, values in taught.items():
        for value in values:
            del _memory(principal, name)[value]
    if principal.place and principal.place[3] == session_id:
        principal.place = []


def vouch_for(principal: Taught, session_id: str, at: int) -> None:
    """What the session taught, or had taught until it was revoked, holds: whatever becomes of it."""
    taught = _lessons(principal, session_id)
    for name, values in (*principal.doubted.pop(session_id, {}).items(), *taught.items()):
        memory = _memory(principal, name)
        for value in values:
            memory[value] = [at, ""] if name in HABITS else ""
        while len(memory) > MOST_HABITS:
            del memory[next(iter(memory))]


def _lessons(principal: Taught, session_id: str) -> dict[str, list[str]]:
    """What the session taught, by where it is remembered."""
    taught = {
        name: [value for value, seen in _memory(principal, name).items() if teacher(seen) == session_id]
        for name in (*HABITS, "anonymisers", "homes")
    }
    return {name: values for name, values in taught.items() if values}


def _memory(principal: Taught, name: str) -> dict[str, Any]:
    """The habit *name*, or the memory beside the habits that has this name."""
    memory: dict[str, Any] = principal.habits[name] if name in HABITS else getattr(principal, name)
    return memory
