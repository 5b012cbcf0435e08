"""Baseline and usage of a principal: learned late, forgotten slowly, never from revoked sessions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contexts.principal.baseline import HALF_LIFE_DAYS, MAX_PENDING, Baseline, UsualActivity
from pipeline.contexts.principal.usage import (
    MAX_NAMES,
    MIN_PEERS,
    PEERS_MS,
    REGULAR_DAYS,
    UNFAMILIAR_MS,
    PeerUsage,
    UsageHistory,
)
from schemas.fields import DAY_MS
from tests.support.samples import T0, activity

HOUR = 3_600_000
MONDAY = T0
"""2026-03-02 was one."""


def lived(baseline: Baseline, at: int, calls: float = 0.0, concurrent: int = 0) -> None:
    """A session at *at* that ended well."""
    baseline.observe(f"s-{at}", at, concurrent)
    baseline.observe_peaks(f"s-{at}", {"calls_10m": calls} if calls else {})
    baseline.learn(f"s-{at}")


def after(*peaks: float) -> Baseline:
    """A principal with one session a day, of so many calls each."""
    baseline = Baseline()
    for day, calls in enumerate(peaks):
        lived(baseline, MONDAY + day * DAY_MS, calls)
    return baseline


# --- volumes and sessions at once -------------------------------------------------------------------------


def test_of_few_days_the_largest_is_usual_of_many_all_but_the_rarest() -> None:
    assert after(5.0, 9.0, 7.0).usual() == UsualActivity({"calls_10m": 9.0}, 0, 3)
    assert after(*[7.0] * 60, 500.0).usual().volumes == {"calls_10m": 7.0}


def test_a_day_without_any_does_not_make_a_volume_less_usual() -> None:
    assert after(9.0, *[0.0] * 40).usual() == UsualActivity({"calls_10m": 9.0}, 0, 41)


def test_the_old_weighs_half_after_a_half_life() -> None:
    baseline = after(9.0)
    lived(baseline, MONDAY + HALF_LIFE_DAYS * DAY_MS, 3.0)

    assert baseline.volumes == {"calls_10m": [(3.0, 1.0), (9.0, 0.5)]}
    assert baseline.observations == [1.5, 0.0]


def test_a_season_later_the_old_is_forgotten() -> None:
    baseline = after(900.0)
    for day in range(7 * HALF_LIFE_DAYS, 7 * HALF_LIFE_DAYS + 20):
        lived(baseline, MONDAY + day * DAY_MS, 3.0)

    assert baseline.usual().volumes == {"calls_10m": 3.0}


def test_an_observation_counts_when_its_session_has_ended() -> None:
    baseline = Baseline()
    baseline.observe("s-1", MONDAY, 2)
    baseline.observe_peaks("s-1", {"calls_10m": 9.0})
    waiting = baseline.usual()
    baseline.learn("s-1")

    assert (waiting, baseline.usual()) == (UsualActivity({}, 0, 0), UsualActivity({"calls_10m": 9.0}, 2, 1))


def test_a_session_that_never_ends_is_counted_day_by_day() -> None:
    baseline = Baseline()
    for hour in range(25):
        baseline.observe("s-1", MONDAY + hour * HOUR, 1)
        baseline.observe_peaks("s-1", {"calls_10m": float(hour)})

    assert baseline.usual() == UsualActivity({"calls_10m": 23.0}, 1, 1)
    assert sum(baseline.hours) == 24


def test_what_a_revoked_session_did_is_never_usual() -> None:
    baseline = after(3.0, 3.0)
    baseline.observe("thief", MONDAY + 2 * DAY_MS, 40)
    baseline.observe_peaks("thief", {"calls_10m": 9_000.0})
    baseline.discard("thief")
    baseline.learn("thief")

    assert baseline.usual() == UsualActivity({"calls_10m": 3.0}, 0, 2)


def test_a_cohort_stands_in_for_a_newcomer_until_its_own_history_is_as_long() -> None:
    cohort = UsualActivity({"calls_10m": 50.0}, 3, 2)

    assert after(3.0).usual(cohort) == cohort
    assert after(3.0, 3.0).usual(cohort) == UsualActivity({"calls_10m": 3.0}, 0, 2)


def test_the_number_of_pending_observations_is_bounded() -> None:
    baseline = Baseline()
    for number in range(MAX_PENDING + 5):
        baseline.observe(f"s-{number}", MONDAY, 0)

    assert len(baseline.pending) == MAX_PENDING


# --- hours ------------------------------------------------------------------------------------------------

SHARES = [
    (9, 1.0),
    (8, 1.0),
    (10, 1.0),
    (11, 0.0),
    (3, 0.0),
]


@pytest.mark.parametrize(("hour", "share"), SHARES)
def test_an_hour_is_as_usual_as_itself_or_one_beside_it(hour: int, share: float) -> None:
    baseline = Baseline()
    for day in range(5):
        lived(baseline, MONDAY + day * DAY_MS + 9 * HOUR)

    assert baseline.hour_share(MONDAY + 7 * DAY_MS + hour * HOUR) == share


def test_the_day_is_a_circle() -> None:
    baseline = Baseline()
    lived(baseline, MONDAY + 23 * HOUR)

    assert baseline.hour_share(MONDAY + DAY_MS) == 1.0


def test_weekends_have_hours_of_their_own_once_some_were_seen() -> None:
    baseline = Baseline()
    saturday = MONDAY + 5 * DAY_MS
    for day in range(56):
        if day % 7 < 5:
            lived(baseline, MONDAY + day * DAY_MS + 9 * HOUR)
    before = baseline.hour_share(saturday + 9 * HOUR)
    for week in range(8):
        lived(baseline, saturday + week * 7 * DAY_MS + 20 * HOUR)

    assert before == 1.0
    assert baseline.hour_share(saturday + 9 * HOUR) == 0.0
    assert baseline.hour_share(MONDAY + 9 * HOUR) == 1.0


@given(st.lists(st.integers(0, 400 * 24), max_size=60), st.integers(0, 500 * 24))
@settings(max_examples=100)
def test_a_share_is_a_share_whenever_sessions_were(starts: list[int], hour: int) -> None:
    baseline = Baseline()
    for start in starts:
        lived(baseline, MONDAY + start * HOUR, float(start % 7))

    assert 0.0 <= baseline.hour_share(MONDAY + hour * HOUR) <= 1.0
    assert baseline.days <= len({start // 24 for start in starts})
    usual = baseline.usual().volumes.get("calls_10m", 0.0)
    assert usual == 0.0 or usual in {start % 7 for start in starts}
    # What was long ago fades away, and a rare peak is not usual: only what every session did is sure to be.
    assert usual > 0.0 or not starts or not all(start % 7 for start in starts)


# --- scopes, operations, tools ----------------------------------------------------------------------------


def test_a_name_is_unfamiliar_for_a_while_to_the_session_that_used_it_first() -> None:
    uses = UsageHistory()
    uses.add(["scope:read"], MONDAY, "s-1")
    uses.add(["scope:read", "scope:admin"], MONDAY + 60_000, "s-2")

    assert uses.unfamiliar("s-1", MONDAY) == ["scope:read"]
    assert uses.unfamiliar("s-2", MONDAY + 60_000) == ["scope:admin"]
    assert uses.unfamiliar("s-2", MONDAY + 60_001 + UNFAMILIAR_MS) == []


def test_what_a_revoked_session_used_first_is_new_again() -> None:
    uses = UsageHistory()
    uses.add(["scope:admin"], MONDAY, "thief")
    uses.forget_session("thief")
    uses.add(["scope:admin"], MONDAY + DAY_MS, "s-2")

    assert uses.unfamiliar("s-2", MONDAY + DAY_MS) == ["scope:admin"]


def test_the_names_used_last_are_kept() -> None:
    uses = UsageHistory()
    uses.add([f"scope:{at}" for at in range(MAX_NAMES)], MONDAY, "s-1")
    uses.add(["scope:0", "scope:more"], MONDAY, "s-1")

    assert len(uses.names) == MAX_NAMES
    assert [name for name in ("scope:0", "scope:1", "scope:more") if name in uses.names] == [
        "scope:0",
        "scope:more",
    ]


@pytest.mark.parametrize(
    ("names", "days", "signals"),
    [
        (["iam:CreateAccessKey", "iam:AttachUserPolicy"], REGULAR_DAYS, ["chains_usual"]),
        (["iam:CreateAccessKey", "iam:AttachUserPolicy"], REGULAR_DAYS - 1, []),
        (["iam:CreateAccessKey", "iam:CreateUser"], REGULAR_DAYS, []),
        (["s3:GetObject", "iam:AttachUserPolicy"], REGULAR_DAYS, []),
        (["ec2:DeleteFlowLogs"], REGULAR_DAYS, ["blinding_usual"]),
        (["ec2:DeleteFlowLogs", "iam:AttachUserPolicy"], REGULAR_DAYS, ["chains_usual", "blinding_usual"]),
        (["ec2:ModifyImageAttribute", "iam:CreateRole"], REGULAR_DAYS, ["sharing_usual"]),
        (["ec2:ModifyImageAttribute"], REGULAR_DAYS - 1, []),
    ],
)
def test_what_is_done_to_trust_on_several_days_is_usual(names: list[str], days: int, signals: list[str]) -> None:
    uses = UsageHistory()
    for day in range(days):
        uses.add([f"operation:{name}" for name in names], MONDAY + day * DAY_MS, f"s-{day}")
        uses.add([f"operation:{name}" for name in names], MONDAY + day * DAY_MS, f"s-{day}")

    event: Any = activity(0, session_id="s-new") | {"occurred_at": MONDAY + 30 * DAY_MS}
    assert uses.signals(event, PeerUsage()) == signals


def begun(number: int, apart: int = 0) -> PeerUsage:
    """So many principals have begun to use a scope."""
    fashion = PeerUsage()
    for this_number in range(number):
        fashion.add(["scope:new"], MONDAY + this_number * apart, f"p-{this_number}", f"s-{this_number}")
    return fashion


def test_what_enough_others_have_begun_to_use_lately_is_popular() -> None:
    assert not begun(MIN_PEERS - 1).is_popular("scope:new", MONDAY, "ana")
    assert begun(MIN_PEERS).is_popular("scope:new", MONDAY, "ana")
    assert not begun(MIN_PEERS).is_popular("scope:new", MONDAY, "p-0")
    assert not begun(MIN_PEERS).is_popular("scope:new", MONDAY + PEERS_MS + 1, "ana")
    assert not begun(MIN_PEERS).is_popular("scope:other", MONDAY, "ana")


def test_revoked_sessions_make_nothing_popular() -> None:
    fashion = begun(MIN_PEERS)

    assert [fashion.forget_session("s-1"), fashion.forget_session("s-1")] == [True, False]
    assert not fashion.is_popular("scope:new", MONDAY, "ana")


def test_a_name_that_was_used_today_is_not_stored_again() -> None:
    fashion = begun(MIN_PEERS)

    again = fashion.add(["scope:new"], MONDAY + HOUR, "p-0", "s-9")
    tomorrow = fashion.add(["scope:new"], MONDAY + DAY_MS, "p-0", "s-9")

    assert (again, tomorrow) == (False, True)
