"""stream-updated where the operator changes a status: pushed although nothing else is, and not for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter import operator_commands
from pipeline.transmitter.protocol import EVENTS, POLL, Stream
from pipeline.transmitter.startup import _sync_declared
from pipeline.transmitter.static_streams import read_streams
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.stream_events import Announcer
from tests.support.housekeeping import new_house
from tests.support.push_receiver import ACCEPTED, Receiver, Reply, claims_in
from tests.support.pushes import clock, pushing, put, quick, seen, states
from tests.support.security_event_tokens import numbered
from tests.support.stores import NOW, SEALER, new_store, stream

SETTINGS = TransmitterSettings(alg="ES256", issuer="https://tx.example.org")
WORD = EVENTS["stream-updated"].uri


def _output(store: Store) -> dict[str, list[dict[str, Any]]]:
    """What stream-updated says and waits to say, by stream."""
    found: dict[str, list[dict[str, Any]]] = {}
    waits = (sets.c.event == "stream-updated") & (sets.c.state == "queued")
    words = select(sets.c.stream_id, sets.c.jwt).where(waits)
    with store.read() as conn:
        for stream_id, jwt in conn.execute(words.order_by(sets.c.seq)):
            claims = claims_in(jwt)
            assert claims["sub_id"] == {"format": "opaque", "id": stream_id}
            found.setdefault(stream_id, []).append(claims["events"][WORD])
    return found


def _with_receivers(store: Store, *made: Stream) -> None:
    with store.begin() as conn:
        for name in ("r-1", "r-2"):
            receivers.add(conn, name, f"https://{name}.example.org", [receivers.READ], NOW)
        for this_stream in made:
            streams.add(conn, SEALER, this_stream)


def test_a_receiver_that_is_revoked_is_told_where_it_is_pushed_to_and_nobody_else_is(store: Store) -> None:
    _with_receivers(
        store,
        stream("pushed"),
        stream("paused", status="paused"),
        stream("disabled", status="disabled"),
        stream("polled", method=POLL, endpoint_url=None),
        stream("another's", receiver_id="r-2"),
    )
    put(store, *(numbered("a", 1, name) for name in ("pushed", "another's")))

    assert operator_commands.revoke_receiver(store, SETTINGS, "r-1", NOW)

    word = {"status": "disabled", "reason": "the receiver was revoked"}
    assert _output(store) == {"pushed": [word], "paused": [word]}
    assert (states(store, "pushed"), states(store, "another's")) == ({"dead": 1, "queued": 1}, {"queued": 1})
    assert not operator_commands.revoke_receiver(store, SETTINGS, "r-1", NOW + 1)
    assert not operator_commands.revoke_receiver(store, SETTINGS, "nobody", NOW + 1)


def test_what_a_revoked_receiver_is_pushed_is_that_word_and_nothing_more(store: Store) -> None:
    async def main(receiver: Receiver) -> None:
        _with_receivers(store, stream(endpoint_url=receiver.url, authorization="Bearer s3cret"))
        async with pushing(store, quick(push_backoff_s=86_400, push_backoff_max_s=86_400)):
            put(store, numbered("a", 1), numbered("b", 1))
            await seen("refusals", lambda: len(receiver.pushes) == 2)
            receiver.answer = lambda _: ACCEPTED
            operator_commands.revoke_receiver(store, SETTINGS, "r-1", clock())
            await seen("the word", lambda: states(store).get("delivered") == 1)
            put(store, numbered("a", 2))
            await asyncio.sleep(1.2)  # longer than from one look to the next

    with Receiver(lambda _: Reply(500)) as receiver:
        asyncio.run(main(receiver))

    assert [list(push.claims.get("events", {})) for push in receiver.accepted] == [[WORD]]
    assert receiver.accepted[0].headers["Authorization"] == "Bearer s3cret"
    assert states(store) == {"dead": 2, "delivered": 1, "queued": 1}


def test_the_word_to_a_receiver_that_is_gone_waits_no_longer_than_a_minute(tmp_path: Path) -> None:
    house = new_house(tmp_path)
    with house.store.begin() as conn:
        receivers.add(conn, "r-1", "https://idp.example.org", [receivers.READ], NOW)
    operator_commands.revoke_receiver(house.store, SETTINGS, "r-1", NOW)

    assert house.look(60_000) == ("disabled", {("stream-updated", "queued"): 1})
    assert house.look(1) == ("disabled", {("stream-updated", "dead"): 1})


FILE = '[streams.okta]\naud = "a"\nendpoint_url = "https://okta.example/events"\n'


def _read(store: Store, tmp_path: Path, text: str) -> None:
    """Begin with this file of streams."""
    path = tmp_path / "streams.toml"
    path.write_text(text, "utf-8")
    _sync_declared(store, read_streams(path), path, Announcer(SETTINGS.issuer, open_signer(store, "ES256", 2048, NOW)))


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_another_status_in_the_operators_file_is_told_and_so_is_that_it_goes_on(
    store: Store, tmp_path: Path, status: str
) -> None:
    texts = [
        FILE,
        f'{FILE}status = "{status}"\n',
        f'{FILE}status = "{status}"\n',
        f'{FILE}status = "enabled"\n',
    ]

    list_read = []
    for text in texts:
        _read(store, tmp_path, text)
        list_read.append(_output(store).get("declared-okta", []))

    assert list_read == [
        [],
        [{"status": status}],
        [{"status": status}],
        [{"status": status}, {"status": "enabled"}],
    ]


def test_other_changes_of_the_file_and_streams_that_leave_it_are_not_told(store: Store, tmp_path: Path) -> None:
    for text in (FILE, f'{FILE}tenant = "acme"\n', FILE + FILE.replace("okta", "google"), ""):
        _read(store, tmp_path, text)

    assert _output(store) == {}
    with store.read() as conn:
        assert streams.every(conn, SEALER) == []


def test_a_declared_stream_that_is_paused_by_the_file_pushes_that_word(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        text = f'[streams.okta]\naud = "a"\nendpoint_url = "{receiver.url}"\n'
        _read(store, tmp_path, text)
        put(store, numbered("a", 1, "declared-okta"))
        _read(store, tmp_path, f'{text}status = "paused"\n')
        async with pushing(store, quick()):
            await seen("the word", lambda: states(store, "declared-okta") == {"queued": 1, "delivered": 1})

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert [push.claims["events"] for push in receiver.pushes] == [{WORD: {"status": "paused"}}]
