"""Detections that rest on what is usual for a principal: they fire, stay quiet, and spare the honest."""

from __future__ import annotations

from typing import Any

import pytest

from histories import DAY_S, HOUR_S, KEY, Row, days, now, repeated, session, today, various
from pipeline.rules import BIT, RULES
from playing import Event, found, of, replayed
from samples import auth, call
from schemas import topics

NINE = 9 * HOUR_S
SERVICE: dict[str, Any] = {"principal_id": "backup", "principal_kind": "service"}
DEVICES = ("phone-1", "laptop-1", "tablet-1", "watch-1")


def crowd(number: int, **members: Any) -> list[Event]:
    """So many sessions at once, each from a network of its own, s-1 the last."""
    names = [f"other-{at}" for at in range(1, number)] + ["s-1"]
    return [
        auth(NINE + 5 * at, session_id=name, asn=64600 + at, **members) for at, name in enumerate(names)
    ] + [call(NINE + 5 * number + 30, asn=64600 + number - 1, **members)]


def first_of(number: int) -> list[Event]:
    """So many sessions at once of somebody new, each from a network of its own, s-1 the first of them."""
    names = ["s-1"] + [f"other-{at}" for at in range(1, number)]
    return [auth(NINE + 5 * at, session_id=name, asn=64600 + at) for at, name in enumerate(names)] + [
        call(NINE + 5 * number + 30, asn=64600)
    ]


def on_each(devices: tuple[str, ...], number: int) -> list[Event]:
    """Days with a session on each device."""
    return [event for one in devices for event in days(number, name=one, device_id=one)]


def on_all(devices: tuple[str, ...]) -> list[Event]:
    """Today a session on each device, from as many networks, s-1 on the last."""
    told = [
        auth(NINE + 5 * at, session_id=f"on-{one}", device_id=one, asn=64600 + at)
        for at, one in enumerate(devices[:-1])
    ]
    return [*told, *today(device_id=devices[-1], asn=64700, hour=9.1)]


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


CREATE, GRANT, BLIND = "iam:CreateAccessKey", "iam:AttachUserPolicy", "cloudtrail:StopLogging"


def doing(*operations: str) -> Any:
    return lambda start, who: [
        call(start + 60 * at, operation=name, **who) for at, name in enumerate(operations, start=1)
    ]


def sharing(start: float, who: Event) -> list[Event]:
    return [call(start + 60, operation="ec2:ModifyImageAttribute", sensitivity="restricted", **who)]


def secrets(number: int) -> Any:
    """So many secrets are read one by one."""
    names = {"operation": "GET /secrets/{id}", "sensitivity": "restricted", "records": 1}
    return lambda start, who: [
        call(start + 60 + at, resource=f"secret-{at}", **names, **who) for at in range(number)
    ]


def each_thing(number: int, **what: Any) -> Any:
    """The same operation on one thing after the other."""
    return lambda start, who: [
        call(start + 60 + at, operation="GET /orders/{id}", resource=f"order-{at}", **who, **what)
        for at in range(number)
    ]


TERRAFORM: dict[str, Any] = {"principal_id": "terraform", "principal_kind": "service"}

