"""A store with one stream and somebody who looks after it, at whatever time a test says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.housekeeping import Housekeeper
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import EVENTS
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing_keys import Signer, open_signer
from pipeline.transmitter.store.tables import sets
from tests.support.push_receiver import claims_in
from tests.support.security_event_tokens import numbered
from tests.support.stores import NOW, SEALER, new_store, stream

HOUR = 3_600_000


@dataclass
class House:
    """A store with one stream, and somebody who looks after it at the time *now*."""

    store: Store
    keeping: Housekeeper
    signer: Signer
    metrics: TransmitterMetrics
    at: list[int]

    @property
    def now(self) -> int:
        return self.at[0]

    @now.setter
    def now(self, value: int) -> None:
        self.at[0] = value

    def look(self, later_ms: int = 0) -> tuple[str, dict[tuple[str, str], int]]:
        """Look after the stream; return its status, and how many tokens there are by event and state."""
        self.now += later_ms
        self.keeping.run_once()
        with self.store.read() as conn:
            found = streams.get(conn, SEALER, "s-1")
            rows = [(row.event, row.state) for row in conn.execute(select(sets.c.event, sets.c.state))]
        return found.status if found else "gone", dict(Counter(rows))

    def words(self) -> list[dict[str, Any]]:
        """What stream-updated said, each time it was said and waits."""
        with self.store.read() as conn:
            details = conn.scalars(
                select(sets.c.jwt).where(sets.c.event == "stream-updated", sets.c.jwt.is_not(None))
            ).all()
        return [claims_in(item)["events"][EVENTS["stream-updated"].uri] for item in details]


def new_house(folder: Path, **members: Any) -> House:
    store = new_store(folder)
    settings = TransmitterSettings(hold_sets=10, hold_s=86_400, issuer="https://tx.example.org")
    signer = open_signer(store, "ES256", 2048, NOW)
    metrics = TransmitterMetrics(CollectorRegistry())
    at = [NOW]
    keeping = Housekeeper(store, signer, settings, Notifier(), metrics, lambda: at[0])
    with store.begin() as conn:
        streams.add(conn, SEALER, stream(**members))
    return House(store, keeping, signer, metrics, at)


def put_numbered(house: House, many: int, first: int = 0) -> None:
    with house.store.begin() as conn:
        queue.put(conn, [numbered("a", first + number) for number in range(many)], house.now)
