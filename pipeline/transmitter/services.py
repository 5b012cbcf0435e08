"""What the HTTP side of the transmitter works with; put together by the process, or by a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing_keys import Signer
from schemas.control import RevocationAck


class AckNotSentError(Exception):
    """An acknowledgement could not be passed on now; who sent it may send it again."""


@dataclass(frozen=True, slots=True)
class Services:
    """The store and the signer, and the edges of the process.

    *clock* gives ms since the epoch, UTC. *acks* passes an enforcer's word on to Kafka and returns when it is
    safe there, else raises `AckNotSentError`. *guard* raises `ValueError`, with a sentence, for an address that
    nothing may be pushed to.
    """

    settings: TransmitterSettings
    store: Store
    signer: Signer
    bell: Notifier
    clock: Callable[[], int]
    acks: Callable[[RevocationAck], Awaitable[None]]
    guard: Callable[[str], None]
