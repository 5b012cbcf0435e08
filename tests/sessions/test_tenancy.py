"""With tenancy on, an event is only believed to be of the tenant that its record's header vouches for."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiokafka
import pytest
from click.testing import CliRunner

from pipeline.assembly import processor_specs
from pipeline.cli import main
from pipeline.contexts.device.processor import device_context
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.offline.replay.from_kafka import read_spooled, spool_topics
from pipeline.offline.replay.recording import INPUT_TOPICS, write
from pipeline.offline.replay.runner import Replay
from pipeline.sessions.processor import Options
from schemas.decode import decode_chunk, encode
from schemas.decoded import Limits, Rejected
from schemas.tenancy import TENANT_CHECKED
from schemas.topics import (
    API_CALLS,
    AUTH_EVENTS,
    DEAD_LETTERS,
    DEVICE_TELEMETRY,
    REVOCATION_ACKS,
    SESSION_FEEDBACK,
    SESSION_RISK,
)
from tests.support.run_processors import NOW, Desk, Event, Player, Rec, SentMessage, read, record, recorded
from tests.support.samples import ack, auth, binding, call, context, feedback, telemetry

ON = Options(limits=Limits(tenancy=True))
MISSING = "tenant: no record header 'tenant'; the gateway before the topic must set exactly one"
SEVERAL = "tenant: several record headers 'tenant'; the gateway before the topic must set exactly one"
OTHER = "tenant: the event says 'acme', its record header 'tenant' says "


def _from(event: Event, *tenants: str, offset: int = 0) -> Rec:
    """*event* as a gateway passes it on that knows whom it let in."""
    return record(event, offset)._replace(headers=[("tenant", tenant.encode()) for tenant in tenants])


def _dead(output: Sequence[SentMessage]) -> list[tuple[str, int, str]]:
    letters = [message.body for message in output if message.topic == DEAD_LETTERS]
    return [(letter["topic"], letter["offset"], letter["reason"]) for letter in letters]


# --- What counts ---


@pytest.mark.parametrize(
    ("tenants", "reason"),
    [
        ([b"acme"], None),
        ([], MISSING),
        ([b"acme", b"acme"], SEVERAL),
        ([b"globex"], OTHER + "'globex'"),
        ([b"Acme"], OTHER + "'Acme'"),
        ([b""], OTHER + "''"),
        ([b"\xff\x00"], OTHER + r"'\ufffd\x00'"),
        ([b"b5bb9d8014a0f9b1d61e21e796d78dcc"], OTHER + "'b5bb9d8014a0f...'"),
    ],
)
def test_an_event_is_believed_if_exactly_one_header_says_its_tenant(tenants: list[bytes], reason: str | None) -> None:
    event = auth(tenant="acme")

    decoded = decode_chunk(AUTH_EVENTS, [encode(event)], [b"s-1"], now_ms=NOW, tenants=[tenants])

    assert decoded.rejected == ([] if reason is None else [Rejected(0, reason)])
    assert [this_event["event_id"] for this_event in decoded.events] == ([event["event_id"]] if reason is None else [])


def test_an_event_that_names_no_tenant_is_of_the_default_one_whatever_the_header_says() -> None:
    event = {name: value for name, value in auth().items() if name != "tenant"}

    decoded = decode_chunk(
        AUTH_EVENTS, [encode(event)] * 2, [b"s-1"] * 2, now_ms=NOW, tenants=[[b"default"], [b"acme"]]
    )

    assert decoded.places == [0]
    assert decoded.rejected == [Rejected(1, "tenant: the event says 'default', its record header 'tenant' says 'acme'")]


def test_what_others_write_is_vouched_for_and_what_workers_tell_each_other_is_not() -> None:
    assert {DEVICE_TELEMETRY, AUTH_EVENTS, API_CALLS, SESSION_FEEDBACK, REVOCATION_ACKS} == TENANT_CHECKED


# --- In the stages ---


def test_another_tenants_word_on_a_session_is_a_dead_letter_and_does_nothing() -> None:
    sign_in, own, forged = auth(tenant="acme"), call(1, tenant="acme"), call(2, tenant="acme", records=9**7)
    alone, desk = Desk(options=ON), Desk(options=ON)
    for this_desk in (alone, desk):
        this_desk.take(AUTH_EVENTS, [_from(sign_in, "acme")])
    alone.take(API_CALLS, [_from(own, "acme")])

    outputs = desk.take(API_CALLS, [_from(own, "acme"), _from(forged, "globex", offset=1)])

    assert _dead(outputs) == [(API_CALLS, 1, OTHER + "'globex'")]
    assert [b64decode(message.body["value"]) for message in outputs if message.topic == DEAD_LETTERS] == [
        encode(forged)
    ]
    assert desk.dead == {"tenant": 1}
    assert desk.rows == alone.rows


def test_nobody_gives_verdicts_or_acknowledges_in_another_tenants_name() -> None:
    desk = Desk(options=ON)
    desk.take(AUTH_EVENTS, [_from(auth(tenant="acme"), "acme")])
    verdict = feedback(1, tenant="acme", verdict="confirmed_compromised")

    outputs = desk.take(SESSION_FEEDBACK, [_from(verdict, "globex")])
    outputs += desk.take(REVOCATION_ACKS, [_from(ack(2, tenant="acme"), "globex")])

    assert _dead(outputs) == [(topic, 0, OTHER + "'globex'") for topic in (SESSION_FEEDBACK, REVOCATION_ACKS)]
    assert desk.revoked() == []
    desk.take(SESSION_FEEDBACK, [_from(verdict, "acme")])
    assert len(desk.revoked()) == 1


def test_a_device_does_not_speak_for_another_tenants() -> None:
    player = Player(device_context(Limits(tenancy=True)))
    player.play(binding(tenant="acme"))  # our own word needs no header

    outputs = player.take(DEVICE_TELEMETRY, [_from(telemetry(1, tenant="acme", rooted=True), "globex")])
    assert _dead(outputs) == [(DEVICE_TELEMETRY, 0, OTHER + "'globex'")]
    assert [message.topic for message in outputs] == [DEAD_LETTERS]

    outputs = player.take(DEVICE_TELEMETRY, [_from(telemetry(2, tenant="acme", rooted=True), "acme", offset=1)])
    assert [message.body["rooted"] for message in outputs] == [True]


def test_what_workers_tell_each_other_is_believed_without_a_header() -> None:
    desk = Desk(options=ON)
    desk.take(AUTH_EVENTS, [_from(auth(tenant="acme"), "acme")])

    desk.play(context(1, tenant="acme", rooted=True))

    assert desk.dead == {}
    assert len(desk.revoked()) == 1


class _WithoutHeaders(Rec):
    """A record whose headers may not even be looked at."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        raise AssertionError("headers were looked at though tenancy is off")


