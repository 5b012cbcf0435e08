"""Detections on the device and its posture, each by histories through all processors."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.histories import CLEAN, HOME, ON, Row, ms, names, on_phone, others, thrice
from tests.support.run_processors import Event, found, of, replayed
from tests.support.samples import auth, call, telemetry

HEALTHY: dict[str, Any] = {
    **CLEAN,
    "platform": "ios",
    "os_version": "17.5.1",
    "patch_level": "2026-02-05",
    "managed": True,
    "compliant": True,
    "screen_lock": True,
    "encrypted": True,
    "developer_mode": False,
    "debugger": False,
    "app_signature_valid": True,
}
FARM = """
[[suppressions]]
detections = ["device_emulated", "device_hooked"]
owner = "mobile team"
reason = "test farm"
expires_at = 4000000000000
device_id = "phone-1"
"""


def became(*steps: dict[str, Any], **start: Any) -> list[Event]:
    """A session on a healthy phone that reports once a minute, each time the next of the steps."""
    fields = {**HEALTHY, **start}
    events = [telemetry(0, **fields), auth(1, **ON), call(2, **ON)]
    for at, step in enumerate(steps, start=1):
        fields |= step
        events += [telemetry(60 * at, **fields), call(60 * at + 1, **ON)]
    return events


def fleet(phones: int, step: dict[str, Any]) -> list[Event]:
    """A number of phones change in the same way within minutes, then the one that the session is on."""
    before = [telemetry(at / 10, device_id=f"other-{at}", **HEALTHY) for at in range(phones)]
    after = [telemetry(20 + at / 10, device_id=f"other-{at}", **{**HEALTHY, **step}) for at in range(phones)]
    return [*before, *after, *became(step)]


def after_the_change(**step: Any) -> list[Event]:
    """A session that starts on a phone that has changed before."""
    changed = {**HEALTHY, **step}
    return [telemetry(-60, **HEALTHY), telemetry(0, **changed), auth(1, **ON), telemetry(60, **changed)]


ROWS = [
    Row("device_hooked", on_phone(hooked=True), on_phone(hooked=False), (on_phone(hooked=True),), FARM),
    Row("device_hooked", on_phone(hooked=True), on_phone(rooted=True)),
    Row("device_emulated", on_phone(emulator=True), on_phone(), (on_phone(emulator=True),), FARM),
    Row(
        "posture_downgraded",
        became({"screen_lock": False}),
        became(),
        (
            fleet(10, {"screen_lock": False}),
            after_the_change(screen_lock=False),
            became({"screen_lock": False}, screen_lock=None),
            became({"os_version": "18.0", "compliant": False}),
            became({"patch_level": "2026-03-05"}, {}, {"compliant": False}),
        ),
    ),
    Row(
        "posture_downgraded",
        became({"os_version": "18.0", "compliant": False, "screen_lock": False}),
        became({"os_version": "18.0", "compliant": False}),
    ),
    Row(
        "posture_downgraded",
        became({"os_version": "17.4", "compliant": False}),
        became({"os_version": "17.6", "compliant": False}),
    ),
    Row(
        "posture_downgraded",
        became({"os_version": "15.4", "platform": "linux", "compliant": False}),
        became({"os_version": "18.0", "compliant": False}),
    ),
    Row(
        "posture_downgraded",
        became({"os_version": "18.0"}, *({} for _ in range(61)), {"compliant": False}),
        became({"os_version": "18.0"}, *({} for _ in range(50)), {"compliant": False}),
    ),
    *(
        Row("posture_downgraded", became({fact: bad}), became({fact: not bad}, **{fact: bad}))
        for fact, bad in (
            ("managed", False),
            ("compliant", False),
            ("encrypted", False),
            ("developer_mode", True),
            ("debugger", True),
        )
    ),
    Row(
        "attestation_failed",
        became({"attestation": "failed"}),
        became({"attestation": "strong"}),
        tuple(became({"attestation": verdict}) for verdict in ("unevaluated", "none", "basic")),
    ),
    Row(
        "attestation_downgraded",
        became({"attestation": "basic"}),
        became({"attestation": "device"}),
        (
            became({"attestation": "unevaluated"}, {"attestation": "strong"}),
            became({"attestation": "none"}, attestation="basic"),
            fleet(10, {"attestation": "none"}),
        ),
    ),
    Row(
        "attestation_downgraded",
        became({"attestation": "unevaluated"}, {"attestation": "none"}),
        became({"attestation": "unevaluated"}, {"attestation": "none"}, attestation="basic"),
    ),
    Row(
        "os_downgraded",
        became({"os_version": "17.4"}),
        became({"os_version": "18.0"}),
        (
            became({"os_version": "17.5"}),
            became({"os_version": "10.0.22631"}, os_version="11"),
            became({"os_version": "iOS 16.1"}),
            became({"os_version": "15.4", "platform": "linux"}),
            fleet(10, {"os_version": "17.4"}),
        ),
    ),
    Row("os_downgraded", became({"patch_level": "2026-01-05"}), became({"patch_level": "2026-03-01"})),
    Row(
        "patch_stale",
        [*thrice(HOME), *became(patch_level="2025-06-05")],
        [*thrice(HOME), *became()],
        (
            [*thrice(HOME), *became(patch_level="2025-09-15")],
            [*thrice(HOME), *became(patch_level=None)],
            [*thrice(HOME), *became(patch_level="2025-02-31")],
            # Not a change: the person's own old phone, or only phone.
            [*thrice(HOME, **ON), *became(patch_level="2025-06-05")],
            became(patch_level="2025-06-05"),
        ),
    ),
    Row(
        "clock_tampered",
        became({"attested_at": ms(1200)}),
        became({"attested_at": ms(60)}),
        (became({"attested_at": ms(350)}), became({"attested_at": None})),
    ),
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
    flags = [row.rule in found(replayed(events, row.kept_quiet_by), "s-1") for events in row.honest]

    assert flags == [False] * len(row.honest)


# --- what an analyst reads ---------------------------------------------------------------------------------


def shown(events: list[Event], rule: str) -> str:
    """The observed value in the first decision with this reason."""
    return next(
        str(reason["observed"])
        for risk in of(replayed(events), SESSION_RISK, "s-1")
        for reason in risk["reasons"]
        if reason["detection"] == rule
    )


OBSERVED = [
    ("posture_downgraded", became({"screen_lock": False}), "screen_lock true → false"),
    ("attestation_downgraded", became({"attestation": "basic"}), "attestation strong → basic"),
    ("os_downgraded", became({"os_version": "17.4"}), "os_version 17.5.1 → 17.4"),
    (
        "patch_stale",
        [*thrice(HOME), *became(patch_level="2025-06-05")],
        "a patch level of more than half a year ago",
    ),
    ("clock_tampered", became({"attested_at": ms(1200)}), "attested 1140 s after the report was made"),
    ("device_rooted", became({"rooted": True}), "1 posture faults"),
]


@pytest.mark.parametrize(("rule", "events", "words"), OBSERVED, ids=[row[0] for row in OBSERVED])
def test_a_reason_shows_what_was_observed_in_words(rule: str, events: list[Event], words: str) -> None:
    assert shown(events, rule) == words


def test_two_facts_that_got_worse_are_shown_together() -> None:
    both = became({"screen_lock": False, "encrypted": False})

    assert shown(both, "posture_downgraded") == "screen_lock true → false, encrypted true → false"


# --- how long it counts ------------------------------------------------------------------------------------


def last(events: list[Event]) -> tuple[str, set[str]]:
    """Level and detections of the last decision about the session."""
    risk = of(replayed(events), SESSION_RISK, "s-1")[-1]
    return risk["level"], {item["detection"] for item in risk["reasons"] if item["contribution"] > 0}


def test_a_screen_lock_that_is_restored_ends_the_episode() -> None:
    back = became({"screen_lock": False}, {"screen_lock": True}, {}, {})

    assert last([*back, *others(300)]) == ("LOW", set())


def test_a_screen_lock_that_stays_off_counts_for_an_hour() -> None:
    policy = "[times]\nstep_up_s = 100000\n"
    off = became({"screen_lock": False}, *({} for _ in range(65)))

    risks = of(replayed([*off, *others(4000)], policy), SESSION_RISK, "s-1")

    assert [risk["level"] for risk in risks[-2:]] == ["MEDIUM", "LOW"]
    assert ms(3600) <= risks[-1]["occurred_at"] <= ms(3840)


def test_a_step_up_requested_before_the_fleet_followed_is_withdrawn() -> None:
    at_once = "[times]\nrollout_s = 0\n"
    first = became({"screen_lock": False}, *({} for _ in range(9)))
    before = [telemetry(at / 10, device_id=f"other-{at}", **HEALTHY) for at in range(10)]
    worse = {**HEALTHY, "screen_lock": False}
    after = [telemetry(150 + at, device_id=f"other-{at}", **worse) for at in range(10)]

    followed, alone = (replayed([*first, *more], at_once) for more in ([*before, *after], before))

    asked = [of(outputs, SESSION_CHALLENGES, "s-1") for outputs in (followed, alone)]
    ended = [of(outputs, SESSION_REVOCATIONS, "s-1") for outputs in (followed, alone)]
    assert ([len(events) for events in asked], [bool(events) for events in ended]) == ([1, 1], [False, True])


def test_the_first_device_of_a_rollout_leads_to_no_step_up() -> None:
    first = became({"screen_lock": False}, *({} for _ in range(9)))
    before = [telemetry(at / 10, device_id=f"other-{at}", **HEALTHY) for at in range(10)]
    worse = {**HEALTHY, "screen_lock": False}
    after = [telemetry(250 + at, device_id=f"other-{at}", **worse) for at in range(10)]

    assert of(replayed([*first, *before, *after]), SESSION_CHALLENGES, "s-1") == []


def test_a_step_up_clears_a_screen_lock_that_stays_off() -> None:
    off = became({"screen_lock": False}, {}, {})
    proof = auth(130, action="step_up_passed", **ON)

    assert last([*off, proof, *others(300)]) == ("LOW", set())
