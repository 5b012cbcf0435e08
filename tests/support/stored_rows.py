"""One changelog value of a session, decoded."""

from __future__ import annotations

from models.state.codec import decode_all
from models.state.table import Rows


def decode(value: bytes) -> tuple[Rows, bytes, bytes, bytes]:
    """Row ``(1,)``, names, side table and order of detections."""
    decoded = decode_all([value])
    return decoded.rows, decoded.names[0], decoded.sides[0], decoded.orders[0].tobytes()
