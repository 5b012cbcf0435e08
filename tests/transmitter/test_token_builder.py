"""From records to tokens in the queues of streams."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jwt
import pytest

from pipeline.transmitter.protocol import CAEP, Stream, Subject
from pipeline.transmitter.store import revocations, streams
from pipeline.transmitter.store.database import Store, StoreError
from pipeline.transmitter.tokens.builder import BuildResult, TokenBuilder
from pipeline.transmitter.tokens.claims import jti_of, lane_of
from tests.support.transmitter_records import (
    ISSUER,
    T0,
    ack,
    credential,
    decision,
    knowing,
    queued,
    revocation,
    stream,
    token_builder,
)

REVOKED = f"{CAEP}session-revoked"
ANA = {"format": "iss_sub", "iss": ISSUER, "sub": "ana"}


class Counted:
    """Signs as another does, and counts."""

    def __init__(self, signer: Any) -> None:
        self.signer = signer
        self.signed = 0

    def refresh(self, conn: Any) -> bool:
        return bool(self.signer.refresh(conn))

    def sign_many(self, many: Any) -> Any:
        given = list(many)
        self.signed += len(given)
        return self.signer.sign_many(given)


def making(store: Store, *received: Stream) -> tuple[TokenBuilder, Counted]:
    made = token_builder(knowing(store, *received))
    made.signer = counted = Counted(made.signer)  # type: ignore[assignment] # it signs
    return made, counted


def claims(row: Any) -> Mapping[str, Any]:
    fields: dict[str, Any] = jwt.decode(row.jwt, options={"verify_signature": False})
    return fields


def test_all_that_records_say_is_in_every_queue_in_their_order(store: Store) -> None:
    made, _ = making(store, stream("st-1"), stream("st-2", events_requested=(REVOKED,)))

    taken = made.build([revocation(), decision("device_rooted"), credential()], T0)

    rows = queued(made.store)
    assert [(row.stream_id, row.event, row.jti, row.txn, row.revocation_id) for row in rows] == [
        ("st-1", "session-revoked", jti_of("d-1", "st-1", "session-revoked"), "d-1", "r-1"),
        ("st-2", "session-revoked", jti_of("d-1", "st-2", "session-revoked"), "d-1", "r-1"),
        ("st-1", "risk-level-change", jti_of("d-1", "st-1", "risk-level-change"), "d-1", None),
        ("st-1", "device-compliance-change", jti_of("d-1", "st-1", "device-compliance-change"), "d-1", None),
        ("st-1", "credential-change", claims(rows[4])["jti"], "e-1", None),
    ]
    assert {row.lane for row in rows} == {lane_of(Subject("default", principal_id="ana"))}
    assert [claims(row)["jti"] for row in rows] == [row.jti for row in rows]
    one_each = {
        "session-revoked": 1,
        "risk-level-change": 1,
        "device-compliance-change": 1,
        "credential-change": 1,
    }
    assert taken == BuildResult(
        stream_ids={"st-1", "st-2"},
        events=Counter(one_each),
        queued=Counter({**one_each, "session-revoked": 2}),
        skipped=Counter({"event": 3}),
        commands=Counter({"opened": 1}),
    )


def test_what_is_read_again_makes_nothing_new_and_is_not_even_signed(store: Store) -> None:
    made, signer = making(store, stream())
    decoded_records = [revocation(), decision("device_rooted"), credential()]
    made.build(decoded_records, T0)
    before = queued(made.store)

    taken = made.build(decoded_records, T0 + 60_000)

    assert queued(made.store) == before
    assert signer.signed == 4
    assert (taken.stream_ids, taken.queued, taken.commands) == (set(), Counter(), Counter({"seen": 1}))


def test_a_command_that_is_sent_again_makes_no_new_token(store: Store) -> None:
    made, _ = making(store, stream())
    made.build([revocation()], T0)

    taken = made.build([revocation(deadline=T0 + 180_000)], T0 + 60_000)

    assert (len(queued(made.store)), taken.commands) == (1, Counter({"resent": 1}))


def test_the_word_of_an_enforcer_closes_the_command_and_tells_how_long_it_took(store: Store) -> None:
    made, _ = making(store)

    taken = made.build([revocation(), ack()], T0)

    assert (taken.commands, taken.confirmed) == (Counter({"opened": 1, "confirmed": 1}), [2.0])


def test_where_tenants_are_strangers_a_stream_without_one_is_told_of_nothing(store: Store) -> None:
    made, _ = making(store, stream("st-1"), stream("st-2", tenant="default"))
    made.tenancy = True

    taken = made.build([revocation()], T0)

    assert [item.stream_id for item in queued(store)] == ["st-2"]
    assert taken.skipped == Counter({"tenant": 1})


def test_a_paused_stream_is_kept_its_tokens_and_a_disabled_one_none(store: Store) -> None:
    made, signer = making(store, stream("st-1", status="paused"), stream("st-2", status="disabled"))

    taken = made.build([revocation()], T0)

    assert [row.stream_id for row in queued(made.store)] == ["st-1"]
    assert (taken.skipped, signer.signed) == (Counter({"status": 1}), 1)


def test_a_subject_that_the_receiver_took_out_is_not_told_to_it(store: Store) -> None:
    made, signer = making(store, stream("st-1"), stream("st-2"))
    with made.store.begin() as conn:
        streams.set_subject(conn, "st-1", ANA, included=False)

    taken = made.build([revocation()], T0)

    assert [row.stream_id for row in queued(made.store)] == ["st-2"]
    assert (taken.skipped, signer.signed) == (Counter({"excluded": 1}), 1)


def test_a_principal_without_a_name_is_counted_and_said_once_without_naming_anybody(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = making(store, stream(subject_form="email"))

    with caplog.at_level(logging.WARNING):
        taken = made.build([revocation(), revocation(decision_id="d-2", revocation_id="r-2")], T0)

    assert queued(made.store) == []
    assert taken.skipped == Counter({"unnamed": 2})
    (text,) = caplog.messages
    assert text.startswith("stream st-1 does not get every session-revoked in tenant default: a principal")
    assert "ana" not in text


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_a_stream_that_goes_while_its_tokens_are_signed_gets_none(store: Store, how: str) -> None:
    made, signer = making(store, stream("st-1"), stream("st-2"))
    sign_many = signer.signer.sign_many

    def and_then_it_goes(many: Any) -> Any:
        with made.store.begin() as conn:
            if how == "removed":
                streams.remove(conn, "st-1", T0)
            else:
                streams.set_status(conn, "st-1", "disabled", None, T0)
        return sign_many(many)

    signer.signer.sign_many = and_then_it_goes

    taken = made.build([revocation()], T0)

    assert [row.stream_id for row in queued(made.store)] == ["st-2"]
    assert taken.skipped == Counter({"gone": 1})


def test_where_the_store_fails_nothing_is_kept_and_the_next_try_keeps_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = making(store, stream())
    decoded_records = [revocation(), decision("device_rooted"), ack()]

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(revocations, "confirm", fail)
        with pytest.raises(StoreError):
            made.build(decoded_records, T0)
    assert queued(made.store) == []
    with made.store.read() as conn:
        assert revocations.list_commands(conn) == []

    taken = made.build(decoded_records, T0)

    assert [row.event for row in queued(made.store)] == [
        "session-revoked",
        "risk-level-change",
        "device-compliance-change",
    ]
    assert taken.commands == Counter({"opened": 1, "confirmed": 1})


@pytest.mark.parametrize("most", [3, 1], ids=["in one batch", "from batch to batch"])
def test_a_device_is_told_anew_only_when_it_changed(store: Store, most: int) -> None:
    made, _ = making(store, stream(events_requested=(f"{CAEP}device-compliance-change",)))
    fell = decision("device_rooted")
    still = decision("device_hooked", decision_id="d-2", occurred_at=T0 + 1, session_id="s-2")
    healed = decision(decision_id="d-3", occurred_at=T0 + 2, session_id="s-2")

    received_about = [fell, still, healed]
    for first in range(0, len(received_about), most):
        made.build(received_about[first : first + most], T0)
    made.build([healed], T0)

    details = [next(iter(claims(row)["events"].values()))["current_status"] for row in queued(made.store)]
    assert details == ["not-compliant", "compliant"]


def test_an_overdue_command_is_found_once(store: Store) -> None:
    made, _ = making(store)
    made.build([revocation()], T0)

    assert [made.overdue(T0), made.overdue(T0 + 60_001), made.overdue(T0 + 60_002)] == [0, 1, 0]


def test_a_command_and_its_reminders_heard_together_make_one_token_that_is_signed_once(store: Store) -> None:
    made, signer = making(store, stream())
    sends = [revocation(deadline=T0 + 60_000 * sent) for sent in (1, 3, 7)]

    taken = made.build(sends, T0 + 600_000)

    assert [row.event for row in queued(made.store)] == ["session-revoked"]
    assert (signer.signed, taken.queued) == (1, Counter({"session-revoked": 1}))
    assert taken.commands == Counter({"opened": 1, "resent": 2})


def test_a_session_that_was_signed_out_and_is_revoked_then_is_told_as_any_other(store: Store) -> None:
    made, _ = making(store, stream(subject_form="complex"))

    made.build([credential("sign_out"), revocation(decided_at=T0 + 1), ack(outcome="not_found")], T0 + 1)

    (row,) = queued(made.store)
    assert claims(row)["sub_id"]["session"] == {"format": "opaque", "id": "s-1"}
    with made.store.read() as conn:
        assert [command.state for command in revocations.list_commands(conn)] == ["confirmed"]


def test_where_decisions_leave_with_pseudonyms_a_complex_stream_is_told_of_sessions_and_others_of_nobody(
    store: Store,
) -> None:
    made, _ = making(store, stream("st-1", subject_form="complex"), stream("st-2"))
    hidden = {"principal_id": f"p:k1:{'A' * 22}", "device_id": f"p:k1:{'B' * 22}"}

    taken = made.build([decision("device_rooted", **hidden)], T0)

    (row,) = queued(made.store)
    assert claims(row)["sub_id"] == {
        "format": "complex",
        "session": {"format": "opaque", "id": "s-1"},
        "tenant": {"format": "opaque", "id": "default"},
    }
    assert (row.stream_id, row.event) == ("st-1", "risk-level-change")
    assert taken.skipped == Counter({"unnamed": 3})


@pytest.mark.parametrize("odd", ["ä" * 64, "a\nb\x1b[2J", "{principal}", "%s", "'; --", "\u202eacme", "p:k1:x"])
def test_a_tenant_and_ids_of_whatever_characters_and_length_are_told_as_they_are(
    store: Store, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = making(store, stream("st-1", subject_form="complex"), stream("st-2", subject_form="email"))
    name = (odd * 128)[:128]
    subject = {"tenant": odd, "session_id": name, "principal_id": name}

    decoded_records = [
        revocation(**subject, decision_id=name, revocation_id=name),
        decision("device_rooted", **subject, device_id=name, decision_id=name),
        credential(**subject, event_id=name),
        ack(tenant=odd, session_id=name, revocation_id=name, enforcer=name),
    ]
    with caplog.at_level(logging.WARNING):
        taken = made.build(decoded_records, T0)
        again = made.build(decoded_records, T0)

    records = [claims(row) for row in queued(made.store)]
    assert [fields["txn"] for fields in records] == [name] * 4
    assert [fields["sub_id"]["tenant"]["id"] for fields in records] == [odd] * 4
    assert records[0]["sub_id"]["session"]["id"] == records[0]["sub_id"]["user"]["sub"] == name
    assert (taken.commands, again.queued) == (Counter({"opened": 1, "confirmed": 1}), Counter())
    assert [text for text in caplog.messages if {"\n", "\x1b"} & set(text)] == []
