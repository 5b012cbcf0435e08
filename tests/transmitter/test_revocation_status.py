"""What becomes of a command to end a session, from being heard of to the word that it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.transmitter.protocol import SignedToken
from pipeline.transmitter.store import queue
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.revocations import AckResult, Command, confirm, list_commands, overdue, purge, record
from pipeline.transmitter.tokens.builder import DecodedRecord
from tests.support.transmitter_records import T0, ack, revocation

MINUTE = 60_000
OPEN = Command("r-1", "default", "s-1", "ana", "d-1", T0, T0 + MINUTE, 1, "open")


def output(store: Store, *deliveries: DecodedRecord) -> list[object]:
    """Tell the store of commands and words on them, each by itself, and what it says to that."""
    answers: list[object] = []
    for topic, fields in deliveries:
        with store.begin() as conn:
            answers += record(conn, [fields]) if topic == "session-revocations" else confirm(conn, [fields])
    return answers


def stands(store: Store) -> list[Command]:
    with store.read() as conn:
        return list_commands(conn)


def late(store: Store, at: int) -> int:
    with store.begin() as conn:
        return overdue(conn, at)


def take(store: Store, at: int) -> None:
    """A receiver takes the token of the command."""
    with store.begin() as conn:
        queue.put(conn, [SignedToken("st-1", "j-1", "a", "session-revoked", "k", "jwt", "d-1", "r-1")], at)
        (head,) = queue.heads(conn, "st-1", at, 1, ())
        queue.mark_delivered(conn, [head.seq], at)


def test_a_command_is_open_until_a_receiver_takes_it_and_confirmed_by_an_enforcer_alone(store: Store) -> None:
    assert output(store, revocation()) == ["opened"]
    assert stands(store) == [OPEN]

    take(store, T0 + 500)
    taken = replace(OPEN, state="delivered", delivered_at=T0 + 500)
    assert stands(store) == [taken]

    assert output(store, ack(enforcer="okta")) == [AckResult("confirmed", 2.0)]
    assert stands(store) == [
        replace(taken, state="confirmed", confirmed_at=T0 + 2000, outcome="revoked", enforcer="okta")
    ]


def test_a_command_read_again_is_the_same_and_one_sent_again_has_a_later_deadline(store: Store) -> None:
    again = revocation(deadline=T0 + 3 * MINUTE)

    assert output(store, revocation(), revocation(), again, again, revocation()) == [
        "opened",
        "seen",
        "resent",
        "seen",
        "seen",
    ]
    assert stands(store) == [replace(OPEN, deadline=T0 + 3 * MINUTE, sends=2)]


def test_what_nobody_confirms_by_its_deadline_is_overdue_once(store: Store) -> None:
    output(store, revocation())

    assert [late(store, T0 + MINUTE), late(store, T0 + MINUTE + 1), late(store, T0 + 2 * MINUTE)] == [0, 1, 0]
    assert [stand.state for stand in stands(store)] == ["overdue"]


@pytest.mark.parametrize("taken", [False, True])
def test_a_command_that_is_sent_again_is_what_it_was_before_it_was_overdue(store: Store, taken: bool) -> None:
    output(store, revocation())
    if taken:
        take(store, T0)
    late(store, T0 + 2 * MINUTE)

    output(store, revocation(deadline=T0 + 3 * MINUTE))

    assert [stand.state for stand in stands(store)] == ["delivered" if taken else "open"]


def test_a_late_word_confirms_what_is_overdue(store: Store) -> None:
    output(store, revocation())
    late(store, T0 + 2 * MINUTE)

    assert output(store, ack(occurred_at=T0 + 5 * MINUTE)) == [AckResult("confirmed", 300.0)]


def test_a_session_nobody_knows_is_as_dead_as_one_revoked(store: Store) -> None:
    assert output(store, revocation(), ack(outcome="not_found")) == ["opened", AckResult("confirmed", 2.0)]
    assert [(stand.state, stand.outcome) for stand in stands(store)] == [("confirmed", "not_found")]


def test_a_failure_is_told_and_may_still_be_mended_but_what_is_confirmed_stays(store: Store) -> None:
    details = output(store, revocation(), ack(outcome="failed"), ack(), ack(), ack(outcome="failed"))

    assert details == ["opened", AckResult("failed"), AckResult("confirmed", 2.0), AckResult("seen"), AckResult("seen")]
    assert output(store, revocation(deadline=T0 + 9 * MINUTE)) == ["resent"]
    assert [stand.state for stand in stands(store)] == ["confirmed"]


@pytest.mark.parametrize("members", [{"tenant": "acme"}, {"session_id": "s-2"}])
def test_a_word_on_another_session_than_the_commands_is_not_believed(store: Store, members: dict[str, str]) -> None:
    assert output(store, revocation(), ack(**members)) == ["opened", AckResult("foreign")]
    assert stands(store) == [OPEN]


def test_a_word_that_comes_before_its_command_is_kept_for_it(store: Store) -> None:
    assert output(store, ack()) == [AckResult("confirmed", None)]
    assert late(store, T0 + 9 * MINUTE) == 0

    output(store, revocation())

    assert stands(store) == [replace(OPEN, state="confirmed", confirmed_at=T0 + 2000, outcome="revoked")]


def test_a_word_of_another_tenant_before_the_command_closes_nothing(store: Store) -> None:
    output(store, ack(tenant="acme"), revocation())

    assert stands(store) == [OPEN]


def test_commands_are_listed_by_state_the_newest_first_and_forgotten_by_age(store: Store) -> None:
    for number in range(3):
        output(store, revocation(revocation_id=f"r-{number}", decided_at=T0 + number))
    output(store, ack(revocation_id="r-1"))

    with store.begin() as conn:
        named = [
            [command.revocation_id for command in list_commands(conn, state)] for state in (None, "open", "confirmed")
        ]
        first = [command.revocation_id for command in list_commands(conn, None, 1)]
        gone = purge(conn, T0 + 2, 1) + purge(conn, T0 + 2)
        left = [command.revocation_id for command in list_commands(conn)]

    assert named == [["r-2", "r-1", "r-0"], ["r-2", "r-0"], ["r-1"]]
    assert (first, gone, left) == (["r-2"], 2, ["r-2"])


def test_many_commands_and_words_at_once_come_to_the_same_as_one_by_one(store: Store) -> None:
    decoded_records = [revocation(revocation_id=f"r-{number}", session_id=f"s-{number}") for number in range(1200)]
    words = [ack(revocation_id=f"r-{number}", session_id=f"s-{number}") for number in range(1200)]

    with store.begin() as conn:
        record(conn, [decoded_record.record for decoded_record in decoded_records])
        record(conn, [decoded_record.record for decoded_record in decoded_records])
        answers = confirm(conn, [word.record for word in words])

    assert answers == [AckResult("confirmed", 2.0)] * 1200
    assert {(stand.sends, stand.state) for stand in stands(store)} == {(1, "confirmed")}
