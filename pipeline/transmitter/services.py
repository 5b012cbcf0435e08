"""Services of the HTTP API: the objects its operations use, assembled by the process or by a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing_keys import Signer
from schemas.control import RevocationAck


class AckNotSentError(Exception):
    """An acknowledgement could not be stored in Kafka; its sender may send it again."""


@dataclass(frozen=True, slots=True)
class Services:
    """The store and the signer, and the interfaces to the rest of the process.

    *clock* returns ms since the epoch, UTC. *acks* writes an enforcer's acknowledgement to Kafka and returns when it
    is stored there; otherwise it raises `AckNotSentError`. *guard* raises `ValueError`, with a sentence, for an
    address that must not be pushed to.
    """

    settings: TransmitterSettings
    store: Store
    signer: Signer
    notifier: Notifier
    clock: Callable[[], int]
    acks: Callable[[RevocationAck], Awaitable[None]]
    guard: Callable[[str], None]
