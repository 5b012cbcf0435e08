"""One token of every event, on demand: `session-risk transmitter rehearse`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.settings.loading import load_transmitter
from pipeline.transmitter.protocol import CAEP, EVENTS, Subject
from pipeline.transmitter.sample_events import PAYLOADS, NoSampleError, queue_samples
from pipeline.transmitter.sample_events import open_builder as prepared
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import open_configured_store
from tests.support.transmitter_records import T0, knowing, new_store, queued, stream, token_builder

ANA = Subject("default", principal_id="ana")


def test_a_stream_is_told_of_every_event_it_takes_with_the_words_of_each_type(tmp_path: Path) -> None:
    made = token_builder(new_store(tmp_path, stream("st-1"), stream("st-2")))

    assert queue_samples(made, "st-1", ANA, T0) == list(PAYLOADS)

    assert [row.stream_id for row in queued(made.store)] == ["st-1"] * 4
    for row in queued(made.store):
        claims = jwt.decode(row.jwt, options={"verify_signature": False})
        type_ = EVENTS[row.event]
        payload = claims["events"][type_.uri]
        assert payload["reason_admin"] == {"en": "This is a rehearsal: nothing happened."}
        assert set(type_.required) <= set(payload)
        for member, allowed in (type_.values or {}).items():
            assert payload[member] in allowed


def test_every_event_that_is_supported_is_rehearsed() -> None:
    assert set(PAYLOADS) == {row.name for row in EVENTS.values() if not row.control}


def test_a_rehearsal_may_be_had_again_and_leaves_out_what_was_not_asked_for(tmp_path: Path) -> None:
    made = token_builder(new_store(tmp_path, stream(events_requested=(f"{CAEP}session-revoked",))))

    assert queue_samples(made, "st-1", ANA, T0) == ["session-revoked"]
    assert queue_samples(made, "st-1", ANA, T0 + 1) == ["session-revoked"]
    assert len(queued(made.store)) == 2


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"status": "disabled"}, "it is disabled"),
        ({"tenant": "acme"}, "it belongs to another tenant"),
        ({"events_requested": ()}, "it requested no supported event"),
        ({"subject_form": "email"}, "the principal has no identifier there"),
        ({"stream_id": "st-2"}, "there is no such stream"),
    ],
)
def test_where_nothing_can_be_said_the_reason_is(tmp_path: Path, members: dict[str, Any], why: str) -> None:
    made = token_builder(new_store(tmp_path, stream(**members)))

    with pytest.raises(NoSampleError, match=f"st-1 gets no token: {why}"):
        queue_samples(made, "st-1", ANA, T0)
    assert queued(made.store) == []


@pytest.mark.parametrize(("tenant", "received"), [(None, False), ("acme", False), ("default", True)])
def test_where_tenants_are_strangers_a_rehearsal_is_of_the_stream_s_own(
    tmp_path: Path, tenant: str | None, received: bool
) -> None:
    store = new_store(tmp_path, stream(tenant=tenant))
    made = prepared(store, load_transmitter(alg="ES256"), T0, tenancy=True)

    if received:
        assert queue_samples(made, "st-1", ANA, T0) == list(PAYLOADS)
    else:
        with pytest.raises(NoSampleError, match="it belongs to another tenant, or with SESSION_RISK_TENANCY to none"):
            queue_samples(made, "st-1", ANA, T0)
    assert len(queued(store)) == (4 if received else 0)


def test_a_subject_that_was_taken_out_is_not_rehearsed_with(tmp_path: Path) -> None:
    made = token_builder(new_store(tmp_path, stream()))
    with made.store.begin() as conn:
        subject = {"format": "iss_sub", "iss": made.issuer, "sub": "ana"}
        streams.set_subject(conn, "st-1", subject, included=False)

    with pytest.raises(NoSampleError, match="its receiver removed this subject"):
        queue_samples(made, "st-1", ANA, T0)


def test_the_command_says_what_the_stream_is_told_or_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", f"sqlite:///{tmp_path / 'mine.db'}")
    open_configured_store(load_transmitter()).close()

    done = CliRunner().invoke(main, ["transmitter", "rehearse", "st-9", "--principal", "ana"])

    assert (done.exit_code, done.output.strip()) == (
        1,
        "session-risk: st-9 gets no token: there is no such stream",
    )


@pytest.mark.parametrize("tenancy", ["true", "false"])
def test_the_command_rehearses_as_the_transmitter_that_runs_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenancy: str
) -> None:
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", f"sqlite:///{tmp_path / 'mine.db'}")
    monkeypatch.setenv("SESSION_RISK_TENANCY", tenancy)
    store = knowing(open_configured_store(load_transmitter()), stream())

    done = CliRunner().invoke(main, ["transmitter", "rehearse", "st-1", "--principal", "ana"])

    assert (done.exit_code, len(queued(store))) == ((1, 0) if tenancy == "true" else (0, 4))
    store.close()
