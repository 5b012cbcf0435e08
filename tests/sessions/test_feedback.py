"""What people say of decisions: what it keeps quiet, for whom, until when, and what it never can."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from schemas import topics
from tests.support.run_processors import Desk, Event, SentMessage, by_key, found, of, replayed
from tests.support.samples import T0, UNASKED, auth, call, context, feedback

READING: dict[str, Any] = {"records": 6_000, "sensitivity": "restricted"}
MANY: dict[str, Any] = {"operation": "GET /customers", **READING}


def reader(session_id: str, at: float, principal_id: str = "ana") -> list[Event]:
    """A session that signs in and reads a great many records at once."""
    subject = {"session_id": session_id, "principal_id": principal_id}
    return [auth(at, **subject), call(at + 30, **subject, **MANY), call(at + 31, **subject, **MANY)]


def revoked(output: list[SentMessage]) -> set[str]:
    return {event["session_id"] for event in of(output, topics.SESSION_REVOCATIONS)}


# --- the principal's other sessions -----------------------------------------------------------------------


def test_many_records_end_a_session_where_nobody_said_otherwise() -> None:
    outputs = replayed([*reader("s-1", 0), *reader("s-2", 600)], UNASKED)

    assert revoked(outputs) == {"s-1", "s-2"}


def test_after_a_false_positive_the_revocation_stands_and_later_sessions_are_not_hit_again() -> None:
    outputs = replayed([*reader("s-1", 0), feedback(300, note="the yearly export"), *reader("s-2", 600)], UNASKED)

    assert revoked(outputs) == {"s-1"}
    last = of(outputs, topics.SESSION_RISK, "s-2")[-1]
    assert (last["level"], last["suppressed"]) == ("LOW", "mass_read: reported as a false positive")
    assert of(outputs, topics.SESSION_RISK, "s-1")[-1]["action"] == "revoke"


def test_a_false_positive_also_reaches_sessions_that_live_already() -> None:
    second = [auth(1, session_id="s-2"), call(400, session_id="s-2", **MANY)]
    outputs = replayed([*reader("s-1", 0), *second, feedback(300)], UNASKED)

    assert revoked(outputs) == {"s-1"}


def test_a_false_positive_of_one_person_is_nothing_to_another() -> None:
    outputs = replayed([*reader("s-1", 0), feedback(300), *reader("s-2", 600, principal_id="ben")], UNASKED)

    assert revoked(outputs) == {"s-1", "s-2"}


def test_another_cause_of_the_same_person_still_counts() -> None:
    theirs = {"session_id": "s-2", "token_id": "t", "asn": 1, "user_agent": "Firefox/1"}
    stolen = [
        auth(600, **theirs),
        call(601, **theirs),
        call(602, **theirs | {"asn": 2, "user_agent": "curl"}),
    ]
    outputs = replayed([*reader("s-1", 0), feedback(300), *stolen], UNASKED)

    assert "token_replayed" in found(outputs, "s-2")


def test_what_is_muted_counts_again_when_it_expires() -> None:
    expires_at = T0 + 1_000_000
    events = [*reader("s-1", 0), feedback(300, expires_at=expires_at)]

    within = replayed([*events, *reader("s-2", 800)], UNASKED)
    after = replayed([*events, *reader("s-2", 1_001)], UNASKED)

    assert revoked(within) == {"s-1"}
    assert revoked(after) == {"s-1", "s-2"}


def test_a_session_is_judged_again_when_what_spoke_for_it_expires() -> None:
    policy = f"{UNASKED}[detections.mass_read.limits]\nrecords = 100\n[times]\nsuppression_s = 500\nidle_s = 90000"
    going_on = [call(at, session_id="s-2", **MANY) for at in (620, 700, 780, 810)]
    outputs = replayed([*reader("s-1", 0), feedback(300), auth(600, session_id="s-2"), *going_on], policy)

    first = of(outputs, topics.SESSION_REVOCATIONS, "s-2")[0]
    assert T0 + 800_000 <= first["decided_at"] <= T0 + 2 * 86_400_000
    assert of(outputs, topics.SESSION_RISK, "s-2")[0]["suppressed"] == "mass_read: reported as a false positive"


def test_how_chunks_are_cut_changes_nothing_of_what_is_muted() -> None:
    events = [
        auth(0),
        *(context(1 + at, source="feedback", muted={"mass_read": T0 + at * 9_000}) for at in (1, 2)),
    ]
    calls = [call(4 + at, **MANY) for at in range(20)]
    whole, single = Desk(UNASKED), Desk(UNASKED)
    whole.play(events[0])
    whole.play(*events[1:])
    whole.play(*calls)
    single.each(*events, *calls)

    assert by_key([*map(_output, whole.messages)]) == by_key([*map(_output, single.messages)])
    assert len(whole.revoked()) == 1


def _output(message: Any) -> SentMessage:
    return SentMessage(message.topic, message.key.decode(), json.loads(message.value))


def test_a_restarted_worker_remembers_what_is_muted() -> None:
    desk = Desk(UNASKED)
    desk.each(auth(0), context(1, source="feedback", muted={"mass_read": T0 + 900_000}))

    other = desk.restarted()
    other.each(call(2, **MANY))

    assert other.revoked() == []
    assert other.output(topics.SESSION_RISK)[-1]["suppressed"] == "mass_read: reported as a false positive"


# --- what each verdict does -------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["true_positive", "benign_true_positive", "unsure"])
def test_a_label_changes_nothing_but_is_counted(verdict: str) -> None:
    outputs = replayed([*reader("s-1", 0), feedback(300, verdict=verdict), *reader("s-2", 600)], UNASKED)
    assert revoked(outputs) == {"s-1", "s-2"}
    assert of(outputs, topics.SUPPRESSIONS) == []

    desk = Desk(UNASKED)
    desk.each(auth(0), feedback(1, verdict=verdict))
    assert desk.counts["feedback", verdict] == 1


def test_a_confirmed_compromise_ends_the_session_and_what_was_born_of_it_at_once() -> None:
    child = auth(5, session_id="s-2", parent_session_id="s-1")
    outputs = replayed([auth(0), child, feedback(60, verdict="confirmed_compromised")], UNASKED)

    commands = {event["session_id"]: event for event in of(outputs, topics.SESSION_REVOCATIONS)}
    assert {name: event["detections"] for name, event in commands.items()} == {
        "s-1": ["confirmed_compromised"],
        "s-2": ["ancestor_revoked"],
    }
    assert [command["decided_at"] for command in commands.values()] == [T0 + 60_000, T0 + 60_000]


def test_a_compromise_is_believed_though_a_false_positive_was_said_before() -> None:
    outputs = replayed([*reader("s-1", 0)[:1], feedback(5), feedback(6, verdict="confirmed_compromised")], UNASKED)

    assert revoked(outputs) == {"s-1"}


# --- what no verdict can do -------------------------------------------------------------------------------


def test_the_principal_cannot_mute_what_speaks_against_their_own_session() -> None:
    outputs = replayed([*reader("s-1", 0), feedback(300, reported_by="ana"), *reader("s-2", 600)], UNASKED)

    assert revoked(outputs) == {"s-1", "s-2"}
    (refused,) = of(outputs, topics.SUPPRESSIONS)
    assert (refused["state"], refused["owner"]) == ("refused", "ana")
    assert refused["refusal"].startswith("this reporter may keep nothing quiet here")


def test_a_step_up_stays_open_when_only_the_principal_calls_it_a_mistake() -> None:
    for reporter, missed in (("ana", True), ("soc", False)):
        desk = Desk(UNASKED)
        desk.each(auth(0, asn=1), call(1, asn=2), context(2, source="principal", known_asn=False))
        assert len(desk.output(topics.SESSION_CHALLENGES)) == 1
        desk.each(feedback(10, reported_by=reporter), call(200, asn=2), call(400, asn=2))

        assert bool(desk.revoked()) is missed


def test_the_policy_says_whose_verdicts_mute() -> None:
    policy = f'{UNASKED}[feedback]\nsuppressor_prefixes = ["soc-", "lead-"]'
    for reporter, hit in (("soc-7", {"s-1"}), ("helpdesk-1", {"s-1", "s-2"})):
        events = [*reader("s-1", 0), feedback(300, reported_by=reporter), *reader("s-2", 600)]

        assert revoked(replayed(events, policy)) == hit


def test_what_is_a_fact_is_never_muted_and_that_is_said() -> None:
    desk = Desk(UNASKED)
    desk.each(auth(0, device_id="phone-1"), context(1, rooted=True, device_id="phone-1"))
    desk.play(feedback(2))

    (refused,) = desk.output(topics.SUPPRESSIONS)
    assert (refused["state"], refused["detections"]) == ("refused", ["device_rooted"])
    assert refused["refusal"] == "a fact, not a guess: it is never kept quiet"
    assert desk.output(topics.SESSION_CONTEXT) == []
    assert [event for event in desk.output(topics.PRINCIPAL_ACTIVITY) if event["kind"] == "muted"] == []


def test_facts_are_those_that_nobody_guesses() -> None:
    assert {rule.id for rule in DETECTIONS if not rule.suppressible} >= {
        "device_rooted",
        "malware_on_device",
        "ancestor_revoked",
        "step_up_missed",
        "confirmed_compromised",
    }


def test_nothing_is_muted_for_longer_than_the_policy_allows() -> None:
    desk = Desk("[times]\nsuppression_s = 60")
    desk.each(auth(0), call(1, **MANY), feedback(5, expires_at=T0 + 10**9))

    (created,) = desk.output(topics.SUPPRESSIONS)
    assert created["expires_at"] == T0 + 65_000


def test_a_detection_nobody_knows_is_not_muted() -> None:
    desk = Desk(UNASKED)
    desk.each(auth(0), feedback(5, detections=["no_such_thing"]))

    assert desk.output(topics.SUPPRESSIONS) == []


# --- what is seen of it -----------------------------------------------------------------------------------


def test_a_suppression_is_an_event_when_it_is_made_and_when_it_expires() -> None:
    events = [*reader("s-1", 0), feedback(300, note="the yearly export", decision_id="d-1")]
    outputs = replayed([*events, call(90_000, session_id="s-9")], UNASKED)

    created, expired = of(outputs, topics.SUPPRESSIONS)
    assert created == {
        "suppression_id": created["suppression_id"],
        "tenant": "default",
        "principal_id": "ana",
        "session_id": "s-1",
        "decision_id": "d-1",
        "state": "created",
        "detections": ["mass_read"],
        "owner": "soc",
        "reason": "the yearly export",
        "occurred_at": T0 + 300_000,
        "expires_at": T0 + 300_000 + 86_400_000,
    }
    over = created["expires_at"]
    assert expired == {**created, "state": "expired", "occurred_at": over, "expires_at": over}


def test_what_hid_something_stands_in_the_decision_it_changed() -> None:
    outputs = replayed([*reader("s-1", 0), feedback(300), *reader("s-2", 600)], UNASKED)

    (hidden,) = [event for event in of(outputs, topics.SESSION_RISK, "s-2") if event.get("suppressed")]
    assert [(item["detection"], item["contribution"]) for item in hidden["reasons"]] == [("mass_read", 0.0)]
    assert (hidden["level"], hidden["action"]) == ("LOW", "allow")
