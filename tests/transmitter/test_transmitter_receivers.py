"""Receivers prove who they are with a secret, then a token; the store holds neither."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline.transmitter.store import audit, queue, receivers, streams
from pipeline.transmitter.store.audit import AuditEntry
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.receivers import BadReceiverError, Receiver
from pipeline.transmitter.store.tables import receivers as table
from pipeline.transmitter.store.tables import tokens
from tests.support.stores import NOW, SEALER, stream, token

BOTH = ("ssf.read", "ssf.manage")
ME = Receiver("me", "https://me.example", frozenset(BOTH), NOW)
ODD = ["", "\x00", "\ud800", "x" * 5_000, "m e"]


def _add(store: Store, name: str = "me", scopes: tuple[str, ...] = BOTH) -> str:
    with store.begin() as conn:
        return receivers.add(conn, name, "https://me.example", scopes, NOW)


def test_a_receiver_is_known_by_its_secret_and_by_nothing_else(store: Store) -> None:
    secret, others = _add(store), _add(store, "other")

    with store.read() as conn:
        assert receivers.check(conn, "me", secret) == ME
        for wrong in (others, secret[:-1], secret + "x", *ODD):
            assert receivers.check(conn, "me", wrong) is None
        for name in ("you", *ODD):
            assert receivers.check(conn, name, secret) is None


def test_a_receiver_may_be_of_one_tenant(store: Store) -> None:
    with store.begin() as conn:
        secret = receivers.add(conn, "theirs", "aud", BOTH, NOW, "acme")
        outside = receivers.ensure(conn, "outside", "aud", BOTH, NOW, "acme")
        token = receivers.issue(conn, "theirs", BOTH, NOW, 1_000)
        _known = receivers.check(conn, "theirs", secret), receivers.holder(conn, token, NOW), outside

    assert [receiver.tenant for receiver in _known if receiver] == ["acme"] * 3


def test_secrets_and_tokens_are_not_in_the_store(store: Store) -> None:
    secret = _add(store)
    with store.begin() as conn:
        access = receivers.issue(conn, "me", BOTH, NOW, 1_000)
        kept = [*conn.execute(select(table.c.secret_hash)).one(), *conn.execute(select(tokens)).one()]

    assert len(secret) == len(access) == 43
    assert not any(text in str(value) for text in (secret, access) for value in kept)
    assert kept[0].startswith("scrypt$4096$8$1$")


def test_two_receivers_with_one_secret_would_have_two_hashes(store: Store) -> None:
    assert receivers._secret_hash("same", b"a" * 16) != receivers._secret_hash("same", b"b" * 16)


def test_a_name_nobody_has_costs_the_same_work_as_a_wrong_secret(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(store)
    with store.begin() as conn:
        receivers.ensure(conn, "outside", "aud", BOTH, NOW)
    hashed, work = receivers._secret_hash, []

    def counting(secret: str, salt: bytes, cost: str) -> str:
        work.append((len(salt), cost))
        return hashed(secret, salt, cost)

    monkeypatch.setattr(receivers, "_secret_hash", counting)
    with store.read() as conn:
        for name in ("me", "nobody", "outside", "\x00"):
            receivers.check(conn, name, "wrong")

    assert work == [(16, "4096$8$1")] * 4


def test_a_secret_is_known_as_it_was_hashed_when_it_was_made(store: Store) -> None:
    _add(store)
    with store.begin() as conn:
        conn.execute(table.update().values(secret_hash=receivers._secret_hash("old", b"s" * 16, "16384$8$1")))
        assert receivers.check(conn, "me", "old") == ME


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 129, "ä"])
def test_a_name_that_cannot_be_one_is_refused(store: Store, name: str) -> None:
    with pytest.raises(BadReceiverError, match="a name is 1 to 128 letters"):
        _add(store, name)


def test_a_name_is_given_once_also_after_it_was_revoked(store: Store) -> None:
    _add(store)
    with pytest.raises(BadReceiverError, match="me: there is or was a receiver of this name"):
        _add(store)
    with store.begin() as conn:
        receivers.revoke(conn, "me", NOW)
    with pytest.raises(BadReceiverError, match="choose another"):
        _add(store)


def test_a_token_is_good_for_its_time_and_its_scopes(store: Store) -> None:
    _add(store)
    with store.begin() as conn:
        access = receivers.issue(conn, "me", ["ssf.read"], NOW, 1_000)

    with store.read() as conn:
        found = receivers.holder(conn, access, NOW + 999)
        assert found == Receiver("me", "https://me.example", frozenset({"ssf.read"}), NOW)
        assert receivers.holder(conn, access, NOW + 1_000) is None
        for wrong in (access[:-1], access + "x", *ODD):
            assert receivers.holder(conn, wrong, NOW) is None


def test_a_token_is_taken_back_by_its_own_receiver_only(store: Store) -> None:
    _add(store), _add(store, "other")
    with store.begin() as conn:
        access, further = (receivers.issue(conn, "me", BOTH, NOW, 1_000) for _ in range(2))
        done = [receivers.revoke_token(conn, access, name) for name in ("other", "me", "me")]
        assert receivers.holder(conn, access, NOW) is None
        assert receivers.holder(conn, further, NOW) == ME

    assert done == [False, True, False]


def test_with_a_receiver_end_its_secret_its_tokens_and_its_streams(store: Store) -> None:
    secret = _add(store)
    with store.begin() as conn:
        access = receivers.issue(conn, "me", BOTH, NOW, 1_000)
        streams.add(conn, SEALER, stream(receiver_id="me"))
        streams.add(conn, SEALER, stream("s-2", receiver_id="other"))
        queue.put(conn, [token("a1"), token("b1", "s-2")], NOW)
        done = [receivers.revoke(conn, name, NOW + 1) for name in ("me", "me", "nobody")]

        assert done == [True, False, False]
        assert receivers.check(conn, "me", secret) is None
        assert receivers.holder(conn, access, NOW) is None
        assert receivers.every(conn) == [Receiver("me", ME.aud, ME.scopes, NOW, NOW + 1)]
        assert conn.scalars(select(tokens.c.receiver_id)).all() == []
        assert [this_stream.status for this_stream in streams.every(conn, SEALER)] == ["disabled", "enabled"]
        assert (queue.backlog_size(conn, "s-1")[0], queue.backlog_size(conn, "s-2")[0]) == (0, 1)


def test_a_token_issued_while_its_receiver_is_revoked_is_good_for_nothing(store: Store) -> None:
    _add(store)
    with store.begin() as conn:
        receivers.revoke(conn, "me", NOW)
        access = receivers.issue(conn, "me", BOTH, NOW, 1_000)
        assert receivers.holder(conn, access, NOW) is None


def test_a_receiver_of_an_authorization_server_outside_has_no_secret_here(store: Store) -> None:
    with store.begin() as conn:
        with pytest.raises(BadReceiverError, match="1 to 128 visible characters"):
            receivers.ensure(conn, "a b", "aud-1", BOTH, NOW)
        first = receivers.ensure(conn, "auth0|sub:1", "aud-1", ["ssf.read"], NOW)
        again = receivers.ensure(conn, "auth0|sub:1", "aud-2", BOTH, NOW + 5)
        for secret in ("", "x"):
            assert receivers.check(conn, "auth0|sub:1", secret) is None
        receivers.revoke(conn, "auth0|sub:1", NOW + 9)
        later = receivers.ensure(conn, "auth0|sub:1", "aud-2", BOTH, NOW + 10)

    assert first == again == Receiver("auth0|sub:1", "aud-1", frozenset({"ssf.read"}), NOW, outside=True)
    assert later.revoked_at == NOW + 9


@pytest.mark.parametrize(
    ("scopes", "read", "manage"),
    [({"ssf.read"}, True, False), ({"ssf.manage"}, True, True), (set(), False, False)],
)
def test_who_may_manage_may_read(scopes: set[str], read: bool, manage: bool) -> None:
    receiver = Receiver("me", "aud", frozenset(scopes))

    assert (receiver.may("ssf.read"), receiver.may("ssf.manage")) == (read, manage)


def test_expired_tokens_are_purged(store: Store) -> None:
    _add(store)
    with store.begin() as conn:
        receivers.issue(conn, "me", BOTH, NOW, 1_000)
        kept = receivers.issue(conn, "me", BOTH, NOW, 2_000)
        assert receivers.purge(conn, NOW + 1_000) == 1
        assert receivers.holder(conn, kept, NOW) == ME


def test_calls_are_noted_and_shown_newest_first(store: Store) -> None:
    odd = AuditEntry(NOW + 2, "delete\x00stream" + "x" * 99, 404, "r" * 999, "a" * 99, "\ud800" + "s" * 99)
    noted = AuditEntry(NOW, "create stream", 201, "me", "192.0.2.1", "s-1")
    bare = AuditEntry(NOW + 1, "read streams", 401)
    with store.begin() as conn:
        for call in (noted, bare, odd):
            audit.insert_entry(conn, call)

    with store.read() as conn:
        cut = AuditEntry(NOW + 2, "delete stream" + "x" * 51, 404, "r" * 128, "a" * 64, "s" * 64)
        assert audit.recent(conn) == [cut, bare, noted]
        assert audit.recent(conn, 2) == [cut, bare]
        assert audit.recent(conn, receiver_id="me") == [noted]


def test_old_calls_are_purged_a_bounded_number_at_a_time(store: Store) -> None:
    with store.begin() as conn:
        for at in range(4):
            audit.insert_entry(conn, AuditEntry(NOW + at, "x", 200))
        counts = [audit.purge(conn, NOW + 3, limit=2) for _ in range(3)]
        assert [noted.at for noted in audit.recent(conn)] == [NOW + 3]

    assert counts == [2, 1, 0]