ROWS = [
    Row(
        "rare_hour",
        [*days(14), *today(hour=3)],
        [*days(14), *today(hour=9)],
        (
            [*days(14, country="DE"), *today(hour=3, country="US")],
            [*days(14), *days(4, 3, name="on call"), *today(hour=3)],
            [*days(14), *today(hour=10)],
            [*days(6), *today(hour=3)],
        ),
    ),
    Row(
        "concurrent_sessions",
        [*days(5), *crowd(4)],
        [*days(5), *crowd(3)],
        (
            [*on_each(DEVICES, 5), *on_all(DEVICES)],
            [*workers(5, 4), *crowd(7, **SERVICE)],
            [*days(2), *crowd(3)],
        ),
    ),
    Row("concurrent_sessions", [*days(2), *crowd(4)], [*days(2), *crowd(3)]),
    Row("concurrent_sessions", first_of(4), first_of(3)),
    Row(
        "unfamiliar_scope",
        [*days(8, do=reading("read")), *now(reading("admin"))],
        [*days(8, do=reading("read")), *now(reading("read"))],
        (
            [*long_ago("close the books"), *days(91), *now(reading("close the books"))],
            [*days(8, do=reading("read")), *colleagues(3, "new"), *now(reading("new"))],
            [*days(5, do=reading("read")), *now(reading("admin"))],
        ),
    ),
    Row(
        "unfamiliar_scope",
        [*days(8), *now(sensitive(1))],
        [*days(8, do=sensitive(1)), *now(sensitive(1))],
        ([*days(8), *now(repeated(10, sensitivity="confidential", records=1))],),
    ),
    Row(
        "unfamiliar_scope",
        [*days(8, scopes=["read"]), *today(scopes=["read", "admin"])],
        [*days(8, scopes=["read"]), *today(scopes=["read"])],
        ([*days(8, scopes=["read"]), *colleagues(3, "new"), *today(scopes=["read", "new"])],),
    ),
    Row(
        "unfamiliar_scope",
        [*days(8), *now(doing("ssm:StartSession"))],
        [*days(8, do=doing("ssm:StartSession")), *now(doing("ssm:StartSession"))],
        ([*days(8), *now(doing("ssm:DescribeSessions"))],),
    ),
    Row(
        "access_probing",
        [*days(4), *now(various(30, status=403))],
        [*days(4), *now(various(12, status=403))],
        (
            [*days(4), *now(repeated(60, status=403))],
            [*days(4), *now(various(30, status=200))],
            [*days(4, do=various(14, status=404)), *now(various(25, status=404))],
            now(various(25, status=403)),
        ),
    ),
    Row("access_probing", now(various(100, status=404)), now(various(30, status=404))),
    Row(
        "machine_probing",
        [*days(4, **KEY), *now(various(40, status=403), **KEY)],
        [*days(4, **KEY), *now(various(20, status=403), **KEY)],
        (
            # A right was taken away by mistake: the same is asked for as ever, of one thing or of many.
            [*days(4, **KEY), *now(repeated(200, status=403), **KEY)],
            [*days(4, do=each_thing(60), **KEY), *now(each_thing(200, status=403), **KEY)],
            # An inventory scan is refused much on every day.
            [*days(4, do=various(40, status=403), **SERVICE), *now(various(60, status=403), **SERVICE)],
            # Nobody knows yet what is usual of a new key.
            now(various(60, status=403), **KEY),
            [*days(4), *now(various(60, status=403))],
        ),
    ),
    Row(
        "mass_read",
        [*days(4, do=sensitive(3)), *now(sensitive(150))],
        [*days(4, do=sensitive(3)), *now(sensitive(80))],
        (
            [*days(4, do=sensitive(400)), *now(sensitive(600))],
            [*days(4, do=sensitive(5_000), **SERVICE), *now(sensitive(9_000), **SERVICE)],
        ),
    ),
    Row(
        "mass_read",
        [*days(4, do=sensitive(3), **SERVICE), *now(sensitive(9_000), **SERVICE)],
        [*days(1, do=sensitive(3), **SERVICE), *now(sensitive(9_000), **SERVICE)],
    ),
    Row(
        "privilege_chain",
        [*days(4, do=doing(CREATE), **TERRAFORM), *now(doing(CREATE, GRANT, BLIND), **TERRAFORM)],
        [*days(4, do=doing(CREATE, GRANT), **TERRAFORM), *now(doing(CREATE, GRANT, BLIND), **TERRAFORM)],
    ),
    Row(
        "privilege_widened",
        [*days(4, do=doing(CREATE, GRANT), **TERRAFORM), *now(doing(CREATE, GRANT, BLIND), **TERRAFORM)],
        [*days(4, do=doing(CREATE, GRANT), **TERRAFORM), *now(doing(CREATE, GRANT), **TERRAFORM)],
    ),
    Row(
        "audit_switched_off",
        [*days(4, do=doing(GRANT), **TERRAFORM), *now(doing(BLIND), **TERRAFORM)],
        [*days(4, do=doing(BLIND), **TERRAFORM), *now(doing(BLIND), **TERRAFORM)],
    ),
    Row(
        "opened_to_outside",
        [*days(4, do=doing(GRANT), **TERRAFORM), *now(sharing, **TERRAFORM)],
        [*days(4, do=sharing, **TERRAFORM), *now(sharing, **TERRAFORM)],
    ),
    Row(
        "secrets_harvested",
        [*days(4, do=secrets(3), **SERVICE), *now(secrets(20), **SERVICE)],
        [*days(4, do=secrets(12), **SERVICE), *now(secrets(20), **SERVICE)],
        ([*days(1, do=secrets(3), **SERVICE), *now(secrets(20), **SERVICE)],),
    ),
]
IDS = [f"{row.rule}-{at}" for at, row in enumerate(ROWS)]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_stands_out_against_the_usual_is_detected(row: Row) -> None:
    assert row.rule in found(replayed(row.fires), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_is_usual_is_not_detected(row: Row) -> None:
    assert row.rule not in found(replayed(row.quiet), "s-1")


@pytest.mark.parametrize("row", [row for row in ROWS if row.honest], ids=[r.rule for r in ROWS if r.honest])
def test_what_honest_principals_do_is_not_detected(row: Row) -> None:
    assert [row.rule in found(replayed(events), "s-1") for events in row.honest] == [False] * len(row.honest)


def decisions(events: list[Event]) -> list[Event]:
    return of(replayed(events), topics.SESSION_RISK, "s-1")


MASS_READ = (
    "≤ 1000 records or 8 times the usual; of a newcomer its role's, ≤ 5000 or twice what its tenant's reach"
)


def test_a_reason_shows_what_is_usual_here_beside_what_was_seen() -> None:
    told = decisions([*days(4, do=sensitive(3)), *now(sensitive(150))])

    assert [
        (reason["observed"], reason["normal"])
        for reason in told[0]["reasons"]
        if reason["detection"] == "mass_read"
    ] == [
        (
            "1046 records in 10 min",
            f"{MASS_READ}; here usually ≤ 31",
        )
    ]


def test_a_rare_hour_alone_is_never_more_than_low() -> None:
    told = decisions([*days(14), *today(hour=3)])

    assert {(one["level"], one["action"]) for one in told} == {("LOW", "allow")}


def test_a_step_up_answers_for_an_unfamiliar_scope() -> None:
    events = [*days(8, do=reading("read")), *now(reading("admin"))]
    passed = auth(NINE + 90, action="step_up_passed")

    told = decisions([*events, passed, call(NINE + 400)])

    assert (told[0]["level"], told[0]["action"]) == ("MEDIUM", "step_up")
    assert (told[-1]["level"], told[-1]["action"]) == ("LOW", "allow")


def test_a_decision_names_the_detections_that_are_still_learning() -> None:
    young = decisions([*days(4), *now(various(30, status=403))])
    old = decisions([*days(14), *now(various(30, status=403))])

    assert (young[0]["learning"], old[0].get("learning")) == (["rare_hour", "unfamiliar_scope"], None)


def test_an_unfamiliar_scope_says_what_it_was_compared_with() -> None:
    told = decisions([*days(8, do=reading("read")), *now(reading("admin"))])

    (reason,) = [one for one in told[0]["reasons"] if one["detection"] == "unfamiliar_scope"]
    assert (reason["observed"], reason["normal"]) == (
        "8 days of its own history to compare with",
        RULES[BIT["unfamiliar_scope"]].normal.format(days=7),
    )


def test_a_key_whose_one_session_lasts_for_weeks_stops_learning_after_days() -> None:
    def learning(number: int) -> list[str]:
        used = [call(-3600 * hour, **KEY) for hour in range(24 * number, 0, -1)]
        told: list[str] = decisions([*used, *various(40, status=403)(0, KEY)])[-1].get("learning", [])
        return told

    assert learning(1) == [
        "api_key_off_place", "rare_hour", "concurrent_sessions", "unfamiliar_scope", "access_probing",
        "machine_probing",
    ]  # fmt: skip
    assert learning(14) == []


def test_whoever_makes_keys_every_day_stays_at_medium_and_is_let_go_on() -> None:
    told = decisions(
        [*days(4, do=doing(CREATE, GRANT), **TERRAFORM), *now(doing(CREATE, GRANT, BLIND), **TERRAFORM)]
    )

    assert {(one["level"], one["action"]) for one in told} == {("MEDIUM", "allow")}
