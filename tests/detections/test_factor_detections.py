"""Detections on factors and tokens, each by histories through all processors."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.topics import SESSION_REVOCATIONS, SESSION_RISK
from tests.support.histories import CAFE, HOME, ON, Row, names
from tests.support.run_processors import Event, found, of, replayed
from tests.support.samples import auth, call, telemetry

LAPTOP = {"device_id": "laptop"}
CREATE = "iam:CreateAccessKey"


def habit(sessions: int, **members: Any) -> list[Event]:
    """The person's sessions of the days before, on a laptop."""
    return [
        auth(-90_000 - 3600 * at + wait, session_id=f"before-{at}", action=action, **LAPTOP, **members)
        for at in range(sessions)
        for wait, action in ((0, "sign_in"), (600, "sign_out"))
    ]


def changed(at: float, action: str = "credential_removed", **where: Any) -> list[Event]:
    """A factor is changed in a session, by default on the laptop."""
    subject = {"session_id": "reset", **LAPTOP, **where}
    return [auth(at - 60, **subject), auth(at, action=action, **subject)]


def on_new_phone(*more: Event) -> list[Event]:
    return [*habit(4), auth(0, **ON), *more, call(900, **ON)]


def privileged(at: float, **members: Any) -> Event:
    return call(at, **{**ON, "operation": CREATE, **members})


def refreshed(again_at: float, **members: Any) -> list[Event]:
    """A refresh token is used at 100 s and presented again."""
    reuse = auth(again_at, action="token_reused", **{**HOME, **members})
    return [auth(0, **HOME), auth(100, action="token_refreshed", **HOME), reuse]


def sim(now: str, *then: Event) -> list[Event]:
    """A session on a phone whose SIM changes after a minute, or does not."""
    start = [telemetry(0, sim_id="sim-1"), auth(1, **ON), call(2, **ON)]
    return [*start, telemetry(60, sim_id=now), call(61, **ON), *then]


def by(action: str, at: float = 120, **members: Any) -> Event:
    return auth(at, action=action, **ON, **members)


ROWS = [
    Row(
        "new_device_privileged",
        on_new_phone(privileged(300)),
        [*habit(4), auth(0, **LAPTOP), call(300, operation=CREATE, **LAPTOP)],
        (
            on_new_phone(by("mfa_passed", 60), privileged(300)),
            on_new_phone(call(300, **ON)),
            on_new_phone(privileged(300, status=403)),
            on_new_phone(privileged(3700)),
            [*habit(1), auth(0, **ON), privileged(300)],
        ),
    ),
    Row(
        "new_device_privileged",
        on_new_phone(by("credential_added")),
        on_new_phone(by("token_refreshed")),
    ),
    Row(
        "new_device_privileged",
        on_new_phone(by("token_issued", scopes=["openid", "admin:org"])),
        on_new_phone(by("token_issued", scopes=["openid", "mail.read"])),
    ),
    Row(
        "new_device_privileged",
        [*habit(4), auth(-9000, **LAPTOP), call(0, **ON), privileged(1800)],
        [*habit(4), auth(-9000, **LAPTOP), call(0, **ON), privileged(7200)],
    ),
    Row(
        "factor_reset_new_device",
        [*habit(3), *changed(-3600), auth(0, **ON), call(5, **ON)],
        [*habit(3), auth(0, **ON), call(5, **ON)],
        (
            [*habit(3), *changed(-3600), auth(0, **LAPTOP), call(5, **LAPTOP)],
            [*habit(3), *changed(-90_000), auth(0, **ON), call(5, **ON)],
            [*habit(3), auth(0, **ON), by("credential_added"), call(500, **ON)],
            [*habit(1), *changed(-3600, "recovery_started"), auth(0, **ON), call(5, **ON)],
            # The day of a new phone: it is added on the laptop, beside the old one. A key is minted there.
            [*habit(3), *changed(-3600, "credential_added"), auth(0, **ON), call(5, **ON)],
            [*habit(1), *changed(-3600, "credential_added"), *habit(2), auth(0, **ON), call(5, **ON)],
        ),
    ),
    *(
        Row(  # by somebody who has a session, but no device of the person
            "factor_reset_new_device",
            [*habit(3), *changed(-3600, "credential_added", device_id=other), auth(0, **ON), call(5, **ON)],
            [*habit(3), *changed(-3600, "token_refreshed", device_id=other), auth(0, **ON), call(5, **ON)],
        )
        for other in (None, "strange")
    ),
    *(
        Row(
            "factor_reset_new_device",
            [*habit(3), *changed(-60, action), auth(0, **ON), call(5, **ON)],
            [*habit(3), *changed(600, action), auth(0, **ON), call(5, **ON)],
        )
        for action in ("recovery_started", "credential_removed", "credential_changed")
    ),
    Row(
        "refresh_token_reused",
        refreshed(200),
        refreshed(200)[:2],
        (
            refreshed(160),  # its own retry, within a minute
            [*refreshed(103), auth(150, action="token_reused", **HOME)],
            [auth(0, **HOME), auth(200, action="token_reused", **HOME)],  # the log has no refreshes
        ),
    ),
    Row(
        "refresh_token_reused",
        [auth(0, **HOME), auth(200, action="token_reused", **{**CAFE, "user_agent": "curl/8"})],
        [auth(0, **HOME), auth(200, action="token_refreshed", **CAFE)],
        # The log has no refreshes, and the company has several exits.
        ([auth(0, **HOME), auth(200, action="token_reused", **CAFE)],),
    ),
    Row("refresh_token_reused", refreshed(105, **CAFE), refreshed(105, ip="192.0.2.77")),
    Row("refresh_token_reused", refreshed(105, user_agent="curl/8"), refreshed(105, user_agent="Firefox/141")),
    Row(
        "sim_swapped",
        sim("sim-2", by("recovery_started")),
        sim("sim-1", by("recovery_started")),
        (
            sim("sim-2", by("mfa_passed", amr=["hwk"])),
            sim("sim-2"),
            sim("sim-2", telemetry(86_470, sim_id="sim-2"), by("recovery_started", 86_500)),
        ),
    ),
    Row("sim_swapped", sim("sim-2", by("credential_changed")), sim("sim-2", by("token_refreshed"))),
    Row(
        "factor_after_sim_swap",
        sim("sim-2", by("mfa_passed", amr=["sms"])),
        sim("sim-1", by("mfa_passed", amr=["sms"])),
        (sim("sim-2", by("mfa_passed", amr=["hwk", "user"])), sim("sim-2")),
    ),
    Row("factor_after_sim_swap", sim("sim-2", by("mfa_passed")), sim("sim-2", by("mfa_denied"))),
]


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS))
def test_a_detection_fires(row: Row) -> None:
    assert row.rule in found(replayed(row.fires), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS))