def test_without_tenancy_headers_are_not_even_looked_at() -> None:
    desk, records = Desk(), [auth(tenant="acme"), call(1, tenant="acme")]

    for event in records:
        desk.take(record(event, 0).topic, [_WithoutHeaders(*record(event, 0)[:6])])

    assert (desk.dead, len(desk.rows)) == ({}, 1)


# --- Replay ---


def test_a_replay_believes_what_was_believed_when_it_came() -> None:
    lines = recorded([auth(tenant="acme"), call(1, tenant="acme"), call(2, tenant="acme")])
    records = [
        line._replace(tenants=[tenant]) for line, tenant in zip(lines, (b"acme", b"acme", b"globex"), strict=True)
    ]
    replay = Replay(processor_specs(Desk().active, ON), 1)

    outputs = read(replay.run(records))

    assert _dead(outputs) == [(API_CALLS, 1, OTHER + "'globex'")]
    assert replay.dead_letters == 1


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A broker that holds a sign-in and two calls with restricted records, the second by another tenant."""
    with EmbeddedBroker() as broker:
        broker.create([*INPUT_TOPICS, SESSION_RISK])
        found = Connection(broker.bootstrap, embedded=True)
        reading = {"tenant": "acme", "records": 6_000, "sensitivity": "restricted"}
        asyncio.run(
            _produce(
                found,
                [
                    _from(auth(tenant="acme"), "acme"),
                    _from(call(700, **reading, event_id="own"), "acme"),
                    _from(call(800, **reading, event_id="forged"), "globex", "acme"),
                    _from(call(801, tenant="acme", event_id="naked")),
                ],
            )
        )
        yield found


async def _produce(connection: Connection, records: Sequence[Rec]) -> None:
    async with aiokafka.AIOKafkaProducer(**connection.for_aiokafka()) as producer:
        for this_record in records:
            await producer.send_and_wait(
                this_record.topic,
                key=this_record.key,
                value=this_record.value,
                headers=list(this_record.headers),
            )


def test_what_topics_hold_keeps_whose_it_is_on_its_way_into_a_replay(connection: Connection, tmp_path: Path) -> None:
    asyncio.run(spool_topics(connection, tmp_path, 0))

    payloadses = [list(this_record.tenants) for this_record in read_spooled(tmp_path)]

    assert payloadses == [[b"acme"], [b"acme"], [b"globex", b"acme"], []]


def test_topics_are_replayed_with_tenancy_where_it_is_on(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", connection.bootstrap)
    for setting, dead in (("true", [SEVERAL, MISSING]), ("false", [])):
        out = tmp_path / setting
        monkeypatch.setenv("SESSION_RISK_TENANCY", setting)
        done = CliRunner().invoke(main, ["replay", "--from-topics", "--out", str(out)])

        assert done.exit_code == 0, done.output
        assert _reasons(out / f"{DEAD_LETTERS}.jsonl") == dead


def _reasons(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line)["reason"] for line in lines]


def test_a_recordings_own_word_is_taken_as_a_file_keeps_no_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_RISK_TENANCY", "true")
    with write(tmp_path / "in") as writer:
        writer.event(AUTH_EVENTS, auth(tenant="acme"))

    done = CliRunner().invoke(main, ["replay", str(tmp_path / "in"), "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    assert not (tmp_path / "out" / f"{DEAD_LETTERS}.jsonl").exists()
