"""The decision: what evidence means, for how long, what is commanded because of it, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import ACTION
from pipeline.case import Case, Revocation
from pipeline.decision import Judge
from pipeline.guard import Guard
from pipeline.moment import Decision, Moment, stable_id
from pipeline.policy import Policy, parse_policy
from pipeline.rules import BIT, RULES

WHO = {"tenant": "acme", "session_id": "s-1", "principal_id": "ana", "device_id": "phone-1"}
DAY = 86_400
OPEN = "[guard]\nrevocations_per_minute = 1\n"


@dataclass
class Session:
    """One session on the slow path: every look is at a second, with the detections that hold then."""

    policy: Policy = field(default_factory=Policy)
    kind: str = "human"
    who: dict[str, str] = field(default_factory=lambda: dict(WHO))
    guard: Guard | None = None
    fleet_silent: bool = False
    fleet_unheard: bool = False
    case: Case = field(default_factory=Case)
    mask: int = 0
    at: int = 0
    used_at: int = -1

    def __post_init__(self) -> None:
        self.judge = Judge(self.policy)
        self.guard = self.guard or Guard(self.policy.guard, 1.0)

    def see(
        self,
        at: float,
        *holding: str,
        action: str = "",
        band: int = 0,
        strong_age_s: float = 1e9,
        id_: str = "",
        told: dict[str, str] | None = None,
        idle: bool = False,
    ) -> Decision:
        """Decide at second *at*, while the detections *holding* hold: at its use, unless it is *idle*."""
        mask, now = sum(1 << BIT[one] for one in holding), round(at * 1000)
        moment = Moment(
            at=now,
            event_id=id_ or f"e-{now}",
            evidence=id_ or f"e-{now}",
            mask=mask,
            mask_before=self.mask,
            before=self.at,
            band=band,
            action=ACTION.get(action, 0),
            strong_age_s=strong_age_s,
            kind=self.kind,
            fact=lambda _: 1.0,
            fleet_silent=lambda: self.fleet_silent,
            used_at=self.used_at if idle else now - 1,  # else it is in use all the time
            uses=not idle,
            told=told or {},
            fleet_unheard=lambda: self.fleet_unheard,
        )
        self.mask, self.at = mask, now
        self.used_at = self.used_at if idle else now
        assert self.guard is not None
        return self.judge.decide(self.case, self.who, moment, self.guard)

    def wake(self) -> float:
        """The second at which to look again; 0 for never."""
        return self.judge.wake_at(self.case, self.at, self.mask) / 1000


def session(text: str = "", **members: Any) -> Session:
    return Session(parse_policy(text), **members)


def brief(decision: Decision) -> tuple[str, str, bool, bool]:
    """Level, action, whether a revocation and whether a challenge is commanded."""
    return decision.level, decision.action, bool(decision.revoke), bool(decision.challenge)


QUIET = ("LOW", "allow", False, False)
REVOKED = ("HIGH", "revoke", True, False)
CHALLENGED = ("MEDIUM", "step_up", False, True)


# --- evidence to level ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.holds], ids=lambda rule: rule.id)
def test_each_detection_alone_means_what_its_severity_says(rule: Any) -> None:
    expected = {"HIGH": REVOKED, "MEDIUM": CHALLENGED, "LOW": QUIET}[rule.severity]

    assert brief(session().see(0, rule.id)) == expected


def test_no_evidence_is_no_risk_and_nothing_is_said() -> None:
    decision = session().see(0)

    assert (brief(decision), decision.score, decision.report, decision.parts) == (QUIET, 1.8, False, [])


def test_the_score_is_the_sum_of_what_is_shown() -> None:
    decision = session().see(0, "network_changed", "mass_read", band=2)

    assert [(part.detection, part.log_odds) for part in decision.parts] == [
        ("mass_read", 6.0), ("network_changed", 4.0), ("anomaly", 0.9),
    ]  # fmt: skip
    assert decision.score == 99.9


@pytest.mark.parametrize(("band", "score"), [(0, 1.8), (1, 2.9), (2, 4.3), (3, 5.7)])
def test_an_odd_session_alone_is_not_accused(band: int, score: float) -> None:
    decision = session().see(0, band=band)

    assert (brief(decision), decision.score) == (QUIET, score)


@pytest.mark.parametrize("kind", ["service", "api_key", "agent"])
def test_who_cannot_be_asked_for_a_factor_is_reported_and_let_alone(kind: str) -> None:
    decision = session(kind=kind).see(0, "privilege_widened")

    assert (brief(decision), decision.report) == (("MEDIUM", "allow", False, False), True)


def test_a_detection_that_is_switched_off_says_nothing() -> None:
    decision = session("[rules.mass_read]\nenabled = false").see(0, "mass_read")

    assert (brief(decision), decision.parts, decision.report) == (QUIET, [], False)


def test_a_policy_that_revokes_without_any_detection_can_be_decided_by() -> None:
    one = session("prior = 5")

    decision = one.see(0)

    assert brief(decision) == REVOKED
    assert decision.revoke == stable_id("acme", "s-1", 0, "anomaly")


def test_a_factor_proved_after_the_evidence_lowers_the_score_a_little() -> None:
    one = session()
    one.see(0, "mass_read")

    assert [part.detection for part in one.see(60, strong_age_s=30).parts] == [
        "mass_read",
        "fresh_strong_auth",
    ]
    assert [part.detection for part in one.see(61, strong_age_s=100).parts] == ["mass_read"]


# --- how long ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [rule for rule in RULES if 0 < rule.hold_s < DAY], ids=lambda rule: rule.id)
def test_a_detection_goes_on_counting_for_its_hold_time(rule: Any) -> None:
    one = session('mode = "observe"')
    one.see(0, rule.id)
    one.see(10, rule.id)
    one.see(20)

    kept, over = one.see(10 + rule.hold_s), one.see(10 + rule.hold_s + 1)

    assert [part.detection for part in kept.parts] == [rule.id]
    assert over.parts == []


def test_what_holds_without_anything_new_counts_as_long_as_it_holds() -> None:
    one = session('mode = "observe"')
    one.see(0, "mass_read")
    one.see(7200, "mass_read")

    assert [part.detection for part in one.see(7260).parts] == ["mass_read"]
    assert one.case.episodes["mass_read"].last_at == 7_200_000


def test_a_detection_held_until_the_event_before_it_stopped() -> None:
    one = session('mode = "observe"')
    one.see(0, "mass_read")
    one.at = 600_000  # events that gave no cause to look

    one.see(601)

    assert one.case.episodes["mass_read"].last_at == 600_000
    assert [part.detection for part in one.see(600 + 1800).parts] == ["mass_read"]


def test_a_level_falls_after_its_dwell_time_and_says_so_once() -> None:
    one = session('mode = "observe"')
    one.see(0, "device_rooted")

    early, due, later = one.see(30), one.see(61), one.see(62)

    assert (early.level, due.level, later.level) == ("HIGH", "LOW", "LOW")
    assert (due.report, due.previous, later.report) == (True, "HIGH", False)


def test_a_session_is_looked_at_again_when_time_alone_changes_something() -> None:
    one = session('mode = "observe"\n[times]\nrepeat_s = 5000')
    one.see(0, "mass_read")
    one.see(10)

    assert one.wake() == 60
    one.see(60)
    assert one.wake() == 1800.001
    one.see(1800.001)
    assert (one.case.level, one.wake(), one.case.empty()) == ("LOW", 0, True)


def test_a_session_without_evidence_never_wakes() -> None:
    one = session()
    one.see(0)

    assert (one.wake(), one.case.empty()) == (0, True)


def test_risk_is_repeated_while_it_lasts_but_not_on_every_look() -> None:
    one = session('mode = "observe"')

    said = [at for at in range(0, 3000, 10) if one.see(at, "mass_read").report]

    assert said == [0, 900, 1800, 2700]


# --- step-up ----------------------------------------------------------------------------------------------


def test_a_step_up_is_asked_for_once() -> None:
    one = session()

    asked = [one.see(at, "network_changed").challenge for at in (0, 10, 20)]

    assert asked == [stable_id("acme", "s-1", 0, "network_changed", "step-up"), "", ""]
    assert one.wake() == 60


def test_a_passed_step_up_clears_what_it_can() -> None:
    one = session()
    one.see(0, "network_changed")
    one.see(10)

    passed = one.see(20, action="step_up_passed", strong_age_s=0)

    assert (brief(passed), passed.previous, passed.report) == (QUIET, "MEDIUM", True)
    assert (one.case.challenge, one.case.epoch, one.case.episodes) == (None, 1, {})
    assert brief(one.see(400)) == QUIET


def test_a_passed_step_up_does_not_make_a_jailbroken_device_whole() -> None:
    one = session('[human]\nmedium = "step_up"\nhigh = "step_up"')
    one.see(0, "device_rooted")

    passed = one.see(20, "device_rooted", action="step_up_passed", strong_age_s=0)

    assert passed.level == "HIGH"


@pytest.mark.parametrize("rule", ["privilege_widened", "telemetry_silent_while_idle"])
def test_who_has_just_proved_a_factor_is_not_asked_again_for_the_same(rule: str) -> None:
    one = session()
    one.see(0, rule)

    passed = one.see(20, rule, action="step_up_passed", strong_age_s=0)
    later = [one.see(at, rule) for at in (30, 100, 400)]

    assert [brief(decision) for decision in (passed, *later)] == [QUIET] * 4


@pytest.mark.parametrize("rule", ["privilege_widened", "network_changed"])
def test_who_proved_a_factor_is_asked_again_when_it_happens_anew(rule: str) -> None:
    one = session()
    one.see(0, rule)
    one.see(20, rule, action="step_up_passed", strong_age_s=0)
    one.see(700)

    again = one.see(710, rule)

    assert brief(again) == CHALLENGED
    assert again.challenge == stable_id("acme", "s-1", 1, rule, "step-up")


ANSWERED_FOR_A_WHILE = [rule for rule in RULES if rule.answers_s]


@pytest.mark.parametrize("rule", ANSWERED_FOR_A_WHILE, ids=lambda rule: rule.id)
def test_what_comes_and_goes_is_asked_once_in_the_time_that_an_answer_is_good_for(rule: Any) -> None:
    one = session("[levels]\ndwell_s = 0\n[times]\nrepeat_s = 1e6")
    one.see(0, rule.id)
    one.see(20, rule.id, action="step_up_passed", strong_age_s=0)

    again = [
        one.see(at, *holding) for at in range(700, int(rule.answers_s), 600) for holding in ((), (rule.id,))
    ]
    wakes = one.wake()
    later = one.see(20 + rule.answers_s, rule.id)

    assert [brief(decision) for decision in again] == [QUIET] * len(again)
    assert wakes == 20 + rule.answers_s
    assert brief(later) == CHALLENGED


def test_only_what_was_there_to_be_answered_is_answered_for_a_while() -> None:
    one = session()
    one.see(0, "network_changed")
    one.see(20, action="step_up_passed", strong_age_s=0)

    assert brief(one.see(700, "unfamiliar_scope")) == CHALLENGED


def test_only_what_a_step_up_clears_can_be_answered_for_a_while() -> None:
    assert ANSWERED_FOR_A_WHILE
    assert all(rule.cleared_by_step_up for rule in ANSWERED_FOR_A_WHILE)


def test_a_new_sign_in_answers_as_a_step_up_does() -> None:
    one = session()
    one.see(0, "network_changed")

    later = [one.see(20, action="sign_in", strong_age_s=0), one.see(40), one.see(400)]

    assert [(decision.revoke, decision.challenge) for decision in later] == [("", "")] * 3
    assert later[-1].level == "LOW"


def test_a_missed_step_up_ends_the_session() -> None:
    one = session()
    one.see(0, "network_changed")

    before, missed = one.see(299), one.see(300)

    assert before.level == "MEDIUM"
    assert brief(missed) == REVOKED
    assert missed.detections == ["step_up_missed", "network_changed"]
    assert missed.revoke == stable_id("acme", "s-1", 0, "step_up_missed")


def test_a_step_up_is_not_missed_while_nobody_uses_the_session() -> None:
    one = session()
    one.see(0, "network_changed")

    resting = one.see(300, idle=True)
    woken_at = one.wake()
    back = one.see(4_000)
    late = one.see(4_300)

    assert (resting.level, resting.detections, woken_at) == ("MEDIUM", ["network_changed"], 360)
    assert (back.detections, one.case.challenge is not None) == ([], True)
    assert brief(late) == REVOKED


def test_the_first_use_since_a_step_up_was_asked_is_found_by_the_next_look_too() -> None:
    one = session()
    one.see(0, "network_changed")
    one.see(300, idle=True)
    one.used_at = 330_000  # a call that was not looked at

    looks = [one.see(at, idle=True).detections for at in (360, 629, 630)]

    assert looks == [["network_changed"], ["network_changed"], ["step_up_missed", "network_changed"]]


def test_who_comes_back_in_time_and_answers_is_let_in() -> None:
    one = session()
    one.see(0, "network_changed")
    one.see(300, idle=True)
    one.see(4_000)

    answered = one.see(4_100, action="step_up_passed", strong_age_s=0)

    assert (brief(answered), one.case.challenge) == (QUIET, None)


def test_the_deadline_of_a_step_up_wakes_the_session() -> None:
    one = session("[times]\nrepeat_s = 5000\n[levels]\ndwell_s = 0")
    one.see(0, "network_changed")

    assert one.wake() == 300


def test_a_step_up_asked_for_silence_is_withdrawn_when_the_device_is_heard_again() -> None:
    one = session(fleet_unheard=True)
    asked = one.see(0, "telemetry_silent_while_active")
    one.see(100)

    after = one.see(301)

    assert asked.challenge
    assert brief(after) == QUIET
    assert one.case.challenge is None


def test_a_withdrawn_step_up_is_not_asked_for_anew_while_the_level_dwells() -> None:
    one = session(fleet_unheard=True)
    one.see(0, "telemetry_silent_while_active")

    later = [one.see(at) for at in (10, 20, 59)]

    assert [brief(decision)[1:] for decision in later] == [("allow", False, False)] * 3


def test_a_step_up_asked_for_a_network_is_not_withdrawn_because_time_passes() -> None:
    one = session()
    one.see(0, "network_changed")
    one.see(100)

    assert brief(one.see(301)) == REVOKED


def test_a_device_that_is_silent_while_nobody_uses_it_asks_nobody() -> None:
    one = session()

    looks = [one.see(at, "telemetry_silent_while_idle", idle=True) for at in (0, 300, 80_000)]

    assert [brief(look) for look in looks] == [QUIET] * 3


# --- what a fleet may follow in ---------------------------------------------------------------------------


def test_nobody_is_asked_for_what_a_fleet_may_follow_in_before_it_had_the_time() -> None:
    one = session()

    looks = [one.see(at, "posture_downgraded") for at in (0, 299, 300)]

    assert [brief(look) for look in looks] == [*[("MEDIUM", "allow", False, False)] * 2, CHALLENGED]
    assert [look.suppressed for look in looks] == [
        *["waiting whether other devices do the same, as in a rollout"] * 2, "",
    ]  # fmt: skip


def test_a_session_that_waits_for_its_fleet_is_looked_at_when_the_time_is_over() -> None:
    one = session("[times]\nrepeat_s = 5000\n[levels]\ndwell_s = 0")
    one.see(0, "posture_downgraded")

    assert one.wake() == 300


def test_what_ended_before_the_fleet_could_follow_asks_nobody() -> None:
    one = session()
    one.see(0, "posture_downgraded")

    later = [one.see(at) for at in (120, 300, 400)]

    assert [decision.challenge for decision in later] == ["", "", ""]
    assert brief(later[-1]) == QUIET


TWO = "[levels]\nhigh_raise = 99\n"
"""Two detections of MEDIUM are not HIGH together."""


def test_what_speaks_against_the_session_besides_does_not_wait() -> None:
    assert brief(session(TWO).see(0, "posture_downgraded", "network_changed")) == CHALLENGED
    assert brief(session().see(0, "posture_downgraded", "device_rooted")) == REVOKED


def test_nobody_is_revoked_either_for_what_a_fleet_may_follow_in_before_it_had_the_time() -> None:
    agent, person = session(kind="agent"), session()
    held = "posture_downgraded", "agent_for_risky_user"

    looks = [agent.see(at, *held) for at in (0, 299, 300)]

    assert [brief(look) for look in looks] == [*[("HIGH", "allow", False, False)] * 2, REVOKED]
    assert [look.suppressed for look in looks] == [
        *["waiting whether other devices do the same, as in a rollout"] * 2, "",
    ]  # fmt: skip
    asked = person.see(0, "posture_downgraded", "network_changed")
    assert brief(asked) == ("HIGH", "step_up", False, True)


def test_a_policy_may_wait_for_no_fleet() -> None:
    assert brief(session("[times]\nrollout_s = 0").see(0, "posture_downgraded")) == CHALLENGED


FOLLOWED = {"posture_downgraded": "many of the tenant's devices did the same, as in a rollout"}


def test_a_step_up_is_withdrawn_when_the_fleet_follows_after_all() -> None:
    one = session()
    asked = [one.see(at, "posture_downgraded") for at in (0, 300)]

    withdrawn = one.see(300, told=FOLLOWED)  # at the time of the event before, as contexts often are
    later = [one.see(at) for at in (601, 700)]

    assert brief(asked[-1]) == CHALLENGED
    assert (withdrawn.action, one.case.challenge) == ("allow", None)
    assert [(decision.revoke, decision.challenge) for decision in later] == [("", "")] * 2


def test_a_step_up_is_not_withdrawn_because_what_got_worse_is_as_before() -> None:
    one = session()
    for at in (0, 300):
        one.see(at, "posture_downgraded")
    one.see(400)

    assert brief(one.see(600)) == REVOKED


def test_a_step_up_that_was_asked_for_something_else_too_is_not_withdrawn() -> None:
    one = session(TWO)
    one.see(0, "posture_downgraded", "network_changed")
    one.see(100, told=FOLLOWED)

    assert brief(one.see(300)) == REVOKED


# --- revocation -------------------------------------------------------------------------------------------


def test_a_session_is_revoked_once_for_a_cause() -> None:
    one = session()

    decisions = [one.see(at, "device_rooted") for at in (0, 10)]
    one.case.revocation = None
    decisions.append(one.see(20, "device_rooted"))

    assert [decision.revoke for decision in decisions] == [stable_id("acme", "s-1", 0, "device_rooted")] * 3


@settings(max_examples=30)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=10), st.integers(0, 9))
def test_the_id_of_a_revocation_does_not_depend_on_when_or_by_which_event(
    looks: list[int], extra: int
) -> None:
    one = session()
    at = 0
    for step in looks:
        at += step
        one.see(at, id_=f"x-{at}-{extra}")

    assert one.see(at + 1, "mass_read", id_=f"y-{extra}").revoke == stable_id("acme", "s-1", 0, "mass_read")


def test_the_strongest_detection_is_the_cause() -> None:
    assert session().see(0, "mass_read", "device_rooted").revoke == stable_id(
        "acme", "s-1", 0, "device_rooted"
    )


def test_a_sign_in_that_answers_nothing_changes_no_id() -> None:
    one, other = Session(), Session()
    other.case.children.append("s-2")
    other.see(0, action="sign_in")

    assert one.see(10, "device_rooted").revoke == other.see(10, "device_rooted").revoke != ""


def test_another_tenant_session_or_epoch_has_another_id() -> None:
    ids = {
        session(who={**WHO, **other}).see(0, "mass_read").revoke
        for other in ({}, {"tenant": "z"}, {"session_id": "z"})
    }
    later = session()
    later.case.epoch = 1
    ids.add(later.see(0, "mass_read").revoke)

    assert len(ids) == 4


def test_a_revoked_session_stays_revoked_whatever_comes() -> None:
    one = session()
    first = one.see(0, "device_rooted")
    _revoke(one, first)

    later = [one.see(at, action="step_up_passed", strong_age_s=0) for at in (10, 100, 4000)]

    assert [(decision.action, decision.revoke, decision.challenge) for decision in later] == [
        ("revoke", "", "")
    ] * 3
    assert one.case.epoch == 0


def _revoke(one: Session, decision: Decision) -> None:
    one.case.revocation = Revocation({"revocation_id": decision.revoke}, one.at + 60_000)


def test_a_revoked_session_is_not_accused_of_the_silence_that_followed() -> None:
    one = session()
    _revoke(one, one.see(0, "device_rooted"))

    later = one.see(300, "telemetry_silent_while_idle", "telemetry_silent_while_active")

    assert [part.detection for part in later.parts if RULES[BIT[part.detection]].silence] == []


def test_observing_decides_and_commands_nothing() -> None:
    one = session('mode = "observe"')

    high, medium = one.see(0, "device_rooted"), session('mode = "observe"').see(0, "network_changed")

    assert brief(high) == ("HIGH", "revoke", False, False)
    assert brief(medium) == ("MEDIUM", "step_up", False, False)
    assert high.report
    assert medium.report
    assert (one.case.revocation, one.case.challenge, one.case.held_at) == (None, None, 0)


# --- the guard --------------------------------------------------------------------------------------------


def test_a_revocation_over_the_budget_is_held_stepped_up_and_tried_again() -> None:
    guard = Guard(parse_policy(OPEN).guard, 1.0)
    first = session(OPEN, guard=guard).see(1, "device_rooted")
    second = session(OPEN, guard=guard, who={**WHO, "session_id": "s-2"})

    held = second.see(2, "device_rooted")
    assert brief(first) == REVOKED
    assert brief(held) == ("HIGH", "step_up", False, True)
    assert (held.held, held.report) == (True, True)
    assert "held by the guard: more than 1 revocations" in held.suppressed
    assert second.wake() == 60

    again = second.see(60, "device_rooted")
    assert again.revoke == stable_id("acme", "s-2", 0, "device_rooted")
    assert (again.action, again.held, second.case.held_at) == ("revoke", False, 0)


@pytest.mark.parametrize("kind", ["agent", "service", "api_key"])
def test_what_cannot_be_stepped_up_is_let_alone_while_it_is_held(kind: str) -> None:
    one = session(OPEN, kind=kind)
    assert one.guard is not None
    one.guard.admit("acme", 0)

    assert brief(one.see(1, "mass_read")) == ("HIGH", "allow", False, False)


def test_a_held_session_that_is_trusted_again_is_forgotten() -> None:
    one = session(OPEN, kind="agent")
    assert one.guard is not None
    one.guard.admit("acme", 0)
    one.see(1, "device_rooted")

    one.see(2)
    one.see(62)

    assert (one.case.level, one.case.held_at, one.case.empty()) == ("LOW", 0, True)


def test_a_held_session_is_not_revoked_once_nothing_speaks_against_it() -> None:
    one = session(f"{OPEN}[levels]\ndwell_s = 600")
    assert one.guard is not None
    one.guard.admit("acme", 0)
    one.see(1, "device_rooted")

    later = [one.see(at) for at in (30, 61, 120)]

    assert [(decision.level, decision.revoke, decision.held) for decision in later] == [
        ("HIGH", "", False)
    ] * 3


def test_silence_revokes_nobody_and_asks_nobody_while_the_whole_fleet_is_silent() -> None:
    one = session(fleet_silent=True)

    held = one.see(0, "telemetry_silent_while_active")

    assert (brief(held), held.held) == (("HIGH", "allow", False, False), True)
    assert held.suppressed == (
        "held by the guard: many of the tenant's devices are silent, their way here may be broken"
    )


def test_what_is_more_than_silence_revokes_also_while_the_fleet_is_silent() -> None:
    one = session(fleet_silent=True)

    assert brief(one.see(0, "telemetry_silent_while_active", "device_rooted")) == REVOKED


def test_an_unanswered_step_up_of_a_silent_fleet_revokes_nobody_either() -> None:
    one = session(fleet_silent=True)
    one.see(0, "telemetry_silent_while_active")

    missed = one.see(301, "telemetry_silent_while_active")

    assert (missed.level, missed.revoke) == ("HIGH", "")


def test_when_telemetry_comes_back_nobody_is_revoked_for_not_answering_meanwhile() -> None:
    one = session(fleet_silent=True)
    one.see(0, "telemetry_silent_while_active")
    one.see(301, "telemetry_silent_while_active")
    one.fleet_silent = False

    back = [one.see(at) for at in (400, 461, 600)]

    assert [decision.revoke for decision in back] == ["", "", ""]
    assert back[-1].level == "LOW"


def test_where_no_device_is_heard_a_silent_one_is_asked_about_before_it_is_revoked() -> None:
    one = session(fleet_unheard=True)

    asked = one.see(0, "telemetry_silent_while_active")
    missed = one.see(301, "telemetry_silent_while_active")

    assert (brief(asked), asked.held) == (("HIGH", "step_up", False, True), True)
    assert asked.suppressed == "held by the guard: no other device shows that this one could be heard"
    assert brief(missed) == REVOKED


def test_whoever_hid_where_none_was_heard_is_revoked_once_another_device_is() -> None:
    one = session(fleet_unheard=True)
    one.see(0, "telemetry_silent_while_active")
    look_again = one.wake()
    one.fleet_unheard = False

    assert look_again == 60
    assert brief(one.see(look_again, "telemetry_silent_while_active")) == REVOKED


def test_a_factor_answers_for_a_while_where_no_device_is_heard() -> None:
    one = session(fleet_unheard=True)
    one.see(0, "telemetry_silent_while_active")
    one.see(20, "telemetry_silent_while_active", action="step_up_passed", strong_age_s=0)

    later = [one.see(at, "telemetry_silent_while_active").action for at in (90, 600, 1819)]
    again = one.see(1821, "telemetry_silent_while_active")

    assert later == ["allow"] * 3
    assert brief(again) == ("HIGH", "step_up", False, True)


def test_a_factor_answers_for_no_silence_where_other_devices_are_heard() -> None:
    one = session()
    one.see(0, "telemetry_silent_while_idle")
    one.see(20, "telemetry_silent_while_idle", action="step_up_passed", strong_age_s=0)

    assert brief(one.see(60, "telemetry_silent_while_active")) == REVOKED


def test_what_is_more_than_silence_revokes_also_where_no_device_is_heard() -> None:
    one = session(fleet_unheard=True)

    assert brief(one.see(0, "telemetry_silent_while_active", "device_rooted")) == REVOKED


def test_an_agent_cannot_be_asked_and_a_policy_need_not_ask() -> None:
    agent, strict = session(kind="agent"), session("[guard]\nask_unheard = false")
    agent.fleet_unheard = strict.fleet_unheard = True

    decided = [one.see(0, "telemetry_silent_while_active") for one in (agent, strict)]

    assert [bool(one.revoke) for one in decided] == [True, True]


# --- kept quiet -------------------------------------------------------------------------------------------

SUPPRESSED = """
[[suppressions]]
detections = ["mass_read"]
owner = "soc"
reason = "agreed export"
expires_at = 50_000
principal_id = "ana"
"""


def test_a_suppression_keeps_a_detection_quiet_until_it_expires_and_says_so() -> None:
    one = session(SUPPRESSED)

    during, after = one.see(10, "mass_read"), one.see(50, "mass_read")

    assert (brief(during), during.suppressed) == (QUIET, "mass_read: suppressed by soc: agreed export")
    assert [(part.detection, bool(part.muted)) for part in during.parts] == [("mass_read", True)]
    assert brief(after) == REVOKED


def test_what_is_kept_quiet_is_said_once() -> None:
    one = session(SUPPRESSED)

    assert [one.see(at, "mass_read").report for at in (10, 20, 30)] == [True, False, False]


def test_a_suppression_keeps_nothing_else_quiet() -> None:
    one = session(SUPPRESSED)
    other = session(SUPPRESSED, who={**WHO, "principal_id": "bob"})

    assert one.see(10, "mass_read", "device_rooted").revoke == stable_id("acme", "s-1", 0, "device_rooted")
    assert brief(other.see(10, "mass_read")) == REVOKED


def test_what_is_suppressed_wakes_up_when_the_suppression_expires() -> None:
    one = session(SUPPRESSED)
    one.see(10, "mass_read")
    one.see(20)

    assert one.wake() == 50
    assert brief(one.see(50)) == REVOKED


def test_a_false_positive_stays_quiet_for_its_time() -> None:
    one = session('mode = "observe"')
    one.see(0, "mass_read")
    one.case.muted = {"mass_read": 100_000}

    muted, again = one.see(99, "mass_read"), one.see(100, "mass_read")

    assert (muted.score, muted.suppressed) == (1.8, "mass_read: reported as a false positive")
    assert again.level == "HIGH"
