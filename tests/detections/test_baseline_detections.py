"""Detections on the principal's baseline: they fire on deviations, and not on usual or honest behaviour."""

from __future__ import annotations

import pytest

from tests.support.baseline_histories import (
    SERVICE,
    TERRAFORM,
    colleagues,
    crowd,
    doing,
    each_thing,
    first_of,
    long_ago,
    on_all,
    on_each,
    reading,
    secrets,
    sensitive,
    sharing,
    workers,
)
from tests.support.histories import BLIND, CREATE, GRANT, KEY, Row, days, now, repeated, today, various
from tests.support.run_processors import found, replayed

DEVICES = ("phone-1", "laptop-1", "tablet-1", "watch-1")
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
            # A permission was removed by mistake: the usual operations are called, on one resource or many.
            [*days(4, **KEY), *now(repeated(200, status=403), **KEY)],
            [*days(4, do=each_thing(60), **KEY), *now(each_thing(200, status=403), **KEY)],
            # An inventory scan has many refusals every day.
            [*days(4, do=various(40, status=403), **SERVICE), *now(various(60, status=403), **SERVICE)],
            # A new key has no baseline yet.
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
def test_a_deviation_from_the_baseline_is_detected(row: Row) -> None:
    assert row.rule in found(replayed(row.fires), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_usual_behaviour_is_not_detected(row: Row) -> None:
    assert row.rule not in found(replayed(row.quiet), "s-1")


@pytest.mark.parametrize("row", [row for row in ROWS if row.honest], ids=[r.rule for r in ROWS if r.honest])
def test_honest_behaviour_is_not_detected(row: Row) -> None:
    assert [row.rule in found(replayed(events), "s-1") for events in row.honest] == [False] * len(row.honest)
