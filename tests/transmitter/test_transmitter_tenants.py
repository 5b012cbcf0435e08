"""Whose sessions a stream hears of: its receiver's tenant, given at first or later, or what the file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.transmitter.static_streams import BadStreamsError, DeclaredStreamChanges, read_streams, sync_declared
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.receivers import BadReceiverError
from pipeline.transmitter.tokens.builder import TokenBuilder
from tests.support.stores import NOW, SEALER, stream
from tests.support.transmitter_records import queued, revocation, token_builder

BOTH = ("ssf.read", "ssf.manage")
POLLED = '[streams.p]\naud = "a"\nmethod = "poll"\nreceiver = "poll-client"\n'
OF_ACME, OF_OTHER = (f'{POLLED}tenant = "{tenant}"\n' for tenant in ("acme", "other"))
TAKE_OUT = (
    "poll-client: its stream declared-p has the tenant other in the file of "
    "SESSION_RISK_TRANSMITTER_STREAMS_FILE; remove that first, and restart the transmitter"
)


def _bring(store: Store, folder: Path, text: str) -> DeclaredStreamChanges:
    path = folder / "streams.toml"
    path.write_text(text, "utf-8")
    with store.begin() as conn:
        return sync_declared(conn, SEALER, read_streams(path), NOW)


def _client(store: Store, tenant: str | None = None, name: str = "poll-client") -> None:
    with store.begin() as conn:
        receivers.add(conn, name, "a", BOTH, NOW, tenant)


def _assign(store: Store, tenant: str | None, name: str = "poll-client") -> bool:
    with store.begin() as conn:
        return receivers.assign(conn, name, tenant)


def _deliveries(store: Store) -> list[str | None]:
    with store.read() as conn:
        return [this_stream.tenant for this_stream in streams.every(conn, SEALER)]


def _strict(store: Store) -> TokenBuilder:
    made = token_builder(store)
    made.tenancy = True
    return made


# --- Given later ---


def test_a_tenant_that_is_given_later_is_that_of_every_stream_from_then_on(store: Store) -> None:
    _client(store, name="r-1")
    with store.begin() as conn:
        for name in ("s-1", "s-2"):
            streams.add(conn, SEALER, stream(name))
        streams.add(conn, SEALER, stream("s-3", receiver_id="r-2", created_at=NOW + 1))

    steps = [(_assign(store, tenant, "r-1"), _deliveries(store)) for tenant in ("acme", "globex", None)]

    assert steps == [
        (True, ["acme", "acme", None]),
        (True, ["globex", "globex", None]),
        (True, [None, None, None]),
    ]


def test_a_stream_made_for_another_tenant_is_not_left_behind(store: Store) -> None:
    _client(store, "acme", "r-1")
    with store.begin() as conn:
        streams.add(conn, SEALER, stream(tenant="acme"))

    _assign(store, None, "r-1")

    assert _deliveries(store) == [None]


def test_a_receiver_that_is_not_there_or_revoked_is_given_none(store: Store) -> None:
    _client(store)
    with store.begin() as conn:
        receivers.revoke(conn, "poll-client", NOW)

    assert [_assign(store, "acme"), _assign(store, "acme", "nobody")] == [False, False]


@pytest.mark.parametrize("tenant", ["", "x" * 65, "a\x00b", "\ud800"])
def test_a_tenant_that_no_event_can_have_is_refused(store: Store, tenant: str) -> None:
    _client(store)

    for refused in (
        lambda: _assign(store, tenant),
        lambda: _client(store, tenant, "new"),
    ):
        with pytest.raises(BadReceiverError, match="a tenant is 1 to 64 characters"):
            refused()
    with store.read() as conn:
        assert [(receiver.receiver_id, receiver.tenant) for receiver in receivers.every(conn)] == [
            ("poll-client", None)
        ]


def test_nobody_takes_the_name_of_a_declared_streams_receiver(store: Store) -> None:
    with store.begin() as conn:
        for refused in (receivers.add, receivers.ensure):
            with pytest.raises(BadReceiverError, match="does not begin with declared-"):
                refused(conn, "declared-okta", "a", BOTH, NOW)
        assert receivers.every(conn) == []


# --- Declared for a receiver ---


def test_a_stream_declared_for_a_receiver_hears_of_its_tenant_with_tenancy_too(store: Store, tmp_path: Path) -> None:
    _client(store, "default")
    _bring(store, tmp_path, POLLED)

    _strict(store).build([revocation(), revocation(tenant="acme", decision_id="d-2", revocation_id="r-2")], NOW)

    assert [(row.stream_id, row.txn) for row in queued(store)] == [("declared-p", "d-1")]


def test_whichever_comes_first_the_stream_is_of_its_receivers_tenant_and_the_file_is_as_it_was(
    store: Store, tmp_path: Path
) -> None:
    done = [_bring(store, tmp_path, POLLED)]
    before = _deliveries(store)
    _client(store, "acme")
    done.append(_bring(store, tmp_path, POLLED))

    assert (before, _deliveries(store)) == ([None], ["acme"])
    assert done == [DeclaredStreamChanges(added=("p",)), DeclaredStreamChanges()]


@pytest.mark.parametrize("tenant", ["acme", None])
def test_the_file_may_say_the_same_or_what_nobody_said(store: Store, tmp_path: Path, tenant: str | None) -> None:
    _client(store, tenant)
    _bring(store, tmp_path, OF_ACME)

    assert _deliveries(store) == ["acme"]
    assert _bring(store, tmp_path, POLLED) == DeclaredStreamChanges(changed=("p",))
    assert _deliveries(store) == [tenant]


def test_a_stream_that_says_another_tenant_than_its_receivers_is_refused_and_changes_nothing(
    store: Store, tmp_path: Path
) -> None:
    _client(store, "acme")
    _bring(store, tmp_path, POLLED)

    with pytest.raises(BadStreamsError) as refused:
        _bring(store, tmp_path, OF_OTHER)

    assert str(refused.value) == (
        "[streams.p]: tenant: other differs from acme, the tenant of its receiver poll-client; "
        "remove it, or change the receiver's with `session-risk transmitter clients tenant`"
    )
    assert _deliveries(store) == ["acme"]


def test_a_receiver_is_given_no_tenant_that_its_declared_stream_gainsays(store: Store, tmp_path: Path) -> None:
    _bring(store, tmp_path, OF_OTHER)
    with pytest.raises(BadReceiverError) as added:
        _client(store, "acme")
    _client(store)
    with pytest.raises(BadReceiverError) as assigned:
        _assign(store, "acme")

    assert str(added.value) == str(assigned.value) == TAKE_OUT
    assert _deliveries(store) == ["other"]
    assert [_assign(store, "other"), _assign(store, None)] == [True, True]
    _bring(store, tmp_path, POLLED)
    assert _assign(store, "acme")
    assert _deliveries(store) == ["acme"]
