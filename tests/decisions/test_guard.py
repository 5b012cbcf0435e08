"""The guard: a budget of revocations per tenant and minute, and the check for silent fleets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decisions.guard import FLEET_SILENT, HOLDING, NORMAL, RECOVERY_MS, Guard, next_minute
from pipeline.decisions.policy import GuardLimits
from pipeline.times import MINUTE_MS

TIMES = st.integers(0, 10 * MINUTE_MS)


def new_guard(per_minute: int = 2, share: float = 1.0) -> Guard:
    return Guard(GuardLimits(revocations_per_minute=per_minute, silent_fleet_min_devices=4), share)


def test_a_tenant_has_a_budget_of_revocations_in_a_minute() -> None:
    guard = new_guard(2)

    assert [guard.admit("acme", at) for at in (0, 59_999, 30_000, 60_000, 60_001, 60_002)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]


def test_one_tenant_does_not_spend_the_budget_of_another() -> None:
    guard = new_guard(1)

    assert [guard.admit(tenant, 0) for tenant in ("acme", "acme", "zeta", "zeta")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("per_minute", "share", "budget"), [(600, 1, 600), (600, 1 / 8, 75), (1, 1 / 8, 1), (10, 1 / 3, 4)]
)
def test_a_partition_has_its_share_of_the_budget_and_at_least_one(per_minute: int, share: float, budget: int) -> None:
    assert new_guard(per_minute, share).budget == budget


@given(st.lists(st.tuples(st.sampled_from("ab"), TIMES), max_size=60), st.integers(1, 5))
def test_every_tenant_has_the_whole_budget_of_a_minute_and_no_more(asked: list[tuple[str, int]], most: int) -> None:
    guard = new_guard(most)

    answers: dict[tuple[str, int], list[bool]] = {}
    reached = 0
    for tenant, at in asked:
        reached = max(reached, at // MINUTE_MS)
        answers.setdefault((tenant, reached), []).append(guard.admit(tenant, at))

    assert all(given == [True] * min(most, len(given)) + [False] * (len(given) - most) for given in answers.values())


def test_a_late_event_has_no_budget_of_its_own() -> None:
    guard = new_guard(1)

    assert [guard.admit("acme", 60 * MINUTE_MS), guard.admit("acme", MINUTE_MS)] == [True, False]


def test_minutes_that_are_over_are_forgotten() -> None:
    guard = new_guard(1)
    for minute in range(100):
        guard.admit(f"tenant-{minute}", minute * MINUTE_MS)

    assert guard._spent == {"tenant-99": 1}


def test_its_state_is_holding_until_a_new_minute_begins() -> None:
    guard = new_guard(1)
    states = []
    for at in (0, 1, MINUTE_MS):
        guard.admit("acme", at)
        states.append(guard.state)

    assert states == [NORMAL, HOLDING, NORMAL]


def test_another_tenant_does_not_reset_the_state_of_holding() -> None:
    guard = new_guard(1)
    for tenant in ("acme", "acme", "zeta"):
        guard.admit(tenant, 0)

    assert guard.state == HOLDING


@pytest.mark.parametrize(
    ("silent", "bound", "answer"),
    [(3, 3, False), (4, 4, True), (4, 20, True), (4, 21, False), (0, 0, False), (50, 251, False)],
)
def test_a_fleet_is_silent_when_enough_devices_and_a_large_enough_share_are(
    silent: int, bound: int, answer: bool
) -> None:
    guard = new_guard()

    assert guard.silent_among({"acme": (silent, bound)}, 0) == ({"acme"} if answer else set())
    assert guard.state == (FLEET_SILENT if answer else NORMAL)


def test_the_silence_of_one_tenant_does_not_affect_another() -> None:
    assert new_guard().silent_among({"acme": (4, 4), "zeta": (1, 4), "omega": (9, 9)}, 0) == {"acme", "omega"}


def test_a_fleet_that_sends_telemetry_again_has_time_to_recover() -> None:
    guard = new_guard()
    guard.silent_among({"acme": (4, 4)}, 1000)

    assert guard.silent_among({}, 1000 + RECOVERY_MS - 1) == {"acme"}
    assert guard.state == FLEET_SILENT
    assert guard.silent_among({}, 1000 + RECOVERY_MS) == frozenset()
    assert guard.state == NORMAL


def test_a_held_revocation_is_tried_again_in_the_next_minute() -> None:
    assert [next_minute(at) for at in (0, 59_999, 60_000)] == [60_000, 60_000, 120_000]


def test_silence_cannot_be_verified_while_all_devices_are_silent_and_a_short_while_longer() -> None:
    guard = new_guard()

    guard.silent_among({"acme": (1, 1), "zeta": (1, 2)}, 0)
    first = (
        guard.cannot_verify_silence("acme"),
        guard.cannot_verify_silence("zeta"),
        guard.state,
    )
    guard.silent_among({}, RECOVERY_MS - 1)
    coming_back = guard.cannot_verify_silence("acme")
    guard.silent_among({}, RECOVERY_MS)

    assert first == (True, False, NORMAL)
    assert (coming_back, guard.cannot_verify_silence("acme")) == (True, False)


@pytest.mark.parametrize(("together", "doubted"), [(3, False), (4, True)])
def test_silence_together_cannot_be_verified_in_a_fleet_of_any_size(together: int, doubted: bool) -> None:
    guard = new_guard()

    assert guard.silent_among({"acme": (5, 1000)}, 0, {"acme": together}) == frozenset()
    assert guard.cannot_verify_silence("acme") is doubted
