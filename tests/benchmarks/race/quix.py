"""The race's job in Quix Streams: ``python quix.py BROKER IN OUT GROUP STATE_DIRECTORY``; runs until it is stopped."""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State

from tests.benchmarks.race.fading import EACH, faded

BROKER, IN, OUT, GROUP, STATE = sys.argv[1:]
seen = 0


def fade(event: dict[str, Any], state: State) -> dict[str, Any] | None:
    """One event into its session's sums; every hundredth goes out."""
    global seen  # noqa: PLW0603 - a count of the process
    row = faded(state.get("sums"), event)
    state.set("sums", row)
    seen += 1
    return {"session_id": event["session_id"], "sums": row} if seen % EACH == 0 else None


if __name__ == "__main__":
    app = Application(
        broker_address=BROKER,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        state_dir=STATE,
        loglevel="ERROR",
        auto_create_topics=True,
        commit_interval=1.0,
    )
    calls = app.dataframe(app.topic(IN, value_deserializer="json", key_deserializer="str"))
    calls = calls.apply(fade, stateful=True)
    calls = calls[calls.apply(lambda details: details is not None)]
    calls.to_topic(app.topic(OUT, value_serializer="json", key_serializer="str"))
    app.run()
