"""A receiver that was let in, and what it is served with; it sees its own streams only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from pipeline.transmitter.api.problems import Problem, not_found
from pipeline.transmitter.records import Stream
from pipeline.transmitter.services import Services
from pipeline.transmitter.settings import TransmitterSettings
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store, only_one
from pipeline.transmitter.store.receivers import MANAGE, Receiver

_CHANGES: Final = "session_risk_changes_streams"


@dataclass(frozen=True, slots=True)
class Desk:
    """One call of *receiver*. What is put into *noted* goes to the audit log."""

    services: Services
    receiver: Receiver
    noted: dict[str, Any]

    @property
    def store(self) -> Store:
        """The store."""
        return self.services.store

    @property
    def settings(self) -> TransmitterSettings:
        """The settings."""
        return self.services.settings

    @property
    def manages(self) -> bool:
        """Whether its token is good for more than reading."""
        return self.receiver.may(MANAGE)

    def now(self) -> int:
        """The time, ms."""
        return self.services.clock()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes, one of this receiver at a time: what it looks at stays as it is.

        That goes for a stream it reads, too: the transmitter itself may pause or remove one.
        """
        with self.store.begin() as conn:
            only_one(conn, f"receiver {self.receiver.receiver_id}")
            conn.execution_options(**{_CHANGES: True})
            yield conn

    def ring(self, stream_id: str) -> None:
        """Wake who waits for something to happen to a stream."""
        self.services.bell.ring([stream_id])

    def all(self, conn: Connection) -> list[Stream]:
        """Return the receiver's streams, the oldest first."""
        return streams.of_receiver(conn, self.store.sealer, self.receiver.receiver_id)

    def stream(self, conn: Connection, stream_id: str) -> Stream:
        """Return a stream of the receiver.

        Raises:
            Problem: it has no such stream (404); whether another receiver has, is not told.
        """
        self.noted["stream_id"] = stream_id
        changes = conn.get_execution_options().get(_CHANGES, False)
        stream = streams.get(conn, self.store.sealer, stream_id, lock=changes)
        if stream is None or stream.receiver_id != self.receiver.receiver_id:
            raise not_found(stream_id)
        return stream

    def changeable(self, conn: Connection, stream_id: str) -> Stream:
        """Return a stream of the receiver whose configuration may be changed from here.

        Raises:
            Problem: there is none (404), or the operator declared it in a file, which would win at the next
                start (403).
        """
        stream = self.stream(conn, stream_id)
        if stream.declared:
            raise Problem(403, "this stream is declared, and changed, by the operator", "declared")
        return stream
