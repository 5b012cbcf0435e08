"""What is written down of calls: all that receivers ask, and within bounds what strangers are refused."""

from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.transmitter.api import rate_limits
from pipeline.transmitter.api.rate_limits import MAX_SINGLE_ROWS, UPDATE_MS, AuditWriter
from pipeline.transmitter.store import audit
from pipeline.transmitter.store.audit import AuditEntry
from pipeline.transmitter.store.database import Store
from tests.support.stores import NOW
from tests.support.transmitter_api import Api, new_api

GUESS = "a guess"
HERE = "192.0.2.7"


def _noted(api: Api) -> list[AuditEntry]:
    """All that is in the log, the oldest first."""
    with api.services.store.read() as conn:
        return list(reversed(audit.recent(conn, 10_000)))


def _refuse(api: Api, count: int) -> None:
    for _ in range(count):
        assert api.ask("POST", "/ssf/verify", {}).status == 401


def test_every_managing_call_is_written_down_with_who_where_what_and_status(tmp_path: Path) -> None:
    api = new_api(tmp_path)
    secret, token = api.secret("idp"), api.token()
    stream = api.stream(token)["stream_id"]
    fields = {"stream_id": stream}
    api.ask("PATCH", "/ssf/stream", {**fields, "aud": "another"}, token=token)
    api.ask("POST", "/ssf/verify", fields, token=api.token(name="other"))
    api.ask("DELETE", f"/ssf/stream?stream_id={stream}")
    api.ask("POST", f"/ssf/poll/{stream}", {"returnImmediately": True}, token=token)
    api.ask("POST", f"/ssf/poll/{stream}", {"returnImmediately": True})
    api.form("/oauth/token", basic=("idp", secret), grant_type="client_credentials")
    api.form("/oauth/token", client_id="idp", client_secret=GUESS, grant_type="client_credentials")
    api.ask("GET", "/health")

    with api.services.store.read() as conn:
        noted = list(reversed(audit.recent(conn)))
    assert noted == [
        AuditEntry(api.now, action, status, subject, "192.0.2.7", which)
        for action, status, subject, which in [
            ("POST /ssf/stream", 201, "idp", stream),
            ("PATCH /ssf/stream", 400, "idp", stream),
            ("POST /ssf/verify", 404, "other", stream),
            ("DELETE /ssf/stream", 401, None, None),
            ("POST /ssf/poll", 401, None, stream),
            ("POST /oauth/token", 200, "idp", None),
            ("POST /oauth/token", 401, "idp", None),
        ]
    ]
    api.services.store.close()


def test_nothing_secret_is_written_down(tmp_path: Path) -> None:
    api = new_api(tmp_path)
    secret = api.secret("idp")
    given = api.form("/oauth/token", basic=("idp", secret), grant_type="client_credentials").json
    hook = {"method": "urn:ietf:rfc:8935", "endpoint_url": "https://idp.example.com/events"}
    api.stream(given["access_token"], delivery={**hook, "authorization_header": "Bearer of-theirs"})
    api.services.store.close()

    dump = "\n".join(sqlite3.connect(tmp_path / "store.db").iterdump())

    assert [word for word in (secret, given["access_token"], "of-theirs") if word in dump] == []


def test_of_what_strangers_are_refused_some_is_written_one_by_one_and_the_rest_counted(api: Api) -> None:
    began = api.now
    _refuse(api, MAX_SINGLE_ROWS + 1)
    _refuse(api, 6)
    noted = AuditEntry(began, "POST /ssf/verify", 401, None, HERE)
    assert _noted(api) == [noted] * MAX_SINGLE_ROWS + [AuditEntry(began, "1 more refused call", 401, None, HERE)]

    api.now += UPDATE_MS
    _refuse(api, 2)
    assert _noted(api)[-1] == AuditEntry(began + UPDATE_MS, "8 more refused calls", 401, None, HERE)

    api.now = began + 60_000
    api.stream(api.token())
    rest = AuditEntry(began + UPDATE_MS, "9 more refused calls", 401, None, HERE)
    assert _noted(api)[:-1] == [noted] * MAX_SINGLE_ROWS + [rest]
    assert _noted(api)[-1].status == 201


def test_of_many_strangers_together_no_more_is_written(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_STRANGER_ROWS", 5)
    for number in range(20):
        api.address = f"198.51.100.{number}"
        _refuse(api, 1)
    api.now += UPDATE_MS
    _refuse(api, 1)

    noted = _noted(api)
    assert [this_noted.address for this_noted in noted] == [
        *(f"198.51.100.{number}" for number in range(5)),
        None,
    ]
    assert noted[-1].action == "16 more refused calls"
    api.now += 60_000
    _refuse(api, 1)
    assert [this_noted.action for this_noted in _noted(api)[5:]] == [
        "16 more refused calls",
        "POST /ssf/verify",
    ]


def test_a_receiver_s_calls_are_all_written_whatever_strangers_do(api: Api) -> None:
    token = api.token()
    for _ in range(3 * MAX_SINGLE_ROWS):
        _refuse(api, 1)
        api.ask("GET", "/ssf/status?stream_id=none", token=token)

    mine = [noted for noted in _noted(api) if noted.receiver_id == "idp"]
    assert mine == [AuditEntry(api.now, "GET /ssf/status", 404, "idp", HERE, "none")] * 3 * MAX_SINGLE_ROWS


def test_a_receiver_that_asks_too_often_is_counted_by_name(tmp_path: Path) -> None:
    api = new_api(tmp_path, requests_per_minute=2)
    token = api.token()

    asked = [api.ask("GET", "/ssf/stream", token=token).status for _ in range(2 + MAX_SINGLE_ROWS + 1)]

    assert asked == [200, 200] + [429] * (MAX_SINGLE_ROWS + 1)
    assert _noted(api) == [
        *[AuditEntry(api.now, "GET /ssf/stream", 200, "idp", HERE)] * 2,
        *[AuditEntry(api.now, "GET /ssf/stream", 429, "idp", HERE)] * MAX_SINGLE_ROWS,
        AuditEntry(api.now, "1 more refused call", 429, "idp", HERE),
    ]
    api.services.store.close()


def test_what_many_threads_count_at_once_is_one_row_with_their_number(store: Store) -> None:
    written = AuditWriter(store)

    def refuse(number: int) -> None:
        written.write_bounded(AuditEntry(NOW + number, "POST /ssf/verify", 401, None, HERE), "somebody")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(refuse, range(400)))
    written.write(AuditEntry(NOW + 60_000, "GET /ssf/stream", 200, "idp", HERE))

    with store.read() as conn:
        found = [(noted.action, noted.status) for noted in reversed(audit.recent(conn, 1000))]
    assert Counter(found) == {
        ("POST /ssf/verify", 401): MAX_SINGLE_ROWS,
        (f"{400 - MAX_SINGLE_ROWS} more refused calls", 401): 1,
        ("GET /ssf/stream", 200): 1,
    }
