"""Enforcers without Kafka say over HTTP that a session is ended; here their word goes on to Kafka."""

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

ANSWER_S: Final = 10.0
"""Seconds the brokers may take to have it safe."""


class AckProducer:
    """Writes acknowledgements. It connects at the first one, and anew after a failure."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._open = AsyncExitStack()
        self._writer: Writer | None = None
        self._going: set[asyncio.Task[None]] = set()

    async def write(self, ack: RevocationAck) -> None:
        """Return when *ack* is safe in Kafka; raises `AckNotSentError` where that is not known in `ANSWER_S`."""
        members = ack.model_dump(exclude_none=True)
        message = Message(REVOCATION_ACKS, record_key(REVOCATION_ACKS, members), encode(members))
        try:
            async with asyncio.timeout(ANSWER_S), self._turn:
                await self._write(message, ack.tenant.encode())
        except Exception as error:  # whatever it is, nobody knows that it is safe
            logger.error("an acknowledgement could not be passed on: %r", error)  # noqa: TRY400 - a sentence
            raise AckNotSentError("acknowledgements cannot be passed on now; send it again later") from error

    async def _write(self, message: Message, tenant: bytes) -> None:
        try:
            if self._writer is None:
                self._writer = await self._open.enter_async_context(open_writer(self._connection))
            await self._writer.send(message, tenants=[tenant])
            await self._writer.flush()
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        """Have the connection closed while nobody waits: aiokafka goes on trying for a while."""
        self._writer, gone, self._open = None, self._open, AsyncExitStack()
        going = asyncio.create_task(_closed(gone))
        self._going.add(going)
        going.add_done_callback(self._going.discard)

    async def close(self) -> None:
        """Let go of the brokers, in `ANSWER_S`."""
        self._let_go()
        _, late = await asyncio.wait(self._going, timeout=ANSWER_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _closed(gone: AsyncExitStack) -> None:
    try:
        await gone.aclose()
    except Exception as error:  # noqa: BLE001 - what it had to say was said
        logger.warning("a connection for acknowledgements did not end well: %r", error)
