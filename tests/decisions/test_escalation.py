"""A revocation that nobody confirms: it is sent again, then reported once, and the report closed when confirmed."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from pipeline.decisions.escalation import FORGOTTEN_TEXT, UNCONFIRMED, UNCONFIRMED_TEXT
from pipeline.metrics.worker import CountingObserver, Metrics
from pipeline.processing.observer import Work
from schemas.topics import REVOCATION_ACKS, SESSION_FINDINGS, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.event_streams import BUSY
from tests.support.run_processors import Desk, Event, by_key, record, replayed
from tests.support.samples import T0, UNASKED, ack, auth, call, feedback

CRITICAL = 5
PATIENT = BUSY.replace("revoked_grace_s = 120", "revoked_grace_s = 1000")
"""A revoked session is remembered long enough for four reminders."""


def others(start: int, until: int) -> list[Event]:
    """Another session goes on, so that event time does."""
    return [call(at, session_id="ben", principal_id="ben") for at in range(start, until, 5)]


def fallen() -> Desk:
    """A session that is revoked at 1 s; the enforcer has 15 s, and 30 s more after the reminder."""
    desk = Desk(PATIENT)
    desk.each(auth(0), feedback(1, verdict="confirmed_compromised"))
    return desk


def reports(one: Desk) -> list[Event]:
    """The decisions that report an unconfirmed revocation."""
    return [risk for risk in one.output(SESSION_RISK, "s-1") if UNCONFIRMED in _detections(risk)]


def _detections(risk: Event) -> list[str]:
    return [reason["detection"] for reason in risk["reasons"]]


def critical(one: Desk) -> list[Event]:
    return [event for event in one.output(SESSION_FINDINGS, "s-1") if event["severity_id"] == CRITICAL]


def test_nothing_is_reported_while_the_reminder_may_help() -> None:
    desk = fallen()
    desk.each(*others(5, 50))

    assert (len(desk.revoked()), reports(desk), critical(desk)) == (2, [], [])


def test_after_the_reminder_a_decision_reports_it_and_the_command_is_sent_again() -> None:
    desk = fallen()
    desk.each(*others(5, 75))

    (first, *_) = reports(desk)
    (reason,) = [item for item in first["reasons"] if item["detection"] == UNCONFIRMED]
    assert reason == {
        "detection": UNCONFIRMED,
        "text": UNCONFIRMED_TEXT,
        "severity": "HIGH",
        "contribution": 0.0,
        "observed": "sent 3 times, not confirmed",
        "normal": "confirmed within 15 s",
    }
    assert (first["action"], first["level"], first["previous_level"]) == ("revoke", "HIGH", "HIGH")
    assert len(desk.revoked()) == 3
    assert len(set(desk.revoked())) == 1


def test_it_is_counted_once_however_often_the_command_is_sent() -> None:
    desk = fallen()
    desk.each(*others(5, 300))

    assert len(desk.revoked()) == 5
    assert desk.counts["revocations", "resent"] == 4
    assert desk.counts["revocations", "unconfirmed"] == 1


def test_the_finding_of_the_session_becomes_critical_and_stays_so() -> None:
    desk = fallen()
    desk.each(*others(5, 115))

    findings = desk.output(SESSION_FINDINGS, "s-1")
    severities = [finding["severity_id"] for finding in findings]
    alarm = critical(desk)[0]
    assert severities == sorted(severities)
    assert (severities[0], severities[-1]) == (4, CRITICAL)
    assert len({finding["finding_info"]["uid"] for finding in findings}) == 1
    assert (alarm["activity_id"], alarm["status_id"], alarm["is_alert"]) == (2, 2, True)
    assert alarm["message"] == alarm["finding_info"]["title"] == UNCONFIRMED_TEXT
    assert alarm["finding_info"]["types"][0] == UNCONFIRMED
    assert alarm["metadata"]["correlation_uid"] == reports(desk)[0]["decision_id"]


def test_a_closed_finding_is_opened_again() -> None:
    desk = Desk(f"{UNASKED}{BUSY}")
    desk.each(auth(0), *(call(1 + n, records=60, sensitivity="restricted") for n in range(2)))
    assert len(desk.revoked("s-1")) == 1
    case = desk.scorer.risk_states[desk.scorer.table.find("default", "s-1")]
    case.finding, case.finding_at = "", 0

    desk.each(*others(5, 75))

    assert critical(desk)[0]["activity_id"] == 1
    assert critical(desk)[0]["finding_info"]["created_time"] > T0 + 45_000


def test_it_is_reported_although_the_level_was_lowered_meanwhile() -> None:
    desk = fallen()
    desk.scorer.risk_states[desk.scorer.table.find("default", "s-1")].episodes.clear()
    desk.each(*others(5, 75))

    assert [risk["level"] for risk in reports(desk)] == ["LOW"]
    last = desk.output(SESSION_FINDINGS, "s-1")[-1]
    assert (last["activity_id"], last["severity_id"], last["risk_level_id"]) == (2, CRITICAL, 1)


@pytest.mark.parametrize("outcome", ["revoked", "not_found"])
def test_a_late_confirmation_closes_the_finding(outcome: str) -> None:
    desk = fallen()
    desk.each(*others(5, 75))
    desk.play(ack(80, revocation_id=desk.revoked()[0], outcome=outcome))
    desk.each(*others(80, 110))

    last = desk.output(SESSION_FINDINGS, "s-1")[-1]
    assert (last["activity_id"], last["status_id"], last["severity_id"]) == (3, 4, 4)
    assert last["time"] == T0 + 80_000
    assert len(desk.revoked()) == 3


def test_an_acknowledgement_of_failure_closes_nothing() -> None:
    desk = fallen()
    desk.each(*others(5, 75))
    outputs = desk.play(ack(80, revocation_id=desk.revoked()[0], outcome="failed"))

    assert outputs == []


def test_a_revocation_confirmed_in_time_is_not_reported() -> None:
    desk = fallen()
    desk.play(ack(2, revocation_id=desk.revoked()[0]))
    desk.each(*others(5, 115))

    assert (reports(desk), critical(desk)) == ([], [])


def test_a_worker_that_takes_over_between_reminder_and_report_reports_once() -> None:
    whole, first = fallen(), fallen()
    first.each(*others(5, 40))
    second = first.restarted()
    second.each(*others(40, 115))
    whole.each(*others(5, 115))

    assert second.counts["revocations", "unconfirmed"] == 1
    assert reports(second)[0]["decision_id"] == reports(whole)[0]["decision_id"]


def test_a_report_that_is_noticed_later_has_the_same_id() -> None:
    first = fallen()
    first.each(*others(5, 40))
    late = first.restarted()
    first.each(*others(40, 115))
    late.each(*others(90, 130))

    assert [{event["decision_id"] for event in reports(player)} for player in (first, late)] == [
        {reports(first)[0]["decision_id"]}
    ] * 2


def test_a_worker_that_takes_over_after_the_report_does_not_report_again() -> None:
    first = fallen()
    first.each(*others(5, 75))
    second = first.restarted()
    second.each(*others(75, 115))

    assert second.counts["revocations", "unconfirmed"] == 0


def test_a_replay_reports_the_same() -> None:
    events = [auth(0), feedback(1, verdict="confirmed_compromised"), *others(5, 200)]

    records, other = (by_key(replayed(events, BUSY)) for _ in range(2))

    assert records == other
    assert any(UNCONFIRMED in _detections(risk) for risk in records[SESSION_RISK, "s-1"])
    assert len({command["revocation_id"] for command in records[SESSION_REVOCATIONS, "s-1"]}) == 1


def test_how_long_a_confirmation_took_is_measured_once() -> None:
    desk = fallen()
    (command,) = desk.output(SESSION_REVOCATIONS, "s-1")
    seen = Metrics(CollectorRegistry())
    acks = [record(ack(2, revocation_id=command["revocation_id"]), offset) for offset in range(2)]

    outcome = desk.scorer.process(REVOCATION_ACKS, acks, command["decided_at"] + 4_000)
    CountingObserver(seen).done(Work("session", 0, REVOCATION_ACKS, 2, 0.0, outcome))

    (histogram,) = seen.confirmation_seconds.collect()
    within = {s.labels["le"]: s.value for s in histogram.samples if s.name.endswith("_bucket")}
    assert (within["2.0"], within["5.0"], within["+Inf"]) == (0.0, 1.0, 1.0)


def revoked_and_forgotten(policy: str = BUSY) -> Desk:
    """A session that is revoked at 1 s and forgotten while another session goes on."""
    desk = Desk(policy)
    desk.each(auth(0), feedback(1, verdict="confirmed_compromised"), *others(5, 200))
    assert desk.scorer.table.find("default", "s-1") < 0
    return desk


def test_a_session_that_is_forgotten_unconfirmed_leaves_its_finding_open_with_the_reason() -> None:
    desk = revoked_and_forgotten()

    findings = desk.output(SESSION_FINDINGS, "s-1")
    last = findings[-1]
    (uid,) = {finding["finding_info"]["uid"] for finding in findings}
    assert {finding["activity_id"] for finding in findings[1:]} == {2}
    assert (last["activity_id"], last["status_id"], last["severity_id"]) == (2, 2, CRITICAL)
    assert (last["is_alert"], last["status_detail"]) == (True, FORGOTTEN_TEXT)
    assert (last["message"], last["finding_info"]["uid"]) == (UNCONFIRMED_TEXT, uid)
    assert last["finding_info"]["types"][0] == UNCONFIRMED
    assert desk.counts["findings", "close"] == 0


def test_a_session_that_is_forgotten_before_its_reminders_leaves_the_same_without_the_report() -> None:
    desk = revoked_and_forgotten(BUSY.replace("revoked_grace_s = 120", "revoked_grace_s = 10"))

    last = desk.output(SESSION_FINDINGS, "s-1")[-1]
    assert critical(desk) == []
    assert (last["activity_id"], last["status_id"], last["severity_id"]) == (2, 2, 4)
    assert (last["is_alert"], last["status_detail"]) == (True, FORGOTTEN_TEXT)


def test_a_session_whose_end_was_confirmed_is_forgotten_with_its_finding_resolved() -> None:
    desk = Desk(BUSY)
    desk.each(auth(0), feedback(1, verdict="confirmed_compromised"))
    desk.play(ack(2, revocation_id=desk.revoked()[0]))
    desk.each(*others(5, 200))

    last = desk.output(SESSION_FINDINGS, "s-1")[-1]
    assert (last["activity_id"], last["status_id"]) == (3, 4)
    assert "status_detail" not in last


def test_a_replay_forgets_with_the_same_bytes_and_a_worker_that_takes_over_with_the_same_id() -> None:
    events = [auth(0), feedback(1, verdict="confirmed_compromised"), *others(5, 200)]
    whole, again, first = Desk(BUSY), Desk(BUSY), Desk(BUSY)
    whole.each(*events)
    again.each(*events)
    first.each(*events[:20])
    second = first.restarted()
    second.each(*events[31:])  # it notices later

    last, same = (desk.output(SESSION_FINDINGS, "s-1")[-1] for desk in (whole, second))
    assert again.messages == whole.messages
    assert last["status_detail"] == same["status_detail"] == FORGOTTEN_TEXT
    assert last["metadata"] == same["metadata"]
    assert last["time"] < same["time"]
