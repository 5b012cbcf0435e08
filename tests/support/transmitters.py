"""Transmitters on Apache Kafka as `session-risk transmitter` starts them, and what is written for them."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pipeline.kafka.client import open_writer, read_retained
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import PROCESSOR_NAMES, TopicsNotReadyError, check_topics, create_topics, needed_topics
from pipeline.processing.processor import Message
from schemas.decode import encode, record_key
from tests.support.ssf_receiver import Json, Receiver
from tests.support.ssf_records import Record
from tests.support.ssf_transmitter import Rig
from tests.support.waiting import until

PARTITIONS: Final = 8
"""Of the topics, which other tests use too: everybody asks only for what is their own."""


class OnKafka(Rig):
    """A transmitter that reads Kafka; several of one *group* and *database* take turns.

    *kafka* is how it connects, as the environment has it; else to the node that the tests share.
    """

    program = ("-m", "pipeline.cli", "transmitter")

    def __init__(self, folder: Path, group: str = "", kafka: Mapping[str, str] | None = None, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        group = group or f"transmitter-{uuid4().hex[:8]}"
        super().__init__(folder, "", {}, {"group": group, **settings})
        shared = os.environ.get("SESSION_RISK_BROKER", "")
        self.connection = Connection(shared)
        self.environment |= kafka or {
            "SESSION_RISK_BROKER": shared,
            "SESSION_RISK_PARTITIONS": str(PARTITIONS),
        }

    def begin(self) -> None:
        """Make what topics there are not, and start it."""
        until("topics", self._lacking, lambda lacking: lacking == "")
        self.start()

    def _lacking(self) -> str:
        needed = needed_topics("session-risk", PROCESSOR_NAMES, PARTITIONS)

        async def make() -> None:
            await create_topics(self.connection, needed, 1)
            await check_topics(self.connection, needed)

        try:
            asyncio.run(make())
        except TopicsNotReadyError as error:  # a busy broker tells of a new topic a moment after it is made
            return str(error)
        return ""

    def write(self, records: Iterable[Record]) -> None:
        """Write *records* to their topics; the broker has them when this returns."""
        asyncio.run(send(self.connection, records))

    def output(self, topic: str, session_id: str) -> list[dict[str, Any]]:
        """What *topic* holds about a session."""

        async def records() -> list[bytes]:
            found = [record async for record in read_retained(self.connection, [topic])]
            return [record.value or b"" for record in found if record.key == session_id.encode()]

        return [json.loads(value) for value in asyncio.run(records())]

    def revocations(self) -> dict[str, dict[str, Any]]:
        """What `session-risk revocations` tells, by the revocation."""
        done = self.operate("revocations", "--json", "--most", "100000")
        return {load["revocation_id"]: load for load in json.loads(done)}

    def leads(self) -> bool:
        """Whether it works, and does not stand by."""
        return self.measured("leads") == 1.0


async def send(connection: Connection, records: Iterable[Record]) -> None:
    """Write *records* to their topics; the broker has them when this returns."""
    async with open_writer(connection) as writer:
        for topic, record in records:
            members = record.model_dump(exclude_none=True)
            await writer.send(Message(topic, record_key(topic, members), encode(members)))
        await writer.flush()


def claims(token: str) -> dict[str, Any]:
    """What a token says, whoever signed it."""
    body = token.split(".")[1]
    fields: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return fields


def handed_out(receiver: Receiver, stream: Json, name: str, count: int) -> list[str]:
    """Poll until *count* tokens have come of decisions whose ids begin with *name*, and there are no more."""
    found: list[str] = []

    def poll() -> tuple[int, bool]:
        sets = receiver.poll(stream).json["sets"]
        receiver.poll(stream, ack=list(sets), maxEvents=0)
        found.extend(text for text in sets.values() if claims(text)["txn"].startswith(name))
        return len(found), bool(sets)

    until(f"{count} tokens of {name}", poll, lambda seen: seen[0] >= count and not seen[1])
    return found
