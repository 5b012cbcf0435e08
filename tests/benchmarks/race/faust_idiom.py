"""The race's job in Faust as its guide shows it: ``python faust_idiom.py BROKER IN OUT ID STATE_DIRECTORY worker``."""

from __future__ import annotations

import sys
from typing import Any

import faust
from faust.types import StreamT

from tests.benchmarks.race.fading import EACH, faded

BROKER, IN, OUT, ID, STATE = sys.argv[1:6]
del sys.argv[1:6]

app = faust.App(
    ID,
    broker=f"kafka://{BROKER}",
    store="memory://",
    topic_disable_leader=True,
    topic_partitions=8,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    datadir=STATE,
    broker_session_timeout=10.0,
    broker_heartbeat_interval=3.0,
    broker_rebalance_timeout=20.0,
)
calls = app.topic(IN, key_type=str, key_serializer="raw", value_type=bytes, value_serializer="json")
out = app.topic(OUT, value_serializer="json")
sums = app.Table("sums", default=list, partitions=8)
seen = 0


@app.agent(calls)
async def fade(stream: StreamT[Any]) -> None:
    """One event into its session's sums; every hundredth goes out."""
    global seen  # noqa: PLW0603 - a count of the process
    async for event in stream:
        row = sums[event["session_id"]] = faded(sums[event["session_id"]] or None, event)
        seen += 1
        if seen % EACH == 0:
            await out.send(key=event["session_id"].encode(), value={"sums": row})


if __name__ == "__main__":
    faust.Worker(app, loglevel="error").execute_from_commandline()
