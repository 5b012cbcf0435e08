"""Streams declared in a file: brought into the store, kept as they stand there, removed with their table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.transmitter.protocol import EVENTS, POLL, PUSH, Stream
from pipeline.transmitter.static_streams import BadStreamsError, DeclaredStreamChanges, read_streams, sync_declared
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from tests.support.stores import NOW, SEALER, stream, token

OKTA = """
[streams.okta]
aud = "https://example.okta.com"
endpoint_url = "https://example.okta.com/security/api/v1/security-events"
events = ["session-revoked", "device-compliance-change"]
subject_in_event = true
"""
FULL = """
[streams.poller]
aud = "https://poll.example"
method = "poll"
receiver = "poll-client"
subject_form = "complex"
personal_data = true
tenant = "acme"
description = "for the SOC"
status = "paused"

[streams.pushed]
aud = "aud"
endpoint_url = "https://push.example:443/sets?x=1"
authorization_file = "secrets/header"
"""
OKTA_STREAM = Stream(
    stream_id="declared-okta",
    receiver_id="declared-okta",
    aud="https://example.okta.com",
    declared=True,
    events_requested=(EVENTS["session-revoked"].uri, EVENTS["device-compliance-change"].uri),
    method=PUSH,
    endpoint_url="https://example.okta.com/security/api/v1/security-events",
    subject_in_event=True,
    created_at=NOW,
    updated_at=NOW,
)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "streams.toml"
    path.write_text(text, "utf-8")
    return path


def _bring(store: Store, tmp_path: Path, text: str, now_ms: int = NOW) -> DeclaredStreamChanges:
    with store.begin() as conn:
        return sync_declared(conn, SEALER, read_streams(_file(tmp_path, text)), now_ms)


def _streams(store: Store) -> dict[str, Stream]:
    with store.read() as conn:
        return {this_stream.stream_id: this_stream for this_stream in streams.every(conn, SEALER)}


def test_a_declared_stream_lies_in_the_store_as_any_other(store: Store, tmp_path: Path) -> None:
    assert _bring(store, tmp_path, OKTA) == DeclaredStreamChanges(added=("okta",))
    assert _streams(store) == {"declared-okta": OKTA_STREAM}


def test_every_member_of_the_file_reaches_the_stream(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "header").write_text("Bearer secret\n", "ascii")

    _bring(store, tmp_path, FULL)

    found = _streams(store)
    assert found["declared-poller"] == Stream(
        stream_id="declared-poller",
        receiver_id="poll-client",
        aud="https://poll.example",
        declared=True,
        description="for the SOC",
        method=POLL,
        subject_form="complex",
        personal_data=True,
        tenant="acme",
        status="paused",
        created_at=NOW,
        updated_at=NOW,
    )
    assert found["declared-pushed"].authorization == "Bearer secret"
    assert found["declared-pushed"].endpoint_url == "https://push.example:443/sets?x=1"


def test_the_same_file_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    _bring(store, tmp_path, OKTA)

    assert _bring(store, tmp_path, OKTA, NOW + 9) == DeclaredStreamChanges()
    assert _streams(store) == {"declared-okta": OKTA_STREAM}


def test_a_change_of_the_file_keeps_what_happened_to_the_stream(store: Store, tmp_path: Path) -> None:
    _bring(store, tmp_path, OKTA)
    with store.begin() as conn:
        streams.set_status(conn, "declared-okta", "paused", "maintenance", NOW + 1)
        streams.record_verification_request(conn, "declared-okta", NOW + 2)
        queue.put(conn, [token("a1", "declared-okta")], NOW)

    assert _bring(store, tmp_path, OKTA + 'tenant = "acme"\n', NOW + 9) == DeclaredStreamChanges(changed=("okta",))

    assert _streams(store)["declared-okta"] == replace(
        OKTA_STREAM,
        tenant="acme",
        status="paused",
        status_reason="maintenance",
        verification_asked_at=NOW + 2,
        updated_at=NOW + 1,
    )
    with store.read() as conn:
        assert queue.backlog_size(conn, "declared-okta")[0] == 1


def test_a_status_in_the_file_is_set_and_a_disabled_stream_drops_what_waits(store: Store, tmp_path: Path) -> None:
    _bring(store, tmp_path, OKTA)
    with store.begin() as conn:
        queue.put(conn, [token("a1", "declared-okta")], NOW)

    done = [_bring(store, tmp_path, f'{OKTA}status = "{status}"\n') for status in ("disabled", "enabled")]

    assert done == [DeclaredStreamChanges(changed=("okta",))] * 2
    assert _streams(store)["declared-okta"].status == "enabled"
    with store.read() as conn:
        assert queue.backlog_size(conn, "declared-okta") == (0, None)


def test_what_leaves_the_file_leaves_the_store_and_nothing_else_does(store: Store, tmp_path: Path) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _bring(store, tmp_path, OKTA)

    assert _bring(store, tmp_path, "") == DeclaredStreamChanges(removed=("okta",))
    assert list(_streams(store)) == ["s-1"]


PUSHED = 'aud = "a"\nendpoint_url = "https://x.example"\n'
REFUSED = {
    "streams = 1": "streams: not a table; streams are written as [streams.NAME]",
    "[stream.okta]": "stream: unknown; streams are written as [streams.NAME]",
    "= 1": "not valid TOML: ",
    f"[streams.'a b']\n{PUSHED}": "[streams.a b]: a name is 1 to 48 letters, digits, _ or -",
    "streams.a = 1": "[streams.a]: Input should be a valid dictionary",
    '[streams.a]\nendpoint_url = "https://x.example"': "[streams.a]: aud: Field required",
    '[streams.a]\naud = "a"': "[streams.a]: a push stream needs an endpoint_url",
    '[streams.a]\naud = "a"\nmethod = "poll"': "[streams.a]: a poll stream needs a receiver",
    f'[streams.a]\n{PUSHED}method = "poll"\nreceiver = "r"': "has neither endpoint_url nor authorization",
    f'[streams.a]\n{PUSHED}events = ["logout"]': "events: unknown: logout; known are session-revoked,",
    f'[streams.a]\n{PUSHED}events = ["verification"]': "events: unknown: verification; known are",
    f"[streams.a]\n{PUSHED}colour = 1": "[streams.a]: colour: Extra inputs are not permitted",
    '[streams.a]\naud = "a"\nendpoint_url = "ftp://x"': "[streams.a]: endpoint_url: String should match",
    f'[streams.a]\n{PUSHED}authorization = "ses\\name"': "[streams.a]: authorization: String should match",
    f'[streams.a]\n{PUSHED}authorization = "a"\nauthorization_file = "b"': "exclude each other; give one of them",
    f'[streams.a]\n{PUSHED}authorization_file = "no"': "/no: No such file or directory",
    f'[streams.a]\n{PUSHED}authorization_file = "streams.toml"': "must be a single line, the value of a header",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path, text)

    with pytest.raises(BadStreamsError) as refused:
        read_streams(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert REFUSED[text] in str(refused.value)
    assert "ses" not in str(refused.value).replace("session-revoked", "")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = _file(tmp_path, '[other]\n[streams.a]\naud = 1\n[streams."b c"]\n')

    with pytest.raises(BadStreamsError) as refused:
        read_streams(path)

    lines = [line.removeprefix(f"{path}: ").split(":")[0] for line in str(refused.value).splitlines()]
    assert lines == ["other", "[streams.a]", "[streams.b c]"]
