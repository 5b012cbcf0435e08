"""What histories against the usual are made of: crowds, devices, workers, and what is done each day."""

from __future__ import annotations

from typing import Any

from tests.support.histories import DAY_S, HOUR_S, days, repeated, session, today
from tests.support.run_processors import Event
from tests.support.samples import auth, call

SERVICE: dict[str, Any] = {"principal_id": "backup", "principal_kind": "service"}
TERRAFORM: dict[str, Any] = {"principal_id": "terraform", "principal_kind": "service"}
NINE = 9 * HOUR_S


def crowd(number: int, **members: Any) -> list[Event]:
    """So many sessions at once, each from a network of its own, s-1 the last."""
    names = [f"other-{at}" for at in range(1, number)] + ["s-1"]
    return [auth(NINE + 5 * at, session_id=name, asn=64600 + at, **members) for at, name in enumerate(names)] + [
        call(NINE + 5 * number + 30, asn=64600 + number - 1, **members)
    ]


def first_of(number: int) -> list[Event]:
    """So many sessions at once of somebody new, each from a network of its own, s-1 the first of them."""
    names = ["s-1"] + [f"other-{at}" for at in range(1, number)]
    return [auth(NINE + 5 * at, session_id=name, asn=64600 + at) for at, name in enumerate(names)] + [
        call(NINE + 5 * number + 30, asn=64600)
    ]


def on_each(devices: tuple[str, ...], number: int) -> list[Event]:
    """Days with a session on each device."""
    return [event for device in devices for event in days(number, name=device, device_id=device)]


def on_all(devices: tuple[str, ...]) -> list[Event]:
    """Today a session on each device, from as many networks, s-1 on the last."""
    records = [
        auth(NINE + 5 * at, session_id=f"on-{name}", device_id=name, asn=64600 + at)
        for at, name in enumerate(devices[:-1])
    ]
    return [*records, *today(device_id=devices[-1], asn=64700, hour=9.1)]


def workers(number: int, of_days: int) -> list[Event]:
    """Every day so many sessions of a service at once, each from a network of its own."""
    return [
        event
        for at in range(number)
        for event in days(of_days, 8.9 + at / 100, name=f"worker-{at}", asn=64600 + at, **SERVICE)
    ]


def reading(scope: str) -> Any:
    return repeated(2, scope=scope)


def colleagues(number: int, scope: str) -> list[Event]:
    """So many other people begin to use a scope this morning."""
    return [
        event
        for at in range(number)
        for event in session(
            8 * HOUR_S,
            call(8 * HOUR_S + at, session_id=f"c-{at}", principal_id=f"c-{at}", scope=scope),
            session_id=f"c-{at}",
            principal_id=f"c-{at}",
        )
    ]


def long_ago(scope: str) -> list[Event]:
    """The end of the last quarter."""
    at = -92 * DAY_S
    return session(at, call(at + 60, session_id="quarter", scope=scope), session_id="quarter")


def sensitive(records: int) -> Any:
    return repeated(10, records=records, sensitivity="restricted")


def doing(*operations: str) -> Any:
    return lambda start, subject: [
        call(start + 60 * at, operation=name, **subject) for at, name in enumerate(operations, start=1)
    ]


def sharing(start: float, subject_name: Event) -> list[Event]:
    return [call(start + 60, operation="ec2:ModifyImageAttribute", sensitivity="restricted", **subject_name)]


def secrets(number: int) -> Any:
    """So many secrets are read one by one."""
    names = {"operation": "GET /secrets/{id}", "sensitivity": "restricted", "records": 1}
    return lambda start, subject: [
        call(start + 60 + at, resource=f"secret-{at}", **names, **subject) for at in range(number)
    ]


def each_thing(number: int, **what: Any) -> Any:
    """The same operation on one thing after the other."""
    return lambda start, subject: [
        call(start + 60 + at, operation="GET /orders/{id}", resource=f"order-{at}", **subject, **what)
        for at in range(number)
    ]
