"""The same input in Faust as its guide shows it: a record, one table update, no model. Prints events a second.

Does a fraction of the job: one counter a session. ``python idiomatic_faust.py BROKER COUNT``.
"""

from __future__ import annotations

import os
import sys
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import faust
from faust.types import StreamT

BROKER, COUNT = sys.argv[1], int(sys.argv[2])
WARM = COUNT // 5

app = faust.App(
    "idiomatic-faust",
    broker=f"kafka://{BROKER}",
    store="memory://",
    topic_allow_declare=False,
    topic_disable_leader=True,
    topic_partitions=8,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    datadir=mkdtemp(),
    broker_session_timeout=10.0,
    broker_heartbeat_interval=3.0,
    broker_rebalance_timeout=20.0,
)


class ApiCall(faust.Record, serializer="json"):
    """The members it uses; the others are ignored."""

    session_id: str
    occurred_at: int
    status: int


calls = app.topic("api-calls", key_type=str, key_serializer="raw", value_type=ApiCall)
counts = app.Table("counts", default=int, partitions=8)
seen = 0
began = 0.0


@app.agent(calls)
async def count(stream: StreamT[Any]) -> None:
    """Count calls per session."""
    global seen, began  # noqa: PLW0603 - an example's state
    async for call in stream:
        counts[call.session_id] += 1
        seen += 1
        if seen == WARM:
            began = perf_counter()
        if seen == COUNT:
            print(f"\nrate {(COUNT - WARM) / (perf_counter() - began):.0f}", flush=True, file=sys.__stdout__)
            os._exit(0)  # the figure is what was asked for


if __name__ == "__main__":
    faust.Worker(app, loglevel="error").execute_from_commandline()
