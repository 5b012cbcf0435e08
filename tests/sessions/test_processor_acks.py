"""A revocation is sent again until it is acknowledged, and an acknowledgement is for one alone."""

from __future__ import annotations

import pytest

from schemas import topics
from tests.support.run_processors import Event, of
from tests.support.samples import ack, call
from tests.support.session_processor import fallen, others


def test_a_revocation_is_sent_again_with_its_id_each_time_after_twice_as_long() -> None:
    desk = fallen()
    sent = [1]
    for at in range(5, 115, 1):
        before = len(desk.revoked())
        desk.play(call(at, session_id="ben"))
        sent += [at] * (len(desk.revoked()) - before)

    assert len(set(desk.revoked())) == 1
    assert [later - earlier >= wait for earlier, later, wait in zip(sent, sent[1:], (15, 30, 60), strict=False)] == [
        True
    ] * (len(sent) - 1)
    assert len(sent) == 3


def test_an_acknowledged_revocation_is_not_sent_again() -> None:
    desk = fallen()
    desk.play(ack(2, revocation_id=desk.revoked()[0]))
    desk.each(*others(5, 110))

    assert len(desk.revoked()) == 1
    assert desk.counts["revocations", "acknowledged"] == 1


def test_an_acknowledgement_counts_once_and_survives_a_restart() -> None:
    desk = fallen()
    (text,) = desk.revoked()
    desk.play(ack(2, revocation_id=text), ack(3, revocation_id=text, outcome="not_found"))

    other = desk.restarted()
    other.each(*others(5, 110))

    assert (desk.counts["revocations", "acknowledged"], other.revoked()) == (1, [])


def test_a_failed_revocation_is_tried_again() -> None:
    desk = fallen()
    desk.play(ack(2, revocation_id=desk.revoked()[0], outcome="failed"))
    desk.each(*others(5, 60))

    assert desk.counts["revocations", "failed"] == 1
    assert len(desk.revoked()) > 1


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (ack(2, revocation_id="another"), "revocation_id: not the revocation of this session"),
        (ack(2, session_id="s-9"), "session_id: no revocation of this session is open here"),
        (ack(2, tenant="zeta"), "session_id: no revocation of this session is open here"),
    ],
)
def test_an_acknowledgement_of_something_else_is_a_dead_letter(received: Event, reason: str) -> None:
    desk = fallen()

    outputs = desk.play(received)

    assert [letter["reason"] for letter in of(outputs, topics.DEAD_LETTERS)] == [reason]
