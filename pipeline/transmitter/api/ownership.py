"""A receiver sees its own streams only: whatever is not its own is not there."""

from __future__ import annotations

from sqlalchemy import Connection

from pipeline.transmitter import streams
from pipeline.transmitter.api.problems import Problem, not_found
from pipeline.transmitter.receivers import Receiver
from pipeline.transmitter.records import Stream
from pipeline.transmitter.sealing import Sealer


def owned(conn: Connection, sealer: Sealer, caller: Receiver, stream_id: str) -> Stream:
    """Return the stream *stream_id* of *caller*.

    Raises:
        Problem: it has no such stream (404); whether another receiver has, is not told.
    """
    stream = streams.get(conn, sealer, stream_id)
    if stream is None or stream.receiver_id != caller.receiver_id:
        raise not_found(stream_id)
    return stream


def changeable(stream: Stream) -> Stream:
    """Return *stream* if its configuration may be changed from here.

    Raises:
        Problem: the operator declared it in a file, which would win at the next start (403).
    """
    if stream.declared:
        raise Problem(403, "this stream is declared by the operator and changed by the operator", "declared")
    return stream
