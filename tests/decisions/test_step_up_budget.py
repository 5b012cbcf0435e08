"""The step-up budget: passed step-ups make suspicions weigh less in their tenant, hours of use make them weigh more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.state.table import UnreadableRow
from pipeline.decisions.policy import BudgetLimits
from pipeline.decisions.step_up_budget import COUNT_MS, MAX_PEOPLE, MAX_TENANTS, StepUpBudget
from pipeline.times import HOUR_MS
from tests.support.decision_session import ASKED, QUIET, brief, new_session

LIMITS = BudgetLimits(step_ups_per_1000_hours=5.0, raise_by=1.0, max_raise=3.0)
DAY_MS = 24 * HOUR_MS


def after(*passed: tuple[str, int]) -> StepUpBudget:
    """A budget after step-ups of people of one tenant, passed at these times."""
    budget = StepUpBudget()
    for person, at in passed:
        budget.refuted("acme", person, at, LIMITS)
    return budget


# --- in a tenant ------------------------------------------------------------------------------------------


def test_each_person_who_passes_raises_the_threshold_by_a_step_up_to_the_largest() -> None:
    raised = [after(*((f"p{n}", n) for n in range(people))).raised("acme", LIMITS) for people in range(6)]

    assert raised == [0.0, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_a_person_raises_it_once_a_day() -> None:
    assert after(("ana", 0), ("ana", DAY_MS - 1)).raised("acme", LIMITS) == 1.0
    assert after(("ana", 0), ("ana", DAY_MS)).raised("acme", LIMITS) == 2.0


def test_it_is_of_its_tenant_alone() -> None:
    assert after(("ana", 0)).raised("other", LIMITS) == 0.0


def test_two_hundred_hours_of_use_pay_for_one_step_up_at_five_per_thousand() -> None:
    budget = after(("ana", 0), ("ben", 0))

    budget.count({"acme": 100}, HOUR_MS, LIMITS)
    half = budget.raised("acme", LIMITS)
    budget.count({"acme": 100}, 2 * HOUR_MS, LIMITS)
    one = budget.raised("acme", LIMITS)
    budget.count({"acme": 100}, 4 * HOUR_MS, LIMITS)

    assert (half, one, budget.raised("acme", LIMITS)) == (1.5, 1.0, 0.0)
    assert budget.thresholds == {}


def test_hours_in_which_nobody_works_pay_for_nothing() -> None:
    budget = after(("ana", 0))

    budget.count({"other": 9}, 1_000 * HOUR_MS, LIMITS)

    assert budget.raised("acme", LIMITS) == 1.0


def test_time_that_goes_back_pays_for_nothing_and_is_not_counted_twice() -> None:
    budget = after(("ana", 10 * HOUR_MS))

    budget.count({"acme": 10}, 9 * HOUR_MS, LIMITS)
    before = budget.raised("acme", LIMITS)
    budget.count({"acme": 10}, 11 * HOUR_MS, LIMITS)

    assert before == 1.0
    assert budget.raised("acme", LIMITS) == pytest.approx(0.95)


def test_hours_are_counted_every_ten_minutes_and_only_where_there_is_a_threshold() -> None:
    assert not StepUpBudget().is_due(0, DAY_MS)
    assert [after(("ana", 0)).is_due(0, at) for at in (COUNT_MS - 1, COUNT_MS)] == [False, True]


def test_a_policy_without_a_step_learns_nothing() -> None:
    budget = StepUpBudget()

    budget.refuted("acme", "ana", 0, BudgetLimits(raise_by=0.0))

    assert (budget.thresholds, budget.rows()) == ({}, [])


def test_a_budget_that_is_switched_off_or_lowered_counts_at_once_and_leaves_nothing_behind() -> None:
    budget = after(("ana", 0), ("ben", 0))
    off, lower = BudgetLimits(raise_by=0.0), BudgetLimits(max_raise=0.5)

    assert [budget.raised("acme", limits) for limits in (LIMITS, off, lower)] == [2.0, 0.0, 0.5]
    budget.count({}, HOUR_MS, lower)
    assert budget.raised("acme", LIMITS) == 0.5
    budget.count({}, HOUR_MS, off)
    assert budget.rows() == [("acme", None)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_passed_step_ups_beyond_the_largest_threshold_never_exceed_what_hours_paid_for(
    course: list[tuple[bool, int]],
) -> None:
    """The law of the controller: steps taken = hours paid + what is left, where nothing was cut off at either end."""
    budget, at, steps, paid = StepUpBudget(), 0, 0.0, 0.0
    for number, (passes, sessions) in enumerate(course):
        at += HOUR_MS
        before = budget.raised("acme", LIMITS)
        budget.count({"acme": sessions}, at, LIMITS)
        paid += before - budget.raised("acme", LIMITS)
        if passes:
            before = budget.raised("acme", LIMITS)
            budget.refuted("acme", f"p{number}", at, LIMITS)
            steps += budget.raised("acme", LIMITS) - before

    assert steps == pytest.approx(paid + budget.raised("acme", LIMITS))
    assert 0.0 <= budget.raised("acme", LIMITS) <= LIMITS.max_raise


# --- bounds -----------------------------------------------------------------------------------------------


def test_tenants_and_people_that_are_remembered_are_bounded() -> None:
    budget = StepUpBudget()
    for number in range(MAX_TENANTS + 3):
        budget.refuted(f"t{number}", "ana", 0, LIMITS)
    for number in range(MAX_PEOPLE + 3):
        budget.refuted("acme", f"p{number}", number, LIMITS)

    assert len(budget.thresholds) == MAX_TENANTS
    assert next(iter(budget.thresholds["acme"].moved)) == "p3"
    assert budget.raised("t0", LIMITS) == 0.0


# --- state ------------------------------------------------------------------------------------------------


def test_what_is_restored_from_its_rows_goes_on_alike() -> None:
    budget, restored = after(("ana", 5), ("ben", 7)), StepUpBudget()

    restored.restore(budget.rows())

    assert restored.thresholds == budget.thresholds
    assert budget.rows() == []
    budget.count({"acme": 10_000}, HOUR_MS, LIMITS)
    restored.restore(budget.rows())
    assert restored.thresholds == {}


@pytest.mark.parametrize("row", [b"", b"{}", b"[]", b'{"raised": "x", "counted_at": 1, "moved": {}}'])
def test_a_row_that_cannot_be_read_stops_the_restore(row: bytes) -> None:
    with pytest.raises(UnreadableRow, match="a tenant's threshold that cannot be read"):
        StepUpBudget().restore([("acme", row)])


# --- decisions --------------------------------------------------------------------------------------------

POLICY = "prior = -4.0\n[detections.network_changed]\nweight = 6.0"


def test_suspicions_weigh_less_by_the_threshold_and_the_score_says_so() -> None:
    decision = new_session(POLICY, threshold=2.5).see(0, "network_changed")

    assert [(part.detection, part.log_odds) for part in decision.contributions] == [
        ("network_changed", 6.0),
        ("tenant_threshold", -2.5),
    ]
    assert decision.score == 37.8


def test_it_takes_away_no_more_than_there_is() -> None:
    decision = new_session(POLICY, threshold=9.0).see(0, "network_changed")

    assert (brief(decision), decision.score) == (QUIET, 1.8)


def test_facts_weigh_what_they_weigh() -> None:
    fact = new_session(threshold=6.0).see(0, "device_rooted")

    assert [part.detection for part in fact.contributions] == ["device_rooted"]


@pytest.mark.parametrize("kind", ["service", "api_key", "agent"])
def test_machines_pass_no_step_ups_so_the_threshold_is_not_theirs(kind: str) -> None:
    decision = new_session(POLICY, kind=kind, threshold=9.0).see(0, "network_changed")

    assert [part.detection for part in decision.contributions] == ["network_changed"]


def test_a_passed_step_up_refutes_a_suspicion_and_nothing_else_does() -> None:
    asked = new_session(POLICY)
    assert brief(asked.see(0, "network_changed")) == ASKED
    passed = asked.see(20, "network_changed", action="step_up_passed", strong_age_s=0)
    again = asked.see(30, "network_changed", action="step_up_passed", strong_age_s=0)
    unasked = new_session(POLICY).see(0, action="step_up_passed", strong_age_s=0)

    assert (passed.refuted, again.refuted, unasked.refuted) == (True, False, False)
