"""What histories of detections are made of: clients, devices and people, and a row of the tables.

Tables of rows are named ``ROWS`` in test files whose name ends in ``detections``, the general
ones in ``test_detections``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.run_processors import Event
from tests.support.samples import auth, call, telemetry

DAY_S, HOUR_S = 86_400, 3_600
HOME: dict[str, Any] = {
    "asn": 64601,
    "ip": "192.0.2.1",
    "user_agent": "Firefox/140",
    "ja4": "t13d_a",
    "token_id": "t-1",
}
CAFE = {**HOME, "asn": 64851, "ip": "198.51.100.1"}
BERLIN = {"latitude": 52.52, "longitude": 13.405}
MUNICH = {"latitude": 48.137, "longitude": 11.575}
AGENT: dict[str, Any] = {"principal_id": "assistant", "principal_kind": "agent", "tool": "mail"}
KEY: dict[str, Any] = {"principal_id": "key-7", "principal_kind": "api_key"}
ON = {"device_id": "phone-1"}
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/145.0.0.0 Safari/537.36"
MOBILE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/145.0 Mobile Safari/537.36"
PHONE_APP = "Bank/7.4 (iPhone; iOS 18.1) CFNetwork/3826.400.120"
CREATE, GRANT, BLIND = "iam:CreateAccessKey", "iam:AttachUserPolicy", "cloudtrail:StopLogging"
CLEAN = {
    "heartbeat_interval_ms": 60_000,
    "rooted": False,
    "hooked": False,
    "emulator": False,
    "malware": "none",
    "attestation": "strong",
}


def others(until: float) -> list[Event]:
    """Somebody else works all the while, so that time goes on."""
    return [call(at, session_id="ben", principal_id="ben") for at in range(0, int(until), 20)]


def reports(until: float, every: float = 60, **members: Any) -> list[Event]:
    """The phone reports, healthy unless *members* say otherwise."""
    return [telemetry(at, **{**CLEAN, **members}) for at in np.arange(0, until, every).tolist()]


def on_phone(*more: Event, **posture: Any) -> list[Event]:
    """A session on a phone that says something of itself after a minute."""
    start = [telemetry(0, **CLEAN), auth(1, **ON), call(2, **ON)]
    return [*start, telemetry(60, **{**CLEAN, **posture}), call(61, **ON), *more]


def ms(at: float) -> int:
    """*at* seconds as an event says it."""
    return int(auth(at)["occurred_at"])


def moved(*places: dict[str, Any], until: float = 60, **members: Any) -> list[Event]:
    """A session that calls from one place after another, the last twenty minutes after its sign-in."""
    start = [auth(0, **places[0], **members)]
    steps = [call(1200 + 60 * at, **place, **members) for at, place in enumerate(places)]
    return [*start, *steps, call(1200 + until, **places[-1], **members), *others(1200 + until + 60)]


def earlier(*places: dict[str, Any], **members: Any) -> list[Event]:
    """What is usual: a session before, that came from each of the *places*."""
    subject = {"session_id": "before", **members}
    events = [auth(-3600 + 60 * at, **place, **subject) for at, place in enumerate(places)]
    return [*events, auth(-1800, action="sign_out", **places[-1], **subject)]


def thrice(*places: dict[str, Any], **members: Any) -> list[Event]:
    """What has been usual for long enough to be a habit: three such sessions before."""
    return [event for at in range(3) for event in earlier(*places, **members, session_id=f"before-{at}")]


@dataclass(frozen=True)
class Row:
    """A detection with a history on which it fires, nearly the same on which it does not, and honest ones.

    *kept_quiet_by* is the policy of a site that knows its honest oddities, for those alone.
    """

    rule: str
    fires: list[Event]
    quiet: list[Event]
    honest: tuple[list[Event], ...] = ()
    kept_quiet_by: str = ""


def names(rows: Iterable[Row]) -> list[str]:
    """What to call the rows of a table."""
    return [f"{row.rule}-{at}" for at, row in enumerate(rows)]


def session(start: float, *more: Event, session_id: str, **members: Any) -> list[Event]:
    """A session that starts at *start*, does *more* and signs out after an hour."""
    subject = {"session_id": session_id, **members}
    return [auth(start, **subject), *more, auth(start + HOUR_S, action="sign_out", **subject)]


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
    list_read = []
    for day in range(-number, 0):
        start = day * DAY_S + hour * HOUR_S
        subject = {"session_id": f"{name}{day}", **members}
        did = do(start, subject) if do else [call(start + 60, **subject)]
        list_read += session(start, *did, **subject)
    return list_read


def repeated(count: int, apart: float = 1, **what: Any) -> Callable[[float, dict[str, Any]], list[Event]]:
    """The same call *count* times."""
    return lambda start, subject: [call(start + 60 + apart * at, **subject, **what) for at in range(count)]


def various(count: int, apart: float = 1, **what: Any) -> Callable[[float, dict[str, Any]], list[Event]]:
    """As many different operations."""
    return lambda start, subject: [
        call(start + 60 + apart * at, **subject, **{"operation": f"GET /{at}", **what}) for at in range(count)
    ]


def today(*more: Event, hour: float = 9, **members: Any) -> list[Event]:
    """Session s-1 signs in at *hour* of the first day and does *more*, the times of which are its own."""
    return [auth(hour * HOUR_S, **members), call(hour * HOUR_S + 30, **members), *more]


def now(do: Callable[[float, dict[str, Any]], Iterable[Event]], hour: float = 9, **members: Any) -> list[Event]:
    """Session s-1 at *hour* of the first day does what :func:`days` let others do."""
    return today(*do(hour * HOUR_S, members), hour=hour, **members)
