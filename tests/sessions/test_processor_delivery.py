"""What the session scorer says depends on what arrived, never on how it was delivered, or how often."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.state.table import Subject
from pipeline.processing.messages import stable_id
from pipeline.sessions.state_store import row_key
from schemas import topics
from tests.support.event_streams import BUSY, CUTS, STREAMS
from tests.support.run_processors import Desk, Event, SentMessage, by_key, chunks, read, record, topic_of
from tests.support.samples import UNASKED, auth, call
from tests.support.session_processor import OBSERVING, desk


def played(one: Desk, events: list[Event], cuts: set[int]) -> Desk:
    for chunk in chunks(events, cuts):
        one.play(*chunk)
    return one


EVERY = set(range(1, 81))


@pytest.mark.parametrize("policy", [BUSY, OBSERVING], ids=["enforce", "observe"])
@given(events=STREAMS, cuts=CUTS, twice=st.sets(st.integers(0, 39), max_size=5))
@settings(max_examples=200)
def test_where_the_stream_is_cut_changes_nothing_that_is_said_or_kept(
    policy: str, events: list[Event], cuts: set[int], twice: set[int]
) -> None:
    events = [event for at, event in enumerate(events) for _ in range(1 + (at in twice))]

    this_desk, other = played(desk(policy), events, EVERY), played(desk(policy), events, cuts)

    assert by_key(read(other.messages)) == by_key(read(this_desk.messages))
    assert other.rows == this_desk.rows


def test_a_sign_in_that_answers_nothing_changes_no_id_in_one_chunk_or_in_two() -> None:
    first, proof = auth(0, action="token_exchanged", parent_session_id="p"), auth(1, action="sign_in")
    read_much = call(2, records=200, sensitivity="restricted")
    this_desk, other = desk(f"{UNASKED}{BUSY}"), desk(f"{UNASKED}{BUSY}")

    this_desk.play(first, proof)
    other.each(first, proof)
    this_desk.play(read_much)
    other.play(read_much)

    assert this_desk.revoked() == other.revoked() == [stable_id("default", "s-1", 0, "mass_read")]


@given(events=STREAMS, cuts=CUTS, twice=st.sets(st.integers(0, 39)))
@settings(max_examples=100)
def test_an_event_sent_twice_counts_once(events: list[Event], cuts: set[int], twice: set[int]) -> None:
    doubled = [event for at, event in enumerate(events) for _ in range(1 + (at in twice))]

    this_desk, other = played(desk(), events, cuts), played(desk(), doubled, cuts)

    assert _deliveries(other) == _deliveries(this_desk)


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=60)
def test_a_chunk_delivered_again_says_nothing_again(events: list[Event], cuts: set[int]) -> None:
    this_desk = desk()
    for chunk in chunks(events, cuts):
        topic = topic_of(chunk[0])
        records = [record(event, this_desk.offsets[topic] + at) for at, event in enumerate(chunk)]
        this_desk.play(*chunk)
        if topic == topics.SESSION_FEEDBACK:
            continue
        rows = dict(this_desk.rows)
        again = this_desk.take(topic, records)
        assert [message for message in again if _of_a_session_kept(message, rows)] == []


def _of_a_session_kept(output: SentMessage, rows: dict[bytes, bytes]) -> bool:
    return row_key(Subject("default", output.key).pack()) in rows


def _deliveries(one: Desk) -> dict[tuple[str, str], list[Event]]:
    return by_key([message for message in read(one.messages) if message.topic != topics.DEAD_LETTERS])


def test_two_events_of_one_id_on_two_topics_are_two_events() -> None:
    this_desk = desk()

    this_desk.each(auth(0, event_id="7"), call(1, event_id="7"), call(2, event_id="7"))

    assert (
        this_desk.counts["duplicates", topics.AUTH_EVENTS],
        this_desk.counts["duplicates", topics.API_CALLS],
    ) == (
        0,
        1,
    )


def test_offsets_of_one_topic_say_nothing_about_another() -> None:
    this_desk = desk()

    this_desk.play(auth(0), auth(1))
    this_desk.play(call(2))

    assert this_desk.counts["duplicates", topics.API_CALLS] == 0