def test_a_detection_stays_quiet(row: Row) -> None:
    assert row.rule not in found(replayed(row.quiet), "s-1")


HONEST = [row for row in ROWS if row.honest]


@pytest.mark.parametrize("row", HONEST, ids=names(HONEST))
def test_a_detection_spares_the_honest(row: Row) -> None:
    assert [row.rule in found(replayed(events), "s-1") for events in row.honest] == [False] * len(row.honest)


def test_a_new_sim_alone_is_no_reason_for_anything() -> None:
    assert found(replayed(sim("sim-2")), "s-1") == set()


def test_a_new_phone_after_a_reset_is_shown_with_both_times() -> None:
    (first, *_) = of(
        replayed([*habit(3), *changed(-1800, "recovery_started"), auth(0, **ON), call(5, **ON)]),
        SESSION_RISK,
        "s-1",
    )

    assert [(item["detection"], item["observed"]) for item in first["reasons"]] == [
        ("factor_reset_new_device", "recovery_started, first seen on this device 30 min later")
    ]
    assert (first["level"], first["action"]) == ("MEDIUM", "step_up")


def test_a_detection_without_a_number_shows_its_fixed_words() -> None:
    (first, *_) = of(replayed(sim("sim-2", by("recovery_started"))), SESSION_RISK, "s-1")

    assert [(item["detection"], item["observed"]) for item in first["reasons"]] == [
        ("sim_swapped", "a factor changed or recovery started within a day of a new SIM")
    ]


def test_a_device_of_the_first_sessions_is_not_new_when_one_of_them_was_revoked() -> None:
    """What was learned from the session is forgotten; that its device was one of the first is not."""
    early = {"session_id": "early", **ON}
    fell = [auth(-200_000, **early), telemetry(-199_000, rooted=True), telemetry(-190_000, rooted=False)]

    outputs = replayed(
        [
            auth(-210_000, session_id="first", **LAPTOP),
            *fell,
            *habit(3),
            *changed(-3600),
            auth(0, **ON),
            call(5, **ON),
        ]
    )

    assert of(outputs, SESSION_REVOCATIONS, "early")
    assert "factor_reset_new_device" not in found(outputs, "s-1")


def test_an_intruders_device_is_still_new_after_its_session_was_revoked() -> None:
    fall = [*on_new_phone(by("recovery_started")), telemetry(130, rooted=True)]
    again = auth(1800, session_id="s-2", **ON)

    outputs = replayed([*fall, again, call(1810, session_id="s-2", **ON)])

    assert "factor_reset_new_device" in found(outputs, "s-2")
