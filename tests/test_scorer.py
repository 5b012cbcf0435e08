"""The session scorer: what it says depends on what arrived, never on how it was delivered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.state import Names, decode
from pipeline.moment import stable_id
from pipeline.outbox import row_key
from pipeline.rules import RULES
from pipeline.scorer import Options
from playing import NOW, Desk, Event, Rec, Said, by_key, chunks, found, of, read, record, topic_of
from samples import T0, ack, auth, call, context, feedback
from schemas import topics
from schemas.decode import encode
from streams import BUSY, CUTS, STREAMS, OddTotals

OBSERVING = f'mode = "observe"\n{BUSY}'
UNGUARDED = BUSY.replace("revocations_per_minute = 2", "revocations_per_minute = 1000") + "".join(
    f"[rules.{rule.id}]\nenabled = false\n" for rule in RULES if rule.silence
)
"""Nothing that a partition knows only by heart: its budget, and whether its fleet is silent."""


def desk(policy: str = BUSY, **options: Any) -> Desk:
    return Desk(policy, OddTotals(), Options(**options))


def played(one: Desk, events: list[Event], cuts: set[int]) -> Desk:
    for chunk in chunks(events, cuts):
        one.play(*chunk)
    return one


EVERY = set(range(1, 81))


# --- how it was delivered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [BUSY, OBSERVING], ids=["enforce", "observe"])
@given(events=STREAMS, cuts=CUTS, twice=st.sets(st.integers(0, 39), max_size=5))
@settings(max_examples=200)
def test_where_the_stream_is_cut_changes_nothing_that_is_said_or_kept(
    policy: str, events: list[Event], cuts: set[int], twice: set[int]
) -> None:
    events = [event for at, event in enumerate(events) for _ in range(1 + (at in twice))]

    one, other = played(desk(policy), events, EVERY), played(desk(policy), events, cuts)

    assert by_key(read(other.messages)) == by_key(read(one.messages))
    assert other.rows == one.rows


def test_a_sign_in_that_answers_nothing_changes_no_id_in_one_chunk_or_in_two() -> None:
    first, proof = auth(0, action="token_exchanged", parent_session_id="p"), auth(1, action="sign_in")
    read_much = call(2, records=200, sensitivity="restricted")
    one, other = desk(), desk()

    one.play(first, proof)
    other.each(first, proof)
    one.play(read_much)
    other.play(read_much)

    assert one.revoked() == other.revoked() == [stable_id("default", "s-1", 0, "mass_read")]


@given(events=STREAMS, cuts=CUTS, twice=st.sets(st.integers(0, 39)))
@settings(max_examples=100)
def test_an_event_sent_twice_counts_once(events: list[Event], cuts: set[int], twice: set[int]) -> None:
    doubled = [event for at, event in enumerate(events) for _ in range(1 + (at in twice))]

    one, other = played(desk(), events, cuts), played(desk(), doubled, cuts)

    assert _heard(other) == _heard(one)


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=60)
def test_a_chunk_delivered_again_says_nothing_again(events: list[Event], cuts: set[int]) -> None:
    one = desk()
    for chunk in chunks(events, cuts):
        topic = topic_of(chunk[0])
        records = [record(event, one.offsets[topic] + at) for at, event in enumerate(chunk)]
        one.play(*chunk)
        if topic == topics.SESSION_FEEDBACK:
            continue
        rows = dict(one.rows)
        again = one.take(topic, records)
        assert [said for said in again if _of_a_session_kept(said, rows)] == []


def _of_a_session_kept(said: Said, rows: dict[bytes, bytes]) -> bool:
    return row_key(Names("default", said.key).pack()) in rows


def _heard(one: Desk) -> dict[tuple[str, str], list[Event]]:
    return by_key([said for said in read(one.messages) if said.topic != topics.DEAD_LETTERS])


def test_two_events_of_one_id_on_two_topics_are_two_events() -> None:
    one = desk()

    one.each(auth(0, event_id="7"), call(1, event_id="7"), call(2, event_id="7"))

    assert (one.counts["duplicates", topics.AUTH_EVENTS], one.counts["duplicates", topics.API_CALLS]) == (
        0,
        1,
    )


def test_offsets_of_one_topic_say_nothing_about_another() -> None:
    one = desk()

    one.play(auth(0), auth(1))
    one.play(call(2))

    assert one.counts["duplicates", topics.API_CALLS] == 0


# --- restart ----------------------------------------------------------------------------------------------


@given(events=STREAMS, cuts=CUTS, stop=st.integers(0, 40), back=st.integers(0, 3))
@settings(max_examples=150)
def test_a_worker_that_takes_over_anywhere_commands_the_same(
    events: list[Event], cuts: set[int], stop: int, back: int
) -> None:
    parts = chunks(events, cuts)
    whole = desk(UNGUARDED)
    for part in parts:
        whole.play(*part)
    first = desk(UNGUARDED)
    sent: list[tuple[str, list[Rec]]] = []
    for part in parts[:stop]:
        topic = topic_of(part[0])
        sent.append((topic, [record(event, first.offsets[topic] + at) for at, event in enumerate(part)]))
        first.play(*part)

    second = first.restarted()
    for topic, records in sent[max(0, len(sent) - back) :]:
        if topic != topics.SESSION_FEEDBACK:
            second.take(topic, records)
    for part in parts[stop:]:
        second.play(*part)
    # Whoever takes over sweeps from its second slot on: two more, and both have swept at the same time.
    last = max(event["occurred_at"] for event in events)
    for one in (whole, second):
        for slot in (1, 2):
            one.play(auth(session_id="s-9", occurred_at=last + slot * one.options.sweep_ms))

    assert {*first.revoked(), *second.revoked()} >= set(whole.revoked())
    assert _flags(second) == _flags(whole)


def _flags(one: Desk) -> dict[bytes, tuple[int, int]]:
    rows = {key: decode(value)[0][0] for key, value in one.rows.items()}
    return {key: (int(row["flags"]) & 6, int(row["seen_at"])) for key, row in rows.items()}


def test_a_row_is_read_back_bit_for_bit() -> None:
    one = desk()
    one.play(auth(0, device_id="phone-1"), auth(1, session_id="s-2", parent_session_id="s-1"))
    one.play(call(2, records=200, sensitivity="restricted"))

    other = one.restarted()
    same = [other.scorer.table.find("default", name) for name in ("s-1", "s-2")]
    rows = [one.scorer.table.find("default", name) for name in ("s-1", "s-2")]

    assert other.scorer.table.rows[same].tobytes() == one.scorer.table.rows[rows].tobytes()
    assert [other.scorer.cases.get(row) for row in same] == [one.scorer.cases.get(row) for row in rows]


def test_an_unacknowledged_revocation_is_sent_again_by_whoever_takes_over() -> None:
    one = desk()
    one.play(auth(0))
    one.play(feedback(1, verdict="confirmed_compromised"))

    other = one.restarted()
    other.each(*(call(at, session_id="ben") for at in range(2, 60, 5)))

    assert set(other.revoked()) == set(one.revoked()) == {one.revoked()[0]}


def test_the_last_row_of_a_key_counts_and_a_tombstone_removes_it() -> None:
    one = desk()
    one.play(auth(0), auth(0, session_id="s-2"))
    first = list(one.rows.items())
    one.play(call(5))
    second = list(one.rows.items())

    other = desk()
    other.scorer.restore([*first, *second, (row_key(Names("default", "s-2").pack()), None)])
    other.scorer.restore([(b"nobody\xffknown", None)])

    assert len(other.scorer.table) == 1
    assert other.scorer.table.rows["seen_at"][other.scorer.table.find("default", "s-1")] == T0 + 5_000


# --- the end of a session ---------------------------------------------------------------------------------


def others(start: int, until: int) -> list[Event]:
    """Somebody else goes on, so that time does."""
    return [call(at, session_id="ben", principal_id="ben") for at in range(start, until, 5)]


@pytest.mark.parametrize(
    ("last", "after"),
    [
        ([auth(0, action="sign_out")], 60),
        ([auth(0)], 150),
        ([auth(0), feedback(0, verdict="confirmed_compromised")], 120),
    ],
    ids=["signed out", "idle", "revoked"],
)
def test_a_session_that_is_over_is_forgotten_after_its_time(last: list[Event], after: int) -> None:
    one = desk()
    one.each(*last)
    key = row_key(Names("default", "s-1").pack())

    one.each(*others(0, after + 15))
    assert key in one.rows
    one.each(*others(after + 15, after + 35))

    assert key not in one.rows
    assert one.scorer.table.find("default", "s-1") == -1
    assert len(one.scorer.table) == 1


def test_a_device_that_goes_on_reporting_does_not_keep_a_session_that_nobody_uses() -> None:
    one, idle_s = Desk(), 12 * 3600
    one.each(auth(0, device_id="phone-1"), *(context(at, device_id="phone-1") for at in (3600, idle_s)))

    one.play(call(idle_s + 60, session_id="s-2"))

    assert sorted(one.rows) == [row_key(Names("default", "s-2").pack())]


def test_who_is_forgotten_without_a_word_is_said_to_have_ended_once() -> None:
    one = desk()
    one.each(auth(0, device_id="phone-1"), *others(0, 200))

    assert [told["kind"] for told in one.said(topics.PRINCIPAL_ACTIVITY, "ana")] == ["started", "ended"]
    assert [told["state"] for told in one.said(topics.SESSION_BINDINGS, "phone-1")] == ["live", "ended"]


@pytest.mark.parametrize("end", ["sign_out", "revoke", "idle"])
def test_a_finding_is_closed_when_its_session_is_over(end: str) -> None:
    one = desk(OBSERVING if end == "idle" else BUSY)
    one.each(
        auth(0), call(1, records=60, sensitivity="restricted"), call(2, records=60, sensitivity="restricted")
    )
    if end == "sign_out":
        one = desk(OBSERVING)
        one.each(auth(0), call(1, records=200, sensitivity="restricted"), auth(3, action="sign_out"))
    if end == "revoke":
        one.play(ack(3, revocation_id=one.revoked("s-1")[0]))
    one.each(*others(5, 600))

    told = one.said(topics.SESSION_FINDINGS, "s-1")
    assert [finding["activity_id"] for finding in told if finding["activity_id"] != 2] == [1, 3]
    assert len({finding["finding_info"]["uid"] for finding in told}) == 1
    assert told[-1]["status_id"] == 4
    assert "model" not in told[-1]["message"]


def test_a_session_that_goes_on_after_its_sign_out_is_judged_again() -> None:
    one = desk()
    one.each(auth(0), auth(5, action="sign_out"), call(30), call(31, records=200, sensitivity="restricted"))

    assert len(one.revoked("s-1")) == 1


def test_a_session_that_goes_on_is_kept_as_long_as_any_other() -> None:
    one = desk()
    one.each(auth(0), auth(5, action="sign_out"), call(30), *others(35, 140))

    assert row_key(Names("default", "s-1").pack()) in one.rows


def test_a_call_that_was_late_does_not_bring_a_session_back_after_its_sign_out() -> None:
    one = desk()
    one.each(auth(0), auth(5, action="sign_out"), call(4, records=200, sensitivity="restricted"))

    assert one.revoked("s-1") == []


def test_a_session_that_signs_in_again_under_its_old_id_starts_again() -> None:
    one = desk()
    one.each(
        auth(0, device_id="phone-1"), auth(5, action="sign_out"), auth(20, device_id="phone-1"), call(21)
    )

    assert [told["kind"] for told in one.said(topics.PRINCIPAL_ACTIVITY)] == ["started", "ended", "started"]
    assert [told["state"] for told in one.said(topics.SESSION_BINDINGS)] == ["live", "ended", "live"]


def test_no_more_sessions_are_held_than_allowed_and_the_longest_idle_go_first() -> None:
    one = desk(max_sessions=5)
    for at in range(40):
        one.play(auth(at, session_id=f"n-{at}"))
    one.each(*others(40, 60))

    assert len(one.rows) <= 6
    assert one.counts[("evicted_sessions",)] >= 34
    assert row_key(Names("default", "ben").pack()) in one.rows
    assert len(one.said(topics.PRINCIPAL_ACTIVITY)) == 41 + one.counts[("evicted_sessions",)]


def test_a_revocation_nobody_acknowledged_is_not_evicted() -> None:
    one = desk(max_sessions=5)
    one.play(auth(0))
    one.play(feedback(1, verdict="confirmed_compromised"))
    for at in range(2, 40):
        one.play(auth(at, session_id=f"n-{at}"))

    assert row_key(Names("default", "s-1").pack()) in one.rows
    assert len(one.revoked()) > 1


def test_a_flood_of_sessions_at_one_moment_is_bounded_too() -> None:
    one = desk(max_sessions=100)

    for chunk in range(20):
        one.play(*(auth(0, session_id=f"n-{chunk}-{at}") for at in range(50)))

    assert len(one.scorer.table) <= 200


# --- acknowledgements -------------------------------------------------------------------------------------


def fallen() -> Desk:
    one = desk()
    one.play(auth(0))
    one.play(feedback(1, verdict="confirmed_compromised"))
    return one


def test_a_revocation_is_sent_again_with_its_id_each_time_after_twice_as_long() -> None:
    one = fallen()
    sent = [1]
    for at in range(5, 115, 1):
        before = len(one.revoked())
        one.play(call(at, session_id="ben"))
        sent += [at] * (len(one.revoked()) - before)

    assert len(set(one.revoked())) == 1
    assert [
        later - earlier >= wait for earlier, later, wait in zip(sent, sent[1:], (15, 30, 60), strict=False)
    ] == [True] * (len(sent) - 1)
    assert len(sent) == 3


def test_an_acknowledged_revocation_is_not_sent_again() -> None:
    one = fallen()
    one.play(ack(2, revocation_id=one.revoked()[0]))
    one.each(*others(5, 110))

    assert len(one.revoked()) == 1
    assert one.counts["revocations", "acknowledged"] == 1


def test_an_acknowledgement_counts_once_and_survives_a_restart() -> None:
    one = fallen()
    (told,) = one.revoked()
    one.play(ack(2, revocation_id=told), ack(3, revocation_id=told, outcome="not_found"))

    other = one.restarted()
    other.each(*others(5, 110))

    assert (one.counts["revocations", "acknowledged"], other.revoked()) == (1, [])


def test_a_failed_revocation_is_tried_again() -> None:
    one = fallen()
    one.play(ack(2, revocation_id=one.revoked()[0], outcome="failed"))
    one.each(*others(5, 60))

    assert one.counts["revocations", "failed"] == 1
    assert len(one.revoked()) > 1


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (ack(2, revocation_id="another"), "revocation_id: not the revocation of this session"),
        (ack(2, session_id="s-9"), "session_id: no revocation of this session is open here"),
        (ack(2, tenant="zeta"), "session_id: no revocation of this session is open here"),
    ],
)
def test_an_acknowledgement_of_something_else_is_a_dead_letter(told: Event, reason: str) -> None:
    one = fallen()

    said = one.play(told)

    assert [letter["reason"] for letter in of(said, topics.DEAD_LETTERS)] == [reason]


# --- neighbours -------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_a_dead_letter_and_harms_nobody_else() -> None:
    good = [record(call(at), at) for at in range(4)]
    bad = [
        Rec(topics.API_CALLS, 0, 10, 0, b"s-1", b"{"),
        Rec(topics.API_CALLS, 0, 11, 0, b"s-1", None),
        Rec(topics.API_CALLS, 0, 12, 0, b"other", encode(call(1))),
        Rec(topics.API_CALLS, 0, 13, 0, None, b"\xff\xfe"),
        Rec(topics.API_CALLS, 0, 14, 0, b"s-1", encode({**call(1), "principal_kind": "robot"})),
        Rec(topics.API_CALLS, 0, 15, 0, b"s-1", encode({**call(1), "occurred_at": NOW + 400_000})),
    ]
    one, alone = desk(), desk()

    mixed = sorted([*good, *bad], key=lambda told: told.offset % 10)
    said = one.take(topics.API_CALLS, mixed)
    alone.take(topics.API_CALLS, good)

    assert [Rec(*bad[at][:3], 0, None, None).offset for at in range(6)] == sorted(
        letter["offset"] for letter in of(said, topics.DEAD_LETTERS)
    )
    assert sum(one.dead.values()) == 6
    assert one.rows == alone.rows


def test_hostile_names_neither_meet_nor_stop_anybody() -> None:
    one = desk()
    names = ["a", "a\0b", "a\0", "\0", "\x1f", "\u00ff", "ÿ", "\U0010ffff" * 128]
    for at, name in enumerate(names):
        one.play(auth(at, session_id=name, principal_id=name, tenant=name[:64]))
        one.play(auth(at, session_id=name, principal_id=name, tenant="a"))
    held = len(one.scorer.table)
    one.each(*others(10, 300))

    assert held == 2 * len(set(names)) - 1
    assert len(one.scorer.table) == 1
    assert len(one.rows) == 1


def test_verdicts_on_sessions_that_do_not_live_here_go_back_with_the_reason() -> None:
    one = desk()
    one.play(auth(0))

    said = one.play(feedback(1, session_id="s-9"), feedback(2, verdict="confirmed_compromised"))

    assert [(letter["offset"], letter["reason"]) for letter in of(said, topics.DEAD_LETTERS)] == [
        (0, "session_id: no such session lives here any more")
    ]
    assert len(one.revoked("s-1")) == 1


def test_a_false_positive_also_ends_the_step_up_that_was_asked_for() -> None:
    one = desk()
    one.each(auth(0, asn=1), call(1, asn=2), context(2, source="principal", known_asn=False))
    one.play(feedback(10, verdict="false_positive"))
    one.each(*others(12, 60))

    assert len(one.said(topics.SESSION_CHALLENGES)) == 1
    assert one.revoked() == []
    assert one.said(topics.SESSION_RISK, "s-1")[-1]["level"] == "LOW"


def test_two_verdicts_at_one_moment_both_count() -> None:
    one = desk(OBSERVING)
    one.each(auth(0), call(1, records=200, sensitivity="restricted"))
    one.play(feedback(5, verdict="false_positive"), feedback(5, verdict="confirmed_compromised"))

    assert "confirmed_compromised" in found(read(one.messages))


def test_a_device_first_named_by_a_call_hears_of_its_session() -> None:
    one = desk()
    one.each(auth(0), call(1, device_id="phone-1"), call(2, device_id="phone-1"))

    assert [told["state"] for told in one.said(topics.SESSION_BINDINGS, "phone-1")] == ["live"]


@pytest.mark.parametrize("end", ["sign_out", "idle", "revoke"])
def test_every_device_a_session_was_on_hears_of_its_end(end: str) -> None:
    one = desk()
    one.play(auth(0, device_id="phone-1"), auth(1, device_id="phone-2"), auth(2, device_id="phone-1"))
    one.play(call(3, device_id="phone-3"))
    if end == "sign_out":
        one.play(auth(5, action="sign_out", device_id="phone-3"))
    if end == "revoke":
        one.play(feedback(5, verdict="confirmed_compromised"))
    one.each(*others(10, 200))

    last = {
        told["device_id"]: told["state"]
        for told in one.said(topics.SESSION_BINDINGS)
        if told["session_id"] == "s-1"
    }
    assert last == dict.fromkeys(("phone-1", "phone-2", "phone-3"), "ended")


def test_a_session_remembers_no_more_devices_than_it_must() -> None:
    one = desk()
    one.play(*(call(at / 10, device_id=f"phone-{at}") for at in range(40)))

    states = [(told["device_id"], told["state"]) for told in one.said(topics.SESSION_BINDINGS)]
    assert [device for device, state in states if state == "ended"] == [f"phone-{at}" for at in range(23)]
    assert len(one.scorer.cases[0].devices) == 16


def test_every_message_tells_the_device_of_its_moment() -> None:
    one = desk(OBSERVING)
    one.play(
        call(0, device_id="phone-1", records=200, sensitivity="restricted"),
        call(100, device_id="phone-2", records=200, sensitivity="restricted"),
        call(101),
    )

    assert [risk["device_id"] for risk in one.said(topics.SESSION_RISK)][:2] == ["phone-1", "phone-2"]


# --- time -------------------------------------------------------------------------------------------------


def test_an_idle_partition_is_swept_by_the_wall_clock() -> None:
    one = desk(BUSY.replace("[guard]", "[guard]\nask_unheard = false"))
    one.play(auth(0, device_id="phone-1"), now=T0)
    one.play(context(0, heard_at=T0, heartbeat_interval_ms=5_000), now=T0)

    quiet = one.sweep(T0 + 20_000)
    silent = one.sweep(T0 + 40_000)

    assert found(quiet) == set()
    assert found(silent) == {"telemetry_silent_while_idle"}
    assert of(silent, topics.SESSION_CHALLENGES) == []
    assert one.sweep(T0 + 41_000) == []


def test_before_the_first_event_nothing_is_swept() -> None:
    assert desk().sweep(NOW) == []


def test_a_clock_of_the_future_does_not_end_everybodys_session() -> None:
    one = desk()
    one.play(auth(0), now=T0)
    one.play(call(290, session_id="ben"), now=T0 + 1_000)

    assert len(one.scorer.table) == 2


def test_a_policy_is_exchanged_between_chunks() -> None:
    one = desk(OBSERVING)
    one.each(auth(0), call(1, records=200, sensitivity="restricted"))
    assert one.revoked() == []

    one.brain.use_policy(Desk(BUSY).brain.judge.policy)
    one.each(*others(2, 60))

    assert len(set(one.revoked("s-1"))) == 1
