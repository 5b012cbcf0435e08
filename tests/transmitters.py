"""Transmitters on Apache Kafka as `session-risk transmitter` starts them, and what is written for them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pipeline.client import retained, writing
from pipeline.connection import Connection
from pipeline.stage import Message
from pipeline.topic_admin import (
    STAGES,
    TopicsNotReadyError,
    check_topics,
    create_topics,
    needed_topics,
)
from schemas.decode import encode, record_key
from ssf_records import Record
from ssf_rig import Rig
from waiting import until

PARTITIONS: Final = 8
"""Of the topics, which other tests use too: everybody asks only for what is their own."""


class OnKafka(Rig):
    """A transmitter that reads Kafka; several of one *group* and *database* take turns."""

    program = ("-m", "pipeline.cli", "transmitter")

    def __init__(self, folder: Path, group: str = "", **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        group = group or f"transmitter-{uuid4().hex[:8]}"
        super().__init__(folder, "", {}, {"group": group, **settings})
        self.connection = Connection(os.environ["SESSION_RISK_BROKER"])
        self.environment |= {
            "SESSION_RISK_BROKER": self.connection.bootstrap,
            "SESSION_RISK_PARTITIONS": str(PARTITIONS),
        }

    def begin(self) -> None:
        """Make what topics there are not, and start it."""
        until("topics", self._lacking, lambda lacking: lacking == "")
        self.start()

    def _lacking(self) -> str:
        needed = needed_topics("session-risk", STAGES, PARTITIONS)

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

        async def send() -> None:
            async with writing(self.connection) as writer:
                for topic, record in records:
                    members = record.model_dump(exclude_none=True)
                    await writer.send(Message(topic, record_key(topic, members), encode(members)))
                await writer.flush()

        asyncio.run(send())

    def said(self, topic: str, session_id: str) -> list[dict[str, Any]]:
        """What *topic* holds about a session."""

        async def records() -> list[bytes]:
            found = [one async for one in retained(self.connection, [topic])]
            return [one.value or b"" for one in found if one.key == session_id.encode()]

        return [json.loads(value) for value in asyncio.run(records())]

    def revocations(self) -> dict[str, dict[str, Any]]:
        """What `session-risk revocations` tells, by the revocation."""
        done = self.operate("revocations", "--json", "--most", "100000")
        return {one["revocation_id"]: one for one in json.loads(done)}

    def leads(self) -> bool:
        """Whether it works, and does not stand by."""
        return self.measured("leads") == 1.0
