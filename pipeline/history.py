"""The past of a topic as plain iteration: in order, in bounded memory, up to its end of now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from pipeline import client
from pipeline.connection import Connection


@contextmanager
def on_topic(connection: Connection, topic: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Give about how many records *topic* holds, and their values, partition after partition.

    Raises as `pipeline.client.following` does. Not for use where an event loop runs.
    """
    with asyncio.Runner() as runner:
        context = client.history(connection, topic)
        total, fetches = runner.run(context.__aenter__())
        try:
            yield total, _values(runner, fetches)
        finally:
            runner.run(context.__aexit__(None, None, None))


def _values(runner: asyncio.Runner, fetches: AsyncIterator[list[bytes]]) -> Iterator[bytes]:
    async def fetch() -> list[bytes] | None:
        return await anext(fetches, None)

    while (fetched := runner.run(fetch())) is not None:
        yield from fetched
