"""Enforcers without Kafka say over HTTP that a session is ended; here their word goes on to Kafka."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from pipeline.client import Writer, writing
from pipeline.connection import Connection
from pipeline.stage import Message
from pipeline.transmitter.services import AckNotTaken
from schemas.control import RevocationAck
from schemas.decode import encode, record_key
from schemas.topics import REVOCATION_ACKS

logger = logging.getLogger(__name__)

ANSWER_S: Final = 10.0
"""Seconds the brokers may take to have it safe."""


class Confirming:
    """Writes acknowledgements. It connects at the first one, and anew after a failure."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._open = AsyncExitStack()
        self._writer: Writer | None = None

    async def write(self, ack: RevocationAck) -> None:
        """Return when *ack* is safe in Kafka; raises `AckNotTaken` where it is not, or may not be."""
        members = ack.model_dump(exclude_none=True)
        message = Message(REVOCATION_ACKS, record_key(REVOCATION_ACKS, members), encode(members))
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_S):
                    writer = await self._connected()
                    await writer.send(message, tenants=[ack.tenant.encode()])
                    await writer.flush()
            except Exception as error:  # whatever it is, nobody knows that it is safe
                logger.error("an acknowledgement could not be passed on: %s", error)  # noqa: TRY400 - a sentence
                await self.close()
                raise AckNotTaken("acknowledgements cannot be passed on now; send it again later") from error

    async def _connected(self) -> Writer:
        if self._writer is None:
            self._writer = await self._open.enter_async_context(writing(self._connection))
        return self._writer

    async def close(self) -> None:
        """Let go of the brokers."""
        self._writer, gone, self._open = None, self._open, AsyncExitStack()
        await gone.aclose()
