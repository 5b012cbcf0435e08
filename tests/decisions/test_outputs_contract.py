"""Every output message conforms to the contract, including its key, for all streams and names."""

from __future__ import annotations

from hypothesis import given, settings

from pipeline.detections import DETECTIONS
from pipeline.processing.processor import Message
from schemas import topics
from schemas.topics import TOPICS
from tests.support.all_outputs import WIDE, received, unknown_members, wrong
from tests.support.event_streams import BUSY, CUTS, STREAMS, OddTotals
from tests.support.run_processors import Desk, Event, chunks, of, replayed
from tests.support.samples import T0, auth, call, context, feedback

__all__ = ["received"]  # a fixture

LONGEST = {
    "session_id": WIDE * 128,
    "principal_id": WIDE * 128,
    "tenant": WIDE * 64,
    "device_id": WIDE * 128,
    "user_agent": WIDE * 512,
}


def test_every_message_of_the_scenarios_conforms_to_the_contract(received: list[Message]) -> None:
    assert {message.topic for message in received} >= {
        name for name, topic in TOPICS.items() if topic.direction in ("internal", "output")
    } - {topics.DEAD_LETTERS}
    assert wrong(received) == []
    assert unknown_members(received) == {}


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=120)
def test_every_message_of_a_random_stream_conforms_to_the_contract(events: list[Event], cuts: set[int]) -> None:
    desk = Desk(f"low_features_share = 1.0\n{BUSY}", OddTotals())
    for chunk in chunks(events, cuts):
        desk.play(*chunk)

    assert wrong(desk.messages) == []
    assert unknown_members(desk.messages) == {}


def test_messages_with_the_longest_names_conform_to_the_contract() -> None:
    event_id = WIDE * 64
    messages = replayed(
        [
            auth(0, **LONGEST, event_id=event_id, parent_session_id="p" * 128),
            auth(1, **{**LONGEST, "session_id": "p" * 128}, event_id=event_id),
            call(2, **LONGEST, event_id=event_id, asn=2**32 - 1, records=2**53 - 1, sensitivity="restricted"),
            feedback(3, session_id="p" * 128, tenant=LONGEST["tenant"], verdict="confirmed_compromised"),
        ]
    )

    assert {event["session_id"] for event in of(messages, topics.SESSION_REVOCATIONS)} == {
        "p" * 128,
        LONGEST["session_id"],
    }
    assert [message.body for message in messages if message.topic == topics.DEAD_LETTERS] == []


def test_many_suppressions_fit_into_the_field() -> None:
    every = ", ".join(f'"{rule.id}"' for rule in DETECTIONS)
    policy = (
        f'[[suppressions]]\ndetections = [{every}]\nowner = "{"o" * 300}"\nreason = "{"r" * 200}"\n'
        f"expires_at = {T0 * 2}\n"
    )
    desk = Desk(policy)
    desk.play(auth(0))
    desk.play(
        context(1, rooted=True, malware="detected", heard_at=T0),
        context(2, relation="ancestor_revoked", source="lineage"),
    )

    assert len(desk.output(topics.SESSION_RISK)) == 2
    assert wrong(desk.messages) == []
