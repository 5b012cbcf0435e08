"""Pushing at work for the length of a test, on a store with streams to a receiver."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.push import PushDelivery
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import SignedToken
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.tables import sets
from tests.support.stores import SEALER, stream
from tests.support.waiting import PATIENCE


def quick(**members: Any) -> TransmitterSettings:
    """Settings under which everything happens soon, with *members* as given."""
    soon = {
        "allow_insecure": True,
        "push_timeout_s": 5,
        "push_backoff_s": 0.05,
        "push_backoff_max_s": 0.1,
    }
    return TransmitterSettings(**{**soon, **members})


def clock() -> int:
    """Now, ms."""
    return time.time_ns() // 1_000_000


def add(store: Store, url: str, stream_id: str = "s-1", **members: Any) -> None:
    """Have a stream pushed to *url*."""
    with store.begin() as conn:
        streams.add(conn, SEALER, stream(stream_id, endpoint_url=url, **members))


def put(store: Store, *tokens: SignedToken) -> None:
    """Put *tokens* in the queue."""
    with store.begin() as conn:
        queue.put(conn, tokens, clock())


def states(store: Store, stream_id: str = "s-1") -> dict[str, int]:
    """Count the tokens of a stream by their state."""
    with store.read() as conn:
        found = conn.scalars(select(sets.c.state).where(sets.c.stream_id == stream_id))
        return dict(Counter(found))


def endings(store: Store, stream_id: str = "s-1") -> dict[str, tuple[str, int, str | None]]:
    """State, tries that failed and last error of each token, by its `jti`."""
    with store.read() as conn:
        rows = conn.execute(select(sets).where(sets.c.stream_id == stream_id))
        return {row.jti: (row.state, row.attempts, row.error) for row in rows}


@asynccontextmanager
async def pushing(
    store: Store,
    settings: TransmitterSettings,
    notifier: Notifier | None = None,
    metrics: TransmitterMetrics | None = None,
) -> AsyncIterator[PushDelivery]:
    """Push while the block lasts, then stop in order."""
    shown = metrics or TransmitterMetrics(CollectorRegistry())
    rng = Random(1)  # noqa: S311 - jitter is no secret
    pushes = PushDelivery(store, settings, notifier or Notifier(), shown, clock, rng)
    task = asyncio.create_task(pushes.run())
    try:
        yield pushes
    finally:
        pushes.stop()
        await asyncio.wait_for(task, PATIENCE)


async def seen(what: str, holds: Callable[[], bool]) -> None:
    """Wait until it *holds*; else say *what* was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        await asyncio.sleep(0.01)
