"""Streams in the store: set up by receivers or declared in a file, the same object, secrets sealed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from pipeline.transmitter.protocol import POLL, PUSH, SUPPORTED, Stream
from pipeline.transmitter.store import queue, receivers, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.encryption import SealError
from pipeline.transmitter.store.tables import sets, stream_subjects
from pipeline.transmitter.store.tables import streams as table
from tests.support.stores import NOW, SEALER, stream, token

FULL = Stream(
    stream_id="s-1",
    receiver_id="r-1",
    aud="https://idp.example.org",
    declared=True,
    description="für Anna",
    events_requested=(SUPPORTED[0], "urn:unknown"),
    method=PUSH,
    endpoint_url="https://idp.example.org/events",
    authorization="Bearer very secret",
    subject_form="complex",
    subject_in_event=True,
    personal_data=True,
    tenant="acme",
    status="paused",
    status_reason="maintenance",
    created_at=NOW,
    updated_at=NOW + 1,
    verification_asked_at=NOW + 2,
)
BARE = Stream("s-2", "r-1", "aud", method=POLL, created_at=NOW + 5, updated_at=NOW + 5)


def _states(store: Store) -> dict[str, tuple[str, str | None, str | None]]:
    with store.read() as conn:
        rows = conn.execute(select(sets.c.jti, sets.c.state, sets.c.jwt, sets.c.error)).all()
    return {jti: (state, jwt, error) for jti, state, jwt, error in rows}


@pytest.mark.parametrize("given", [FULL, BARE], ids=["full", "bare"])
def test_a_stream_is_read_as_it_was_added(store: Store, given: Stream) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, given)

    with store.read() as conn:
        assert streams.get(conn, SEALER, given.stream_id) == given


@pytest.mark.parametrize("stream_id", ["s-9", "", "\x00", "\ud800", "s 1", "x" * 5_000])
def test_there_is_no_stream_of_another_id_whatever_it_is(store: Store, stream_id: str) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, FULL)
        assert streams.get(conn, SEALER, stream_id) is None


def test_streams_are_listed_the_oldest_first_all_or_a_receivers(store: Store) -> None:
    other = replace(BARE, stream_id="s-3", receiver_id="r-2", created_at=NOW - 5)
    with store.begin() as conn:
        for this_stream in (BARE, other, FULL):
            streams.add(conn, SEALER, this_stream)

        assert streams.every(conn, SEALER) == [other, FULL, BARE]
        assert streams.of_receiver(conn, SEALER, "r-1") == [FULL, BARE]
        assert streams.of_receiver(conn, SEALER, "r-9") == []


def test_an_authorization_header_is_sealed_and_shown_nowhere(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, FULL)
        sealed = conn.execute(select(table.c.authorization_sealed)).scalar_one()

    assert b"secret" not in sealed
    assert SEALER.open(sealed) == "Bearer very secret"
    assert "secret" not in repr(FULL)


def test_a_header_that_was_sealed_with_another_key_is_told_in_a_sentence(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, FULL)
        conn.execute(table.update().values(authorization_sealed=b"gAAAAA"))
        with pytest.raises(SealError, match="the tests' keys: no key in it decrypts"):
            streams.get(conn, SEALER, "s-1")


def test_a_change_replaces_everything_and_one_of_a_stream_that_is_gone_nothing(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, FULL)
        assert streams.change(conn, SEALER, replace(BARE, stream_id="s-1"))
        assert not streams.change(conn, SEALER, BARE)
        assert streams.every(conn, SEALER) == [replace(BARE, stream_id="s-1")]


def test_words_of_strangers_are_made_fit_for_the_store(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, replace(BARE, description="a\x00b\ud800" + "c" * 2_000))
        streams.set_status(conn, "s-2", "paused", "x\x00y", NOW)
        found = streams.get(conn, SEALER, "s-2")

    assert found is not None
    assert (found.description, found.status_reason) == ("a b " + "c" * 996, "x y")


def test_a_paused_stream_holds_and_a_disabled_one_drops_what_waits_and_says_how_much(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
        queue.put(conn, [token("a1"), token("a2"), token("a3"), token("b1", "s-2")], NOW)
        queue.mark_delivered(conn, [1], NOW)
        counts = [streams.set_status(conn, "s-1", status, "enough", NOW + 9) for status in ("paused", "disabled")]
        queue.put(conn, [token("a4")], NOW)
        found = streams.get(conn, SEALER, "s-1")
        assert queue.requeue(conn, "s-1", NOW) == 0

    assert counts == [0, 2]
    assert found == stream(status="disabled", status_reason="enough", updated_at=NOW + 9)
    assert _states(store) == {
        "a1": ("delivered", None, None),
        "a2": ("dead", None, "stream_disabled"),
        "a3": ("dead", None, "stream_disabled"),
        "a4": ("queued", "jwt of a4", None),
        "b1": ("queued", "jwt of b1", None),
    }


def test_with_a_stream_go_its_subjects_and_its_tokens_that_wait(store: Store) -> None:
    with store.begin() as conn:
        for this_stream in (stream(), stream("s-2")):
            streams.add(conn, SEALER, this_stream)
            streams.set_subject(conn, this_stream.stream_id, {"format": "opaque", "id": "x"}, included=False)
        queue.put(conn, [token("a1"), token("a2"), token("b1", "s-2")], NOW)
        queue.dead_letter(conn, 1, "timeout", "", NOW)
        queue.hand_out(conn, "s-1", NOW, 9, 60_000)
        assert streams.remove(conn, "s-1", NOW + 7) == 1
        assert streams.remove(conn, "s-1", NOW + 8) == 0
        assert {dead_letter.jti: dead_letter.ended_at for dead_letter in queue.list_dead_letters(conn)} == {
            "a1": NOW,
            "a2": NOW + 7,
        }
        assert streams.every(conn, SEALER) == [stream("s-2")]
        assert conn.scalars(select(stream_subjects.c.stream_id)).all() == ["s-2"]

    assert _states(store) == {
        "a1": ("dead", None, "timeout"),
        "a2": ("dead", None, "stream_removed"),
        "b1": ("queued", "jwt of b1", None),
    }


def test_a_removed_stream_that_comes_back_is_not_told_again_what_it_was_told(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
        queue.put(conn, [token("a1")], NOW)
        streams.remove(conn, "s-1", NOW)
        streams.add(conn, SEALER, stream())
        assert queue.put(conn, [token("a1")], NOW) == 0


def test_a_verification_that_was_asked_for_is_remembered(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
        streams.record_verification_request(conn, "s-1", NOW + 3)
        assert streams.get(conn, SEALER, "s-1") == stream(verification_asked_at=NOW + 3)


def test_a_subject_is_taken_out_once_however_its_members_are_ordered_and_leaves_nothing_when_it_is_back(
    store: Store,
) -> None:
    anna = {"format": "iss_sub", "iss": "https://i.example", "sub": "änna\x00"}
    turned = dict(reversed(anna.items()))
    bert = {"format": "email", "email": "bert@example.org"}
    with store.begin() as conn:
        for number in ("s-1", "s-2"):
            streams.add(conn, SEALER, stream(number))
        flags = [
            streams.set_subject(conn, "s-1", by_key, included=included)
            for by_key, included in (
                (anna, False),
                (turned, False),
                (bert, False),
                (turned, True),
                (anna, True),
            )
        ]
        other = streams.set_subject(conn, "s-2", bert, included=True)
        left = conn.execute(select(stream_subjects.c.stream_id, stream_subjects.c.subject)).all()

    assert (flags, other) == ([True, False, True, True, False], False)
    assert [tuple(row) for row in left] == [("s-1", bert)]


@pytest.mark.parametrize(
    ("receivers_own", "streams_own", "deliveries"),
    [("acme", None, "acme"), ("acme", "other", "acme"), (None, "acme", "acme"), (None, None, None)],
)
def test_a_stream_hears_of_its_receivers_tenant_or_else_of_its_own_however_it_is_read(
    store: Store, receivers_own: str | None, streams_own: str | None, deliveries: str | None
) -> None:
    with store.begin() as conn:
        receivers.ensure(conn, "r-1", "aud", [receivers.READ], NOW, receivers_own)
        streams.add(conn, SEALER, stream(tenant=streams_own))
        streams.add(conn, SEALER, stream("s-2", receiver_id="nobody", created_at=NOW + 1))
        this_stream = streams.get(conn, SEALER, "s-1")

        expected = [stream(tenant=deliveries), stream("s-2", receiver_id="nobody", created_at=NOW + 1)]
        assert this_stream == expected[0]
        assert streams.of_receiver(conn, SEALER, "r-1") == expected[:1]
        assert streams.every(conn, SEALER) == streams.list_without_secrets(conn) == expected
        assert streams.without_tenant(conn) == [item.stream_id for item in expected if item.tenant is None]
        assert streams.own_tenants(conn) == {"s-1": streams_own, "s-2": None}


def test_a_disabled_stream_is_no_stream_that_is_told_of_nothing_by_mistake(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream(status="disabled"))
        streams.add(conn, SEALER, stream("s-2", status="paused"))
        assert streams.without_tenant(conn) == ["s-2"]
