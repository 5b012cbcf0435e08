"""Kafka producer of revocation acknowledgements that enforcers without Kafka send over HTTP (`POST /acks`)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from pipeline.kafka.client import Writer, open_writer
from pipeline.kafka.connection import Connection
from pipeline.processing.processor import Message
from pipeline.transmitter.services import AckNotSentError
from schemas.control import RevocationAck
from schemas.decode import encode, record_key
from schemas.topics import REVOCATION_ACKS

logger = logging.getLogger(__name__)

SEND_TIMEOUT_S: Final = 10.0
"""Seconds within which the brokers must have acknowledged the record."""


class AckProducer:
    """Writes acknowledgements to Kafka. It connects at the first one and reconnects after a failure."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self._resources = AsyncExitStack()
        self._writer: Writer | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def write(self, ack: RevocationAck) -> None:
        """Return when *ack* is in Kafka; raises `AckNotSentError` if that is not confirmed within `SEND_TIMEOUT_S`."""
        fields = ack.model_dump(exclude_none=True)
        message = Message(REVOCATION_ACKS, record_key(REVOCATION_ACKS, fields), encode(fields))
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._lock:
                await self._write(message, ack.tenant.encode())
        except Exception as error:  # whatever the error is, the record may not be stored
            logger.error("an acknowledgement could not be written to Kafka: %r", error)  # noqa: TRY400 - a sentence
            raise AckNotSentError("acknowledgements cannot be stored now; send it again later") from error

    async def _write(self, message: Message, tenant: bytes) -> None:
        try:
            if self._writer is None:
                self._writer = await self._resources.enter_async_context(open_writer(self._connection))
            await self._writer.send(message, tenants=[tenant])
            await self._writer.flush()
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        """Close the connection in a task of its own, because aiokafka retries for a while before it gives up."""
        self._writer, resources, self._resources = None, self._resources, AsyncExitStack()
        task = asyncio.create_task(_close_quietly(resources))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close the connection to the brokers within `SEND_TIMEOUT_S`."""
        self._disconnect()
        _, late = await asyncio.wait(self._closing, timeout=SEND_TIMEOUT_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _close_quietly(resources: AsyncExitStack) -> None:
    try:
        await resources.aclose()
    except Exception as error:  # noqa: BLE001 - the failure of the connection itself is logged already
        logger.warning("the producer of acknowledgements could not be closed: %r", error)
