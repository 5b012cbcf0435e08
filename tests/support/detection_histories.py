"""Parts of the histories in tests of detections: silent phones, agents, reads and sequences of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.histories import AGENT, CLEAN, ON, ms, others
from tests.support.run_processors import Event
from tests.support.samples import auth, call, feedback, telemetry

AGENT_ID = {"principal_id": "assistant", "principal_kind": "agent"}


def silence(until: float, interval_ms: int = 60_000) -> list[Event]:
    """A session on a phone that reported once."""
    return [telemetry(0, **{**CLEAN, "heartbeat_interval_ms": interval_ms}), auth(1, **ON), *others(until)]


def in_use(until: float) -> list[Event]:
    """The same session is used once every half minute."""
    return [call(at, **ON) for at in range(20, int(until), 30)]


def woken(until: float) -> list[Event]:
    """A session on a phone that last reported half an hour before it began, with a call every 20 seconds."""
    slept = telemetry(-1800, **CLEAN)
    return [slept, auth(0, **ON), *(call(at, **ON) for at in range(20, int(until), 20)), *others(until)]


def agent(until: float, attested: Callable[[float], float], **members: Any) -> list[Event]:
    """An agent calls tools on a phone that reports every minute and attested *attested* seconds ago."""
    records = [telemetry(at, **CLEAN, attested_at=ms(at - attested(at))) for at in range(0, int(until), 60)]
    return [*records, *(call(at, **AGENT, **{**ON, **members}) for at in range(5, int(until), 30))]


def on_mere_management(until: float, posture: dict[str, Any]) -> list[Event]:
    """An agent calls tools on a device whose reports never date an attestation."""
    reported = [telemetry(at, **{**CLEAN, **posture}) for at in range(0, int(until), 60)]
    return [*reported, *(call(at, **AGENT, **ON) for at in range(5, int(until), 30))]


def for_days(number: int, **members: Any) -> list[Event]:
    """One session that is used every hour for *number* days."""
    return [call(-3600 * hour, session_id="long", **members) for hour in range(24 * number, 0, -1)]


def reads(records: int, **members: Any) -> list[Event]:
    return [call(at, records=records, **members) for at in range(10)]


def doing(*operations: str, apart: float = 60, **members: Any) -> list[Event]:
    return [call(apart * at, operation=name, **members) for at, name in enumerate(operations)]


def secrets(number: int, start: float = 0, **members: Any) -> list[Event]:
    """*number* secrets are requested one by one."""
    usual = {"operation": "GET /secrets/{id}", "sensitivity": "restricted", "records": 1}
    return [call(start + at, **{"resource": f"secret-{at}", **usual, **members}) for at in range(number)]


def prompts(denials: int, *, approved: bool = True, apart: float = 20) -> list[Event]:
    records = [auth(apart * at, action="mfa_denied") for at in range(denials)]
    end = apart * denials
    return [*records, *([auth(end, action="mfa_passed")] if approved else []), call(end + 1)]


def born(parent: str, *more: Event) -> list[Event]:
    """Session s-1 is a child of *parent*; another session or that one is then confirmed compromised."""
    exchange = auth(5, action="token_exchanged", parent_session_id=parent, **AGENT_ID)
    fall = feedback(60, session_id="parent", verdict="confirmed_compromised")
    return [auth(0, session_id="parent"), auth(1, session_id="stranger"), exchange, fall, *more]


def guessed(place: dict[str, Any]) -> list[Event]:
    """A wrong password some hours ago, from a location."""
    return [auth(-7200, **place, session_id="guess", action="sign_in_failed")]
